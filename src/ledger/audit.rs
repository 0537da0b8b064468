//! The audit: a chain of entries each of which holds the hash of the one before.
//!
//! An entry hashes its number, its date, what happened, and a salted digest of everything personal: who did it, the call, the
//! transfer, the detail. The personal part lies beside its salt. Erasing both leaves a digest that nobody can guess and a chain that
//! still holds; an entry without its personal part is sound only where a later receipt says that it was erased.

use rusqlite::{Connection, OptionalExtension, Row, params};
use serde::Serialize;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::clock::rfc3339;
use warmline_core::{transfer::UnixMillis, units::hex};

/// What goes before the first entry.
const GENESIS: &str = "0000000000000000000000000000000000000000000000000000000000000000";

/// What happened, as it is handed to the audit.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    /// When.
    pub at: UnixMillis,
    /// One word: `decided`, `attempt`, `state`, `claimed`, `verdict`, `missed`, `policy`, `started`, `erasure`, `retention`, …
    pub what: &'static str,
    /// Who did it: a role, with a name where one was given; `warmline` for the program itself.
    pub who: String,
    /// In which call.
    pub call: Option<String>,
    /// For which transfer.
    pub transfer: Option<String>,
    /// An object: the rest.
    pub detail: Value,
}

/// An entry as it lies in the chain.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Written {
    /// Its number, from 1.
    pub n: u64,
    /// When, RFC 3339.
    pub at: String,
    /// One word.
    pub what: String,
    /// Who did it; none: erased.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub who: Option<String>,
    /// In which call.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub call: Option<String>,
    /// For which transfer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub transfer: Option<String>,
    /// The rest; null: erased.
    pub detail: Value,
    /// SHA-256 over the previous hash and the entry.
    pub hash: String,
    /// The hash before.
    pub previous: String,
}

/// A chain that holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Checked {
    /// Its entries.
    pub entries: u64,
    /// Those of them whose personal part was erased.
    pub erased: u64,
    /// The last hash: kept elsewhere, it shows later that nothing was cut off.
    pub head: String,
}

/// Where a chain does not hold.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error, Serialize)]
#[error("entry {n}: {why}")]
pub struct Fault {
    /// The first entry that does not fit.
    pub n: u64,
    /// Why.
    pub why: String,
}

/// Puts an entry behind the others; its number and its hash come back.
pub(super) fn append(connection: &Connection, entry: &Entry) -> rusqlite::Result<(u64, String)> {
    let last: Option<(u64, String)> = connection
        .prepare_cached("SELECT n, hash FROM audit ORDER BY n DESC LIMIT 1")?
        .query_row([], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?;
    let (n, previous) = last.map_or((1, GENESIS.to_owned()), |(n, hash)| (n + 1, hash));
    let salt: String =
        connection.prepare_cached("SELECT lower(hex(randomblob(16)))")?.query_row([], |row| row.get(0))?;
    let body = canonical(&json!({
        "who": entry.who, "call": entry.call, "transfer": entry.transfer, "detail": entry.detail,
    }));
    let digest = digest(&salt, &body);
    let hash = hash(&previous, n, entry.at.0, entry.what, &digest);
    connection
        .prepare_cached("INSERT INTO audit (n, at, what, digest, previous, hash, salt, body, call) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)")?
        .execute(params![n, entry.at.0, &entry.what, digest, previous, hash, salt, body, entry.call])?;
    Ok((n, hash))
}

/// Entries behind `after`, at most so many.
///
/// # Errors
/// When SQLite says no.
pub fn entries(connection: &Connection, after: u64, limit: u64) -> rusqlite::Result<Vec<Written>> {
    let mut statement = connection.prepare_cached(
        "SELECT n, at, what, digest, previous, hash, salt, body, call FROM audit WHERE n > ? ORDER BY n LIMIT ?",
    )?;
    let rows = statement.query_map([after, limit], Raw::read)?;
    rows.map(|raw| raw.map(Raw::written)).collect()
}

/// Goes through the whole chain.
///
/// # Errors
/// With the first entry that does not fit.
pub fn verify(connection: &Connection) -> rusqlite::Result<Result<Checked, Fault>> {
    let mut statement = connection
        .prepare("SELECT n, at, what, digest, previous, hash, salt, body, call FROM audit ORDER BY n")?;
    let mut receipts: Vec<(u64, u64, u64)> = Vec::new();
    let mut erased: Vec<u64> = Vec::new();
    let (mut entries, mut head) = (0, GENESIS.to_owned());
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let raw = Raw::read(row)?;
        let fault = |why: &str| Ok(Err(Fault { n: raw.n, why: why.to_owned() }));
        if raw.n != entries + 1 {
            let why = format!("it follows entry {entries}: what was between them is missing");
            return Ok(Err(Fault { n: raw.n, why }));
        }
        if raw.previous != head {
            return fault("the hash it holds is not that of the entry before it");
        }
        if raw.hash != hash(&raw.previous, raw.n, raw.at, &raw.what, &raw.digest) {
            return fault("its number, date, kind or digest is not what was hashed");
        }
        match (&raw.salt, &raw.body) {
            (Some(salt), Some(body)) => {
                let said: Value = serde_json::from_str(body).unwrap_or_default();
                if digest(salt, body) != raw.digest || text(&said, "call") != raw.call {
                    return fault("its detail is not what was hashed");
                }
                if matches!(raw.what.as_str(), "erasure" | "retention") {
                    receipts.extend(ranges(said.pointer("/detail/entries")).map(|(a, b)| (raw.n, a, b)));
                }
            }
            _ => erased.push(raw.n),
        }
        (entries, head) = (raw.n, raw.hash);
    }
    let covered = |n: u64| receipts.iter().any(|(at, from, to)| *at > n && (*from..=*to).contains(&n));
    if let Some(n) = erased.iter().copied().find(|n| !covered(*n)) {
        return Ok(Err(Fault {
            n,
            why: "its detail is gone, and no receipt says that it was erased".into(),
        }));
    }
    Ok(Ok(Checked { entries, erased: erased.len() as u64, head }))
}

fn ranges(value: Option<&Value>) -> impl Iterator<Item = (u64, u64)> + '_ {
    value.and_then(Value::as_array).into_iter().flatten().filter_map(|pair| {
        let pair = pair.as_array()?;
        Some((pair.first()?.as_u64()?, pair.get(1)?.as_u64()?))
    })
}

struct Raw {
    n: u64,
    at: u64,
    what: String,
    digest: String,
    previous: String,
    hash: String,
    salt: Option<String>,
    body: Option<String>,
    call: Option<String>,
}

impl Raw {
    fn read(row: &Row<'_>) -> rusqlite::Result<Self> {
        Ok(Self {
            n: row.get(0)?,
            at: row.get(1)?,
            what: row.get(2)?,
            digest: row.get(3)?,
            previous: row.get(4)?,
            hash: row.get(5)?,
            salt: row.get(6)?,
            body: row.get(7)?,
            call: row.get(8)?,
        })
    }

    fn written(self) -> Written {
        let mut said: Value =
            self.body.as_deref().and_then(|body| serde_json::from_str(body).ok()).unwrap_or_default();
        Written {
            n: self.n,
            at: rfc3339(UnixMillis(self.at)),
            what: self.what,
            who: text(&said, "who"),
            call: text(&said, "call"),
            transfer: text(&said, "transfer"),
            detail: said.get_mut("detail").map(Value::take).unwrap_or_default(),
            hash: self.hash,
            previous: self.previous,
        }
    }
}

fn text(said: &Value, key: &str) -> Option<String> {
    said.get(key)?.as_str().map(str::to_owned)
}

fn digest(salt: &str, body: &str) -> String {
    hex(&Sha256::new().chain_update(salt).chain_update(body).finalize())
}

fn hash(previous: &str, n: u64, at: u64, what: &str, digest: &str) -> String {
    let entry = canonical(&json!({ "at": at, "digest": digest, "n": n, "what": what }));
    hex(&Sha256::new().chain_update(previous).chain_update(entry).finalize())
}

/// JSON in one way alone: keys in the order of their bytes, no white space.
fn canonical(value: &Value) -> String {
    match value {
        Value::Object(map) => {
            let mut pairs: Vec<(&String, &Value)> = map.iter().collect();
            pairs.sort_by_key(|(key, _)| *key);
            let inside: Vec<String> = pairs
                .into_iter()
                .map(|(key, value)| format!("{}:{}", json!(key), canonical(value)))
                .collect();
            format!("{{{}}}", inside.join(","))
        }
        Value::Array(values) => {
            format!("[{}]", values.iter().map(canonical).collect::<Vec<_>>().join(","))
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => value.to_string(),
    }
}
