//! The rows: a transfer as it is kept and as it is told, calls, reports of calls that were missed.

use rusqlite::{Connection, OptionalExtension, params, params_from_iter, types::Value as Sql};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{Change, audit};
use crate::clock::rfc3339;
use warmline_core::{
    policy::Cue,
    transfer::{Life, State, UnixMillis},
    units::Probability,
};

/// A transfer, and what people did with it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// Its call.
    pub call: String,
    /// The protocol the call came by.
    pub source: String,
    /// The call's queue.
    pub queue: Option<String>,
    /// The call's intent.
    pub intent: Option<String>,
    /// What decided.
    pub cue: Cue,
    /// Calibrated, if the voice was scored.
    pub probability: Option<Probability>,
    /// The decision in a sentence.
    pub why: String,
    /// When, seconds of media time.
    pub t: f64,
    /// When.
    pub created_at: UnixMillis,
    /// Where it stands.
    pub life: Life,
    /// Who takes it.
    #[serde(default)]
    pub claimed_by: Option<String>,
    /// Since when.
    #[serde(default)]
    pub claimed_at: Option<UnixMillis>,
    /// When a human had the caller.
    #[serde(default)]
    pub connected_at: Option<UnixMillis>,
    /// When it was over.
    #[serde(default)]
    pub ended_at: Option<UnixMillis>,
    /// Whether it was any good.
    #[serde(default)]
    pub verdict: Option<VerdictRow>,
}

pub use warmline_core::transfer::Verdict;

/// A verdict, and whose it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VerdictRow {
    /// Which.
    pub verdict: Verdict,
    /// Whose.
    pub by: String,
    /// When.
    pub at: UnixMillis,
    /// In their words.
    pub note: Option<String>,
}

/// A call that is over, for the figures. It names nobody but by the call's id.
#[derive(Clone, Debug, PartialEq)]
pub struct CallRow {
    /// Its id.
    pub call: String,
    /// The protocol.
    pub source: String,
    /// The queue.
    pub queue: Option<String>,
    /// The intent.
    pub intent: Option<String>,
    /// When it was over.
    pub ended_at: UnixMillis,
    /// Its length, seconds.
    pub duration_s: f64,
    /// How much of it the caller spoke, seconds.
    pub caller_speech_s: f64,
    /// Transfers asked for.
    pub transfers: u32,
    /// The highest probability.
    pub peak: Option<f64>,
}

/// Somebody says that a call should have been transferred.
#[derive(Clone, Debug, PartialEq)]
pub struct MissedRow {
    /// Which call.
    pub call: String,
    /// When it was said.
    pub at: UnixMillis,
    /// When it should have been, seconds of media time.
    pub t: Option<f64>,
    /// In their words.
    pub note: Option<String>,
    /// Whose.
    pub who: String,
}

/// Which transfers are asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// In this state.
    pub state: Option<String>,
    /// Created at or after.
    pub since: Option<UnixMillis>,
    /// Of this queue.
    pub queue: Option<String>,
    /// So many, the newest.
    pub limit: u32,
}

impl Record {
    /// As the interface tells it.
    pub fn json(&self, now: UnixMillis, urgency: Option<f64>, position: Option<usize>) -> Value {
        let life = &self.life;
        let name = |route: usize| life.plan().routes.get(route).cloned().unwrap_or_default();
        let attempts: Vec<Value> = life
            .attempts()
            .iter()
            .map(|a| {
                let mut attempt = json!({
                    "n": a.n, "connector": name(a.route), "at": rfc3339(a.at), "outcome": a.outcome,
                });
                set(&mut attempt, "detail", a.detail.as_ref());
                attempt
            })
            .collect();
        let mut said = json!({
            "id": life.id(), "call": self.call, "source": self.source, "cue": self.cue, "why": self.why, "t": self.t,
            "created_at": rfc3339(self.created_at), "state": life.state(), "attempts": attempts,
            "deadline_at": rfc3339(life.deadline()),
            "urgency": (1_000.0 * urgency.unwrap_or_else(|| self.urgency(now)).min(1.0)).round() / 1_000.0,
            "packet_url": format!("/packets/{}", life.id()),
        });
        set(&mut said, "queue", self.queue.as_ref());
        set(&mut said, "intent", self.intent.as_ref());
        set(&mut said, "probability", self.probability);
        set(&mut said, "reason", life.reason());
        set(&mut said, "next_attempt_at", life.next_attempt().map(rfc3339));
        set(&mut said, "position", position);
        set(&mut said, "claimed_by", self.claimed_by.as_ref());
        set(&mut said, "claimed_at", self.claimed_at.map(rfc3339));
        set(&mut said, "connected_at", self.connected_at.map(rfc3339));
        set(&mut said, "ended_at", self.ended_at.map(rfc3339));
        if let Some(verdict) = &self.verdict {
            set(&mut said, "verdict", Some(verdict.verdict));
            set(&mut said, "verdict_by", Some(&verdict.by));
            set(&mut said, "verdict_at", Some(rfc3339(verdict.at)));
            set(&mut said, "note", verdict.note.as_ref());
        }
        said
    }

    /// How urgent it is; of one that is over, how urgent it was.
    pub fn urgency(&self, now: UnixMillis) -> f64 {
        self.wish(None).urgency(self.ended_at.unwrap_or(now))
    }

    /// What it wants of the queue.
    pub fn wish(&self, per_hour_max: Option<u32>) -> warmline_core::transfer::Wish {
        warmline_core::transfer::Wish {
            queue: self.queue.clone(),
            cue: self.cue,
            probability: self.probability,
            since: self.created_at,
            per_hour_max,
        }
    }

    /// Whether something is still to be done for it.
    pub fn is_open(&self) -> bool {
        matches!(self.life.state(), State::Waiting | State::Offered | State::Ringing)
    }
}

fn set<T: Serialize>(object: &mut Value, key: &str, value: Option<T>) {
    if let (Some(map), Some(value)) = (object.as_object_mut(), value) {
        map.insert(key.into(), json!(value));
    }
}

/// Why a change is not made.
pub(super) enum Refused {
    Exists(String),
    Sql(rusqlite::Error),
}

impl From<rusqlite::Error> for Refused {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sql(error)
    }
}

/// Makes one change.
pub(super) fn apply(connection: &Connection, change: &Change) -> Result<(), Refused> {
    match change {
        Change::Decided { record, packet } => {
            let stored = stored(record)?;
            let inserted = connection
                .prepare_cached(
                    "INSERT INTO transfers (id, call, queue, created_at, state, open, connected_at, cue, probability, verdict, record, packet)
                     VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
                )?
                .execute(params![
                    record.life.id(),
                    record.call,
                    record.queue,
                    record.created_at.0,
                    record.life.state().name(),
                    record.is_open(),
                    record.connected_at.map(|at| at.0),
                    record.cue.name(),
                    record.probability.map(Probability::get),
                    record.verdict.as_ref().map(|v| v.verdict.name()),
                    stored,
                    packet
                ])?;
            if inserted == 0 {
                return Err(Refused::Exists(record.life.id().into()));
            }
        }
        Change::Stands(record) => {
            let stored = stored(record)?;
            connection
                .prepare_cached(
                    "UPDATE transfers SET state = ?, open = ?, connected_at = ?, verdict = ?, record = ? WHERE id = ?",
                )?
                .execute(params![
                    record.life.state().name(),
                    record.is_open(),
                    record.connected_at.map(|at| at.0),
                    record.verdict.as_ref().map(|v| v.verdict.name()),
                    stored,
                    record.life.id()
                ])?;
        }
        Change::CallOver(call) => {
            connection
                .prepare_cached(
                    "INSERT INTO calls (call, source, queue, intent, ended_at, duration_s, caller_speech_s, transfers, peak)
                     VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (call) DO UPDATE SET ended_at = excluded.ended_at,
                     duration_s = calls.duration_s + excluded.duration_s,
                     caller_speech_s = calls.caller_speech_s + excluded.caller_speech_s,
                     transfers = calls.transfers + excluded.transfers, peak = max(coalesce(calls.peak, 0), coalesce(excluded.peak, 0))",
                )?
                .execute(params![
                    call.call,
                    call.source,
                    call.queue,
                    call.intent,
                    call.ended_at.0,
                    call.duration_s,
                    call.caller_speech_s,
                    call.transfers,
                    call.peak
                ])?;
        }
        Change::Missed(missed) => {
            connection
                .prepare_cached(
                    "INSERT INTO missed (call, queue, at, t, note, who)
                     VALUES (?1, (SELECT queue FROM calls WHERE call = ?1), ?2, ?3, ?4, ?5)",
                )?
                .execute(params![missed.call, missed.at.0, missed.t, missed.note, missed.who])?;
        }
        Change::Audit(entry) => {
            audit::append(connection, entry)?;
        }
    }
    Ok(())
}

fn stored(record: &Record) -> rusqlite::Result<String> {
    serde_json::to_string(record).map_err(|error| rusqlite::Error::ToSqlConversionFailure(error.into()))
}

fn restored(text: &str) -> rusqlite::Result<Record> {
    serde_json::from_str(text).map_err(|error| {
        rusqlite::Error::FromSqlConversionFailure(0, rusqlite::types::Type::Text, error.into())
    })
}

impl Record {
    /// One transfer.
    ///
    /// # Errors
    /// When SQLite says no.
    pub fn find(connection: &Connection, id: &str) -> rusqlite::Result<Option<Self>> {
        connection
            .prepare_cached("SELECT record FROM transfers WHERE id = ?")?
            .query_row([id], |row| restored(&row.get::<_, String>(0)?))
            .optional()
    }

    /// The context packet of one transfer, JSON.
    ///
    /// # Errors
    /// When SQLite says no.
    pub fn packet(connection: &Connection, id: &str) -> rusqlite::Result<Option<String>> {
        connection
            .prepare_cached("SELECT packet FROM transfers WHERE id = ?")?
            .query_row([id], |row| row.get(0))
            .optional()
    }

    /// What the outbox had not finished, the oldest first, each with its packet.
    ///
    /// # Errors
    /// When SQLite says no.
    pub fn unfinished(connection: &Connection) -> rusqlite::Result<Vec<(Self, String)>> {
        let mut statement = connection
            .prepare_cached("SELECT record, packet FROM transfers WHERE open = 1 ORDER BY created_at, id")?;
        let rows = statement
            .query_map([], |row| Ok((restored(&row.get::<_, String>(0)?)?, row.get::<_, String>(1)?)))?;
        rows.collect()
    }

    /// Transfers, the newest first.
    ///
    /// # Errors
    /// When SQLite says no.
    pub fn list(connection: &Connection, filter: &Filter) -> rusqlite::Result<Vec<Self>> {
        let mut sql = String::from("SELECT record FROM transfers WHERE 1 = 1");
        let mut values: Vec<Sql> = Vec::new();
        for (clause, value) in [
            (" AND state = ?", filter.state.clone().map(Sql::from)),
            (" AND created_at >= ?", filter.since.and_then(|at| i64::try_from(at.0).ok()).map(Sql::from)),
            (" AND queue = ?", filter.queue.clone().map(Sql::from)),
        ] {
            if let Some(value) = value {
                sql.push_str(clause);
                values.push(value);
            }
        }
        sql.push_str(" ORDER BY created_at DESC, id LIMIT ?");
        values.push(i64::from(filter.limit).into());
        let mut statement = connection.prepare_cached(&sql)?;
        let rows =
            statement.query_map(params_from_iter(values), |row| restored(&row.get::<_, String>(0)?))?;
        rows.collect()
    }
}
