//! Scores a call with a rule of one's own in place of a model: the call asks, the rule answers.
//!
//! ```text
//! cargo run -p warmline-core --example bring_your_own_model
//! ```
#![allow(clippy::print_stdout, reason = "an example prints")]

mod voice;

use std::{collections::BTreeMap, error::Error, sync::Arc};

use voice::voice;
use warmline_core::{
    call::{Call, CallConfig, CallId, CallStart, Input, Output},
    media::{Encoding, Speaker, TrackFormat},
    policy::{Notice, Policy},
    score::{Card, ScoreRequest, Scores, Stages},
    units::{CallTime, SampleRate},
};

fn main() -> Result<(), Box<dyn Error>> {
    // The card says what a request holds and how a logit becomes a probability. Yours stands beside your model.
    let card = Card::parse(include_str!("../../../models/watch.json"))?;
    let stages = Some(Stages::one(card.model()?));
    let config = Arc::new(CallConfig { policy: Policy::default(), stages });
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
    let audio: Vec<u8> = voice(12.0).flat_map(i16::to_le_bytes).collect();
    for (n, payload) in audio.chunks(320).enumerate() {
        let position = (n * 160) as u64;
        call.handle_input(CallTime(0), Input::Media { track: Speaker::Caller, position, payload });
        while let Some(output) = call.poll_output() {
            match output {
                Output::Score(request) => {
                    let answer = Input::Scored(request.stage, request.at, Ok(score(&request)));
                    call.handle_input(CallTime(0), answer);
                }
                Output::Act(_) => println!("the policy asks for a human"),
                Output::Tell(event) => println!("{}", serde_json::to_string(&event)?),
            }
        }
    }
    Ok(())
}

/// The rule: the later in the call, the more frustrated. A model reads `request.window` instead.
#[allow(clippy::cast_possible_truncation, reason = "log-odds need no more than single precision")]
fn score(request: &ScoreRequest) -> Scores {
    Scores { frustration: request.at.seconds() as f32 - 4.0, speech: None }
}
