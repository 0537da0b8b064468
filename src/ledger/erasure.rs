//! What is forgotten, on request or when its time is over, and the receipt that names it without repeating it.

use std::collections::BTreeSet;

use rusqlite::{Connection, TransactionBehavior, params, params_from_iter};
use serde::Serialize;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::audit::{self, Entry};
use warmline_core::{
    transfer::UnixMillis,
    units::{Pii, hex},
};

/// Who is forgotten.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Whom {
    /// One call, by its id; those the switchboard told apart from it by `~2`, `~3`, … with it.
    Call(Pii<String>),
    /// Every call whose packet names this number, however it is written.
    Caller(Pii<String>),
}

/// What was erased. `salt` is told here alone: with it whoever knows the id or the number can show that this receipt is about it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Receipt {
    /// `call`, `caller` or `retention`.
    pub kind: &'static str,
    /// Calls of which anything was kept.
    pub calls: u64,
    /// Transfers with their packets, verdicts and attempts.
    pub transfers: u64,
    /// Reports of calls that were missed.
    pub missed: u64,
    /// Entries of the audit whose personal part was erased.
    pub entries: u64,
    /// SHA-256 over `salt` and what was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
    /// The salt.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub salt: Option<String>,
    /// Number of the audit's entry that says so; none where there was nothing to erase by age.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub receipt: Option<u64>,
    /// Its hash.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hash: Option<String>,
}

/// Erases a call or a caller from every table, and writes the receipt.
///
/// # Errors
/// When SQLite says no; then nothing was erased.
pub fn forget(
    connection: &mut Connection,
    whom: &Whom,
    at: UnixMillis,
    who: &str,
) -> rusqlite::Result<Receipt> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let (kind, asked, calls) = match whom {
        Whom::Call(id) => ("call", id.expose(), calls_of_id(&transaction, id.expose())?),
        Whom::Caller(number) => ("caller", number.expose(), calls_of_number(&transaction, number.expose())?),
    };
    let (mut transfers, mut missed, mut kept, mut numbers) = (0, 0, 0, Vec::new());
    for call in &calls {
        let ids: Vec<String> = transaction
            .prepare("SELECT id FROM transfers WHERE call = ?")?
            .query_map([call], |row| row.get(0))?
            .collect::<Result<_, _>>()?;
        transfers += transaction.execute("DELETE FROM transfers WHERE call = ?", [call])?;
        missed += transaction.execute("DELETE FROM missed WHERE call = ?", [call])?;
        kept += usize::from(
            transaction.execute("DELETE FROM calls WHERE call = ?", [call])? > 0 || !ids.is_empty(),
        );
        let named: Vec<u64> = transaction
            .prepare("SELECT n FROM audit WHERE call = ? AND body IS NOT NULL")?
            .query_map([call], |row| row.get(0))?
            .collect::<Result<_, _>>()?;
        numbers.extend(named);
    }
    let salt: String = transaction.query_row("SELECT lower(hex(randomblob(16)))", [], |row| row.get(0))?;
    let subject = hex(&Sha256::new().chain_update(&salt).chain_update(asked).finalize());
    wipe(&transaction, &numbers)?;
    let detail = json!({
        "kind": kind, "calls": kept, "transfers": transfers, "missed": missed, "entries": ranges(&numbers), "subject": subject,
    });
    let entry = Entry { at, what: "erasure", who: who.into(), call: None, transfer: None, detail };
    let (n, hash) = audit::append(&transaction, &entry)?;
    transaction.commit()?;
    settle(connection)?;
    Ok(Receipt {
        kind,
        calls: kept as u64,
        transfers: transfers as u64,
        missed: missed as u64,
        entries: numbers.len() as u64,
        subject: Some(subject),
        salt: Some(salt),
        receipt: Some(n),
        hash: Some(hash),
    })
}

/// Erases what is older than `before`, but for transfers that are not finished, and writes a receipt if there was anything.
///
/// # Errors
/// When SQLite says no; then nothing was erased.
pub fn purge(connection: &mut Connection, before: UnixMillis, at: UnixMillis) -> rusqlite::Result<Receipt> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let transfers =
        transaction.execute("DELETE FROM transfers WHERE created_at < ? AND open = 0", [before.0])?;
    let calls = transaction.execute("DELETE FROM calls WHERE ended_at < ?", [before.0])?;
    let missed = transaction.execute("DELETE FROM missed WHERE at < ?", [before.0])?;
    let numbers: Vec<u64> = transaction
        .prepare("SELECT n FROM audit WHERE at < ? AND body IS NOT NULL AND what NOT IN ('erasure', 'retention') ORDER BY n")?
        .query_map([before.0], |row| row.get(0))?
        .collect::<Result<_, _>>()?;
    let mut receipt = Receipt {
        kind: "retention",
        calls: calls as u64,
        transfers: transfers as u64,
        missed: missed as u64,
        entries: numbers.len() as u64,
        subject: None,
        salt: None,
        receipt: None,
        hash: None,
    };
    if receipt.calls + receipt.transfers + receipt.missed + receipt.entries == 0 {
        return Ok(receipt);
    }
    wipe(&transaction, &numbers)?;
    let detail = json!({
        "kind": "retention", "calls": calls, "transfers": transfers, "missed": missed, "entries": ranges(&numbers),
        "before": super::rfc3339(before),
    });
    let entry = Entry { at, what: "retention", who: "warmline".into(), call: None, transfer: None, detail };
    let (n, hash) = audit::append(&transaction, &entry)?;
    transaction.commit()?;
    settle(connection)?;
    (receipt.receipt, receipt.hash) = (Some(n), Some(hash));
    Ok(receipt)
}

fn wipe(connection: &Connection, numbers: &[u64]) -> rusqlite::Result<()> {
    let mut statement =
        connection.prepare("UPDATE audit SET salt = NULL, body = NULL, call = NULL WHERE n = ?")?;
    numbers.iter().try_for_each(|n| statement.execute(params![n]).map(|_| ()))
}

/// The write-ahead log still holds what was overwritten: it is emptied, as far as nobody reads from it.
fn settle(connection: &Connection) -> rusqlite::Result<()> {
    connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))
}

fn calls_of_id(connection: &Connection, id: &str) -> rusqlite::Result<Vec<String>> {
    let numbered = format!("{id}~");
    let sql = "SELECT call FROM transfers UNION SELECT call FROM calls UNION SELECT call FROM missed
               UNION SELECT call FROM audit WHERE call IS NOT NULL";
    let all: Vec<String> = connection
        .prepare(&format!("SELECT call FROM ({sql}) WHERE call = ? OR substr(call, 1, ?) = ?"))?
        .query_map(params![id, numbered.chars().count(), numbered], |row| row.get(0))?
        .collect::<Result<_, _>>()?;
    let is_number = |rest: &str| !rest.is_empty() && rest.bytes().all(|b| b.is_ascii_digit());
    Ok(all
        .into_iter()
        .filter(|call| call == id || call.strip_prefix(&numbered).is_some_and(is_number))
        .collect())
}

fn calls_of_number(connection: &Connection, number: &str) -> rusqlite::Result<Vec<String>> {
    let mut statement = connection.prepare("SELECT call, packet FROM transfers")?;
    let mut calls = BTreeSet::new();
    let mut rows = statement.query(params_from_iter::<[String; 0]>([]))?;
    while let Some(row) = rows.next()? {
        let packet: String = row.get(1)?;
        let packet: Value = serde_json::from_str(&packet).unwrap_or_default();
        if names(&packet, number) {
            calls.insert(row.get(0)?);
        }
    }
    Ok(calls.into_iter().collect())
}

/// Whether any string of a packet is this number, or has it in it, however either is written: `+49 30 1234`, `0049-30-1234`.
fn names(value: &Value, number: &str) -> bool {
    match value {
        Value::String(text) => {
            let wanted = digits(number);
            text == number
                || !wanted.is_empty()
                    && text
                        .split(|c: char| !(c.is_ascii_digit() || " +-()./".contains(c)))
                        .any(|run| digits(run) == wanted)
        }
        Value::Array(values) => values.iter().any(|value| names(value, number)),
        Value::Object(map) => map.values().any(|value| names(value, number)),
        Value::Null | Value::Bool(_) | Value::Number(_) => false,
    }
}

fn digits(text: &str) -> String {
    let all: String = text.chars().filter(char::is_ascii_digit).collect();
    all.strip_prefix("00").unwrap_or(&all).to_owned()
}

/// Numbers as ranges, first and last.
fn ranges(numbers: &[u64]) -> Vec<[u64; 2]> {
    let mut sorted = numbers.to_vec();
    sorted.sort_unstable();
    let mut ranges: Vec<[u64; 2]> = Vec::new();
    for n in sorted {
        match ranges.last_mut() {
            Some([_, last]) if *last + 1 == n => *last = n,
            _ => ranges.push([n, n]),
        }
    }
    ranges
}
