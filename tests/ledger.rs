//! The ledger: what is kept, what a chain proves, what is forgotten, what a full disk does.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that panics has failed")]

use std::{path::Path, process::Command, sync::atomic::Ordering};

use serde_json::json;
use warmline::ledger::{
    CallRow, Change, Connection, Entry, Filter, Ledger, LedgerError, MissedRow, Place, Receipt, Record, Whom,
    entries, forget, open_existing, verify,
};
use warmline_core::{
    packet::{ContextPacket, Full},
    policy::Cue,
    transfer::{Input, Life, Output, Plan, State, UnixMillis},
    units::Pii,
};

const DAY: u64 = 86_400_000;

#[tokio::test]
async fn what_was_kept_is_there_after_the_program_ended() {
    let folder = tempfile::tempdir().unwrap();
    let place = Place::File(folder.path().join("a.db"));
    let ledger = Ledger::open(place.clone()).unwrap();
    let mut record = record("t-1", "CA1");
    ledger.keep(decided(&record, "+4930123456")).await.unwrap();
    record.life.handle_input(UnixMillis(1), Input::Admit);
    while record.life.poll_output().is_some() {}
    ledger.submit(vec![Change::Stands(Box::new(record.clone()))], None);
    drop(ledger);
    let ledger = Ledger::open(place).unwrap();
    let kept = ledger.read(Record::unfinished).await.unwrap();
    assert_eq!(kept.iter().map(|(record, _)| record.clone()).collect::<Vec<_>>(), [record.clone()]);
    assert!(kept[0].1.contains("+4930123456"));
    let again = ledger.keep(decided(&record, "+49")).await;
    assert_eq!(again, Err(LedgerError::Exists("t-1".into())));
    let offered = Filter { state: Some("offered".into()), limit: 9, ..Filter::default() };
    assert_eq!(ledger.read(move |c| Record::list(c, &offered)).await.unwrap().len(), 1);
    assert_eq!(
        ledger.read(|c| Ok(entries(c, 0, 9)?.len())).await.unwrap(),
        1,
        "of what exists nothing is kept twice"
    );
}

#[tokio::test]
async fn many_at_once_share_a_sync() {
    let folder = tempfile::tempdir().unwrap();
    let ledger = Ledger::open(Place::File(folder.path().join("a.db"))).unwrap();
    let each = (0..400).map(|n| {
        let record = record(&format!("t-{n}"), &format!("CA{n}"));
        ledger.keep(decided(&record, "+49"))
    });
    for kept in futures_util::future::join_all(each).await {
        kept.unwrap();
    }
    let commits = ledger.counts().commits.load(Ordering::Relaxed);
    assert!(commits < 100, "{commits} commits for 400 decisions");
    assert_eq!(ledger.counts().written.load(Ordering::Relaxed), 800);
}

#[tokio::test]
async fn a_full_disk_is_told_at_once_loses_nothing_and_heals() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.db");
    let ledger = Ledger::limited(Place::File(path.clone()), Some(40)).unwrap();
    let (mut kept, mut refused) = (0, 0);
    for n in 0..60 {
        let record = record(&format!("t-{n}"), &format!("CA{n}"));
        match ledger.keep(decided(&record, &"x".repeat(2_000))).await {
            Ok(()) => kept += 1,
            Err(LedgerError::NotWritten(why)) => {
                assert!(why.contains("full"), "{why}");
                refused += 1;
            }
            Err(other) => panic!("{other}"),
        }
    }
    assert!(kept > 5 && refused > 5, "{kept} kept, {refused} refused");
    assert!(ledger.failing().unwrap().contains("full"));
    assert_eq!(ledger.counts().waiting.load(Ordering::Relaxed), 2 * refused);
    assert_eq!(ledger.counts().lost.load(Ordering::Relaxed), 0);
    // Room is made, as somebody would by deleting other files.
    ledger.widen(10_000).await.unwrap();
    for _ in 0..50 {
        if ledger.failing().is_none() {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    assert_eq!(ledger.failing(), None);
    let all = Filter { limit: 1_000, ..Filter::default() };
    assert_eq!(ledger.read(move |c| Record::list(c, &all)).await.unwrap().len(), 60);
    assert_eq!(checked(&open_existing(&path).unwrap()), Ok(60));
}

#[tokio::test]
async fn the_first_entry_that_does_not_fit_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.db");
    let ledger = Ledger::open(Place::File(path.clone())).unwrap();
    for n in 0..6 {
        ledger.keep(decided(&record(&format!("t-{n}"), &format!("CA{n}")), "+49")).await.unwrap();
    }
    drop(ledger);
    assert_eq!(checked(&open_existing(&path).unwrap()), Ok(6));
    assert_eq!(program(&path, &["audit", "verify"]).0, 0);
    let tamper = |sql: &str, n: u64, why: &str| {
        let copy = folder.path().join("copy.db");
        let _ = std::fs::remove_file(&copy);
        open_existing(&path).unwrap().execute("VACUUM INTO ?", [copy.to_str().unwrap()]).unwrap();
        let connection = open_existing(&copy).unwrap();
        connection.execute(sql, []).unwrap();
        let (at, said) = checked(&connection).unwrap_err();
        assert!(at == n && said.contains(why), "{sql}: entry {at}: {said}");
        let (code, said) = program(&copy, &["audit", "verify"]);
        assert!(code == 1 && said.contains(&format!("entry {n}: ")), "{said}");
    };
    tamper("UPDATE audit SET body = replace(body, 'CA2', 'CA9') WHERE n = 3", 3, "detail");
    tamper("UPDATE audit SET call = 'CA9' WHERE n = 3", 3, "detail");
    tamper("UPDATE audit SET at = at + 1 WHERE n = 4", 4, "date");
    tamper("UPDATE audit SET what = 'nothing' WHERE n = 1", 1, "kind");
    tamper("DELETE FROM audit WHERE n = 2", 3, "missing");
    tamper("UPDATE audit SET body = NULL, salt = NULL, call = NULL WHERE n = 5", 5, "no receipt");
    tamper("UPDATE audit SET hash = 'x' WHERE n = 2", 2, "hash");
}

#[tokio::test]
async fn a_call_is_forgotten_everywhere_and_the_receipt_does_not_repeat_it() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.db");
    let ledger = Ledger::open(Place::File(path.clone())).unwrap();
    for (n, call) in ["CALLER-SECRET-1", "CALLER-SECRET-1~2", "CALLER-SECRET-10", "OTHER"].iter().enumerate()
    {
        let mut changes = decided(&record(&format!("transfer-{n}"), call), "+49 30 5550100");
        changes.push(call_over(call, UnixMillis(5)));
        let at = UnixMillis(6);
        changes.push(Change::Missed(MissedRow {
            call: (*call).into(),
            at,
            t: Some(1.0),
            note: Some("words of somebody".into()),
            who: "agent".into(),
        }));
        ledger.keep(changes).await.unwrap();
    }
    // While the program runs.
    let (code, said) = program(&path, &["forget", "--call", "CALLER-SECRET-1", "--json"]);
    assert_eq!(code, 0, "{said}");
    let receipt: serde_json::Value = serde_json::from_str(&said).unwrap();
    assert_eq!(
        (&receipt["calls"], &receipt["transfers"], &receipt["missed"]),
        (&json!(2), &json!(2), &json!(2))
    );
    assert_eq!(receipt["entries"], 2);
    assert!(!said.contains("SECRET"));
    // A transfer that was under way when it was erased is not written again.
    ledger.keep(vec![Change::Stands(Box::new(record("transfer-0", "CALLER-SECRET-1")))]).await.unwrap();
    drop(ledger);
    let connection = open_existing(&path).unwrap();
    assert_eq!(checked(&connection), Ok(5));
    let written = entries(&connection, 0, 9).unwrap();
    assert!(written[0].detail.is_null() && written[0].call.is_none());
    assert_eq!(written[2].call.as_deref(), Some("CALLER-SECRET-10"), "another call stays");
    assert_eq!(written[4].detail["entries"], json!([[1, 2]]));
    drop(connection);
    let bytes = std::fs::read(&path).unwrap();
    let times = |text: &str| bytes.windows(text.len()).filter(|window| *window == text.as_bytes()).count();
    let of_ten = times("CALLER-SECRET-10");
    assert_eq!(times("CALLER-SECRET-1"), of_ten, "nothing is left of it on the disk");
    assert_eq!(times("transfer-0"), 0);
    assert_eq!(
        program(&path, &["forget", "--call", "CALLER-SECRET-1"]).0,
        1,
        "there is nothing more to forget"
    );
}

#[tokio::test]
async fn a_caller_is_forgotten_however_the_number_is_written() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.db");
    let ledger = Ledger::open(Place::File(path.clone())).unwrap();
    let numbers =
        ["+49 (30) 555-0100", "sip:004930 5550100@10.0.0.1;user=phone", "+49305550101", "anonymous"];
    for (n, number) in numbers.iter().enumerate() {
        ledger.keep(decided(&record(&format!("t-{n}"), &format!("CA{n}")), number)).await.unwrap();
    }
    drop(ledger);
    let mut connection = open_existing(&path).unwrap();
    let whom = Whom::Caller(Pii::new("+49305550100".into()));
    let receipt = forget(&mut connection, &whom, UnixMillis(9), "command").unwrap();
    assert_eq!((receipt.calls, receipt.transfers, receipt.entries), (2, 2, 2));
    let all = Filter { limit: 9, ..Filter::default() };
    let left: Vec<String> = Record::list(&connection, &all).unwrap().into_iter().map(|r| r.call).collect();
    assert_eq!(left, ["CA2", "CA3"]);
    assert_eq!(checked(&connection), Ok(5));
}

#[tokio::test]
async fn what_is_too_old_goes_with_a_receipt_and_what_is_not_finished_stays() {
    let ledger = Ledger::open(Place::Memory).unwrap();
    let mut old = record("old", "CA1");
    old.life.handle_input(UnixMillis(0), Input::Dismiss(String::new()));
    while let Some(output) = old.life.poll_output() {
        assert!(!matches!(output, Output::Offer { .. }));
    }
    assert_eq!(old.life.state(), State::Dismissed);
    ledger.keep(decided(&old, "+49")).await.unwrap();
    ledger.keep(decided(&record("open", "CA2"), "+49")).await.unwrap();
    ledger.keep(vec![call_over("CA1", UnixMillis(5))]).await.unwrap();
    let receipt: Receipt = ledger.purge(UnixMillis(DAY), UnixMillis(2 * DAY)).await.unwrap();
    assert_eq!((receipt.transfers, receipt.calls, receipt.entries), (1, 1, 2));
    let second = ledger.purge(UnixMillis(DAY), UnixMillis(2 * DAY)).await.unwrap();
    assert_eq!(second.receipt, None, "without anything to erase there is no receipt");
    assert_eq!(ledger.read(Record::unfinished).await.unwrap().len(), 1);
    assert_eq!(ledger.read(|c| Ok(checked(c))).await.unwrap(), Ok(3));
}

#[test]
fn a_ledger_of_a_newer_program_and_a_file_of_another_are_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.db");
    drop(Ledger::open(Place::File(path.clone())).unwrap());
    open_existing(&path).unwrap().pragma_update(None, "user_version", 99).unwrap();
    let error = Ledger::open(Place::File(path.clone())).err().unwrap().to_string();
    assert!(error.contains("its version is 99 and this program knows 1"), "{error}");
    let other = folder.path().join("b.db");
    let connection = Connection::open(&other).unwrap();
    connection.execute_batch("CREATE TABLE t (a); PRAGMA user_version = 1").unwrap();
    let error = Ledger::open(Place::File(other)).err().unwrap().to_string();
    assert!(error.contains("a database of another program"), "{error}");
    let none = folder.path().join("none.db");
    assert!(open_existing(&none).err().unwrap().to_string().contains("no such file"));
    std::fs::write(&none, "no database at all, but long enough to be looked at".repeat(20)).unwrap();
    assert!(Ledger::open(Place::File(none)).is_err());
}

fn record(id: &str, call: &str) -> Record {
    let plan =
        Plan { routes: vec!["webhook".into()], deadline_ms: 30_000, ring_ms: 60_000, wait_ms: 900_000 };
    Record {
        call: call.into(),
        source: "twilio".into(),
        queue: Some("billing".into()),
        intent: None,
        cue: Cue::ExplicitRequest,
        probability: None,
        why: "asked for a person".into(),
        t: 12.0,
        created_at: UnixMillis(0),
        life: Life::new(id, plan, UnixMillis(0)),
        claimed_by: None,
        claimed_at: None,
        connected_at: None,
        ended_at: None,
        verdict: None,
    }
}

fn decided(record: &Record, number: &str) -> Vec<Change> {
    let golden = include_str!("golden/context-packet.json");
    let mut full: Full = serde_json::from_str::<ContextPacket>(golden).unwrap().full;
    full.call.id.clone_from(&record.call);
    full.call.metadata = [("from".to_owned(), number.to_owned())].into();
    let packet = serde_json::to_string(&ContextPacket::new(record.life.id(), full)).unwrap();
    let entry = Entry {
        at: UnixMillis(1),
        what: "decided",
        who: "warmline".into(),
        call: Some(record.call.clone()),
        transfer: Some(record.life.id().into()),
        detail: json!({ "cue": "explicit_request", "from": number }),
    };
    vec![Change::Decided { record: Box::new(record.clone()), packet }, Change::Audit(entry)]
}

fn call_over(call: &str, ended_at: UnixMillis) -> Change {
    Change::CallOver(CallRow {
        call: call.into(),
        source: "twilio".into(),
        queue: None,
        intent: None,
        ended_at,
        duration_s: 60.0,
        caller_speech_s: 20.0,
        transfers: 1,
        peak: None,
    })
}

/// How many entries hold, or the first that does not.
fn checked(connection: &Connection) -> Result<u64, (u64, String)> {
    verify(connection).unwrap().map(|checked| checked.entries).map_err(|fault| (fault.n, fault.why))
}

fn program(ledger: &Path, arguments: &[&str]) -> (i32, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_warmline"))
        .args(arguments)
        .arg("--ledger")
        .arg(ledger)
        .output()
        .unwrap();
    (output.status.code().unwrap(), String::from_utf8(output.stdout).unwrap())
}
