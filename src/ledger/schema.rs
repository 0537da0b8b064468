//! The tables, their version, and what leads from one version to the next.

use rusqlite::{Connection, TransactionBehavior};

use super::BUSY;

/// What SQLite's `application_id` says: "WARM".
const APPLICATION: i32 = 0x5741_524D;

/// One step a version, in order; `user_version` counts those that were taken. A step is never changed once it was released.
const STEPS: [&str; 1] = ["
CREATE TABLE transfers (
    id TEXT PRIMARY KEY, call TEXT NOT NULL, queue TEXT, created_at INTEGER NOT NULL, state TEXT NOT NULL,
    open INTEGER NOT NULL, connected_at INTEGER, cue TEXT NOT NULL, probability REAL, verdict TEXT,
    record TEXT NOT NULL, packet TEXT NOT NULL
) STRICT;
CREATE INDEX transfers_by_date ON transfers (created_at);
CREATE INDEX transfers_by_call ON transfers (call);
CREATE INDEX transfers_open ON transfers (open) WHERE open = 1;
CREATE TABLE calls (
    call TEXT PRIMARY KEY, source TEXT NOT NULL, queue TEXT, intent TEXT, ended_at INTEGER NOT NULL,
    duration_s REAL NOT NULL, caller_speech_s REAL NOT NULL, transfers INTEGER NOT NULL, peak REAL
) STRICT;
CREATE INDEX calls_by_date ON calls (ended_at);
CREATE TABLE missed (
    n INTEGER PRIMARY KEY, call TEXT NOT NULL, queue TEXT, at INTEGER NOT NULL, t REAL, note TEXT, who TEXT NOT NULL
) STRICT;
CREATE INDEX missed_by_date ON missed (at);
CREATE TABLE audit (
    n INTEGER PRIMARY KEY, at INTEGER NOT NULL, what TEXT NOT NULL, digest TEXT NOT NULL, previous TEXT NOT NULL,
    hash TEXT NOT NULL, salt TEXT, body TEXT, call TEXT
) STRICT;
CREATE INDEX audit_by_call ON audit (call) WHERE call IS NOT NULL;
"];

/// Settings of a connection, and the tables.
pub(super) fn prepare(connection: &mut Connection) -> Result<(), String> {
    let say = |error: rusqlite::Error| error.to_string();
    connection.busy_timeout(BUSY).map_err(say)?;
    // A commit is on the disk when it is said to be; what is deleted is overwritten.
    for (name, value) in [("journal_mode", "WAL"), ("synchronous", "FULL"), ("secure_delete", "ON")] {
        connection
            .pragma_update_and_check(None, name, value, |_| Ok(()))
            .or_else(ignore_no_row)
            .map_err(say)?;
    }
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Deferred).map_err(say)?;
    let number =
        |name: &str| transaction.pragma_query_value(None, name, |row| row.get::<_, i32>(0)).map_err(say);
    let (version, application) = (number("user_version")?, number("application_id")?);
    let newest = i32::try_from(STEPS.len()).unwrap_or(i32::MAX);
    if version > newest {
        return Err(format!(
            "its version is {version} and this program knows {newest}: use the program that wrote it, or a newer one"
        ));
    }
    if version > 0 && application != APPLICATION {
        return Err("it is a database of another program: name another file in [ledger] path".into());
    }
    if version < newest {
        for step in STEPS.iter().skip(usize::try_from(version).unwrap_or(0)) {
            transaction.execute_batch(step).map_err(say)?;
        }
        transaction.pragma_update(None, "user_version", newest).map_err(say)?;
        transaction.pragma_update(None, "application_id", APPLICATION).map_err(say)?;
    }
    transaction.commit().map_err(say)
}

/// Some settings answer with a row and some with none.
fn ignore_no_row(error: rusqlite::Error) -> rusqlite::Result<()> {
    if error == rusqlite::Error::QueryReturnedNoRows { Ok(()) } else { Err(error) }
}
