//! Drives one call with synthetic audio and prints its events, one JSON object a line.
//!
//! ```text
//! cargo run -p warmline-core --example drive_a_call
//! ```
#![allow(clippy::print_stdout, reason = "an example prints")]

mod voice;

use std::{collections::BTreeMap, error::Error, sync::Arc};

use voice::voice;
use warmline_core::{
    call::{Action, Call, CallConfig, CallId, CallStart, Command, Input, Output},
    media::{Encoding, Speaker, TrackFormat},
    policy::{Notice, Policy},
    score::ScoreError,
    units::{CallTime, SampleRate},
};

/// Samples of one packet: 20 ms at 8 kHz.
const PACKET: usize = 160;

fn main() -> Result<(), Box<dyn Error>> {
    let config = Arc::new(CallConfig { policy: Policy::default(), stages: None });
    let start = CallStart {
        source: "example".into(),
        file: None,
        caller_channel: "mono".into(),
        caller: TrackFormat::mono(Encoding::L16Le, SampleRate(8_000)),
        agent: None,
        queue: None,
        intent: None,
        notice: Notice::Consent,
        metadata: BTreeMap::new(),
    };
    let mut call = Call::new(CallId::new("call-1"), start, config)?;
    let audio: Vec<u8> = voice(3.0).flat_map(i16::to_le_bytes).collect();
    for (n, payload) in audio.chunks(2 * PACKET).enumerate() {
        let position = (n * PACKET) as u64;
        call.handle_input(CallTime(0), Input::Media { track: Speaker::Caller, position, payload });
        drain(&mut call)?;
    }
    for input in [Input::Command(Command::Dtmf('0')), Input::Ended("hangup")] {
        call.handle_input(CallTime(0), input);
        drain(&mut call)?;
    }
    Ok(())
}

/// Takes every output of the call.
fn drain(call: &mut Call) -> Result<(), Box<dyn Error>> {
    while let Some(output) = call.poll_output() {
        match output {
            Output::Score(request) => {
                let answer = Err(ScoreError::Failed);
                call.handle_input(CallTime(0), Input::Scored(request.stage, request.at, answer));
            }
            Output::Act(Action::Transfer { id, packet }) => {
                println!("transfer {id}: {}", serde_json::to_string(&packet.brief)?);
            }
            Output::Tell(event) => println!("{}", serde_json::to_string(&event)?),
        }
    }
    Ok(())
}
