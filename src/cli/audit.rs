//! `warmline audit`, `warmline forget`: the ledger without the program that writes it, or beside it.

use std::{
    io::{self, Write},
    path::PathBuf,
};

use clap::{Args, Subcommand};
use warmline::{
    clock::{Clock, SystemClock},
    ledger::{Whom, forget, open_existing, verify},
};
use warmline_core::units::Pii;

use super::NO;

/// The audit of transfers.
#[derive(Args)]
pub(super) struct Arguments {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand)]
enum What {
    /// Go through the whole chain: exit code 1 and the first entry that does not fit, if one does not
    Verify(Verify),
}

#[derive(Args)]
struct Verify {
    /// The ledger
    #[arg(long, value_name = "FILE", default_value = "warmline.db")]
    ledger: PathBuf,
    /// One JSON object
    #[arg(long)]
    json: bool,
}

pub(super) fn run(arguments: &Arguments) -> anyhow::Result<u8> {
    let What::Verify(Verify { ledger, json }) = &arguments.what;
    let connection = open_existing(ledger)?;
    let mut out = io::stdout().lock();
    match verify(&connection)? {
        Ok(checked) => {
            if *json {
                writeln!(out, "{}", serde_json::to_string(&checked)?)?;
            } else {
                writeln!(
                    out,
                    "{} entries hold, {} of them erased with a receipt\nhead {}\nkeep the head elsewhere: it shows later that nothing was cut off",
                    checked.entries, checked.erased, checked.head
                )?;
            }
            Ok(0)
        }
        Err(fault) => {
            if *json {
                writeln!(out, "{}", serde_json::to_string(&fault)?)?;
            } else {
                writeln!(out, "the chain does not hold: {fault}")?;
            }
            Ok(NO)
        }
    }
}

/// Erases a call or a caller from the ledger: transfers, packets, verdicts, reports, and what is personal in the audit, whose chain
/// still holds. The receipt names what was erased without repeating it; its salt is printed here alone.
///
/// The program may be running. A call that is live keeps what it has in memory until it ends.
#[derive(Args)]
pub(super) struct Forget {
    /// One call, by its id
    #[arg(long, value_name = "ID", required_unless_present = "caller", conflicts_with = "caller")]
    call: Option<String>,
    /// Every call whose packet names this number, however it is written
    #[arg(long, value_name = "NUMBER")]
    caller: Option<String>,
    /// The ledger
    #[arg(long, value_name = "FILE", default_value = "warmline.db")]
    ledger: PathBuf,
    /// One JSON object
    #[arg(long)]
    json: bool,
}

pub(super) fn run_forget(arguments: &Forget) -> anyhow::Result<u8> {
    let whom = match (&arguments.call, &arguments.caller) {
        (Some(call), _) => Whom::Call(Pii::new(call.clone())),
        (None, Some(number)) => Whom::Caller(Pii::new(number.clone())),
        (None, None) => anyhow::bail!("say --call ID or --caller NUMBER"),
    };
    let mut connection = open_existing(&arguments.ledger)?;
    let receipt = forget(&mut connection, &whom, SystemClock.now(), "command")?;
    let mut out = io::stdout().lock();
    if arguments.json {
        writeln!(out, "{}", serde_json::to_string(&receipt)?)?;
    } else {
        writeln!(
            out,
            "erased: {} calls, {} transfers, {} reports, {} entries of the audit\nreceipt: entry {}, hash {}\nsubject {}\nsalt    {}",
            receipt.calls,
            receipt.transfers,
            receipt.missed,
            receipt.entries,
            receipt.receipt.unwrap_or_default(),
            receipt.hash.clone().unwrap_or_default(),
            receipt.subject.clone().unwrap_or_default(),
            receipt.salt.clone().unwrap_or_default(),
        )?;
    }
    let found = receipt.calls + receipt.transfers + receipt.missed + receipt.entries > 0;
    Ok(if found { 0 } else { NO })
}
