//! The commands of `warmline`.

#[cfg(feature = "serve")]
mod audit;
mod check;
#[cfg(feature = "serve")]
mod demo;
#[cfg(feature = "serve")]
mod desk;
mod evaluate;
mod features;
mod jobs;
mod listen;
#[cfg(feature = "serve")]
mod load;
mod replay;
mod scoring;
#[cfg(feature = "serve")]
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
    #[cfg(feature = "serve")]
    Serve(serve::Arguments),
    /// Many paced calls against a server: what was sent, what came back, how late
    #[cfg(feature = "serve")]
    Load(load::Arguments),
    /// The ledger's audit: whether its chain holds
    #[cfg(feature = "serve")]
    Audit(audit::Arguments),
    /// Erase a call or a caller from the ledger, with a receipt
    #[cfg(feature = "serve")]
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
        #[cfg(feature = "serve")]
        Command::Serve(arguments) => serve::run(&arguments),
        #[cfg(feature = "serve")]
        Command::Load(arguments) => load::run(&arguments),
        #[cfg(feature = "serve")]
        Command::Audit(arguments) => audit::run(&arguments),
        #[cfg(feature = "serve")]
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
