//! The commands of `warmline`.

mod audit;
mod check;
mod demo;
mod desk;
mod evaluate;
mod features;
mod jobs;
mod listen;
mod load;
mod replay;
mod scoring;
mod serve;
mod suite;
mod summary;
mod timeline;
mod tune;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Exit code: the answer is "no".
const NO: u8 = 1;
/// Exit code: something could not be done.
const FAILED: u8 = 2;

#[derive(Parser)]
#[command(version, about, propagate_version = true, max_term_width = 110)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// What would have happened: timeline, decisions and context packets of recorded calls
    Replay(replay::Arguments),
    /// The same from a microphone or any other capture device, live
    Listen(listen::Arguments),
    /// How good a policy and a model are on labelled calls: misses, false alarms, delay, calibration
    Evaluate(evaluate::Arguments),
    /// The thresholds that serve labelled calls best, as a policy file
    Tune(tune::Arguments),
    /// The low-level descriptors of recordings: what the model sees and what training reads
    Features(features::Arguments),
    /// Live calls: media in, events out, until it is told to end
    Serve(serve::Arguments),
    /// Many paced calls against a server: what was sent, what came back, how late
    Load(load::Arguments),
    /// The ledger's audit: whether its chain holds
    Audit(audit::Arguments),
    /// Erase a call or a caller from the ledger, with a receipt
    Forget(audit::Forget),
    /// Check policy, model and ONNX Runtime: say what is wrong and how to mend it
    Check(check::Arguments),
}

/// Runs the program.
pub(crate) fn run() -> ExitCode {
    let result = match Arguments::parse().command {
        Command::Replay(arguments) => replay::run(&arguments),
        Command::Listen(arguments) => listen::run(&arguments),
        Command::Evaluate(arguments) => evaluate::run(&arguments),
        Command::Tune(arguments) => tune::run(&arguments),
        Command::Features(arguments) => features::run(&arguments),
        Command::Serve(arguments) => serve::run(&arguments),
        Command::Load(arguments) => load::run(&arguments),
        Command::Audit(arguments) => audit::run(&arguments),
        Command::Forget(arguments) => audit::run_forget(&arguments),
        Command::Check(arguments) => check::run(&arguments),
    };
    match result {
        Ok(0) => ExitCode::SUCCESS,
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            jobs::complain(&format!("{error:#}"));
            ExitCode::from(FAILED)
        }
    }
}
