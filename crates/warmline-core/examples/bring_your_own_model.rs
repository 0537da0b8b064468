//! Scores a call with a rule of one's own in place of a model: the call asks, the rule answers.
//!
//! ```text
//! cargo run -p warmline-core --example bring_your_own_model
//! ```
#![allow(clippy::print_stdout, reason = "an example prints")]

use std::{collections::BTreeMap, error::Error, sync::Arc};

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

/// Syllables of a buzz whose pitch glides about 140 Hz, over a faint noise: enough to be taken for speech.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "far below the limits of 16 bits")]
fn voice(seconds: f64) -> impl Iterator<Item = i16> {
    let (mut phase, mut noise) = (0.0_f64, 1_u32);
    (0..(seconds * 8_000.0) as u32).map(move |n| {
        let t = f64::from(n) / 8_000.0;
        let f0_hz = 140.0 + 20.0 * (std::f64::consts::TAU * 0.6 * t).sin();
        phase += std::f64::consts::TAU * f0_hz / 8_000.0;
        let harmonic = |k: i32| {
            let hz = f64::from(k) * f0_hz;
            let formant = |centre: f64| 1.0 / (1.0 + ((hz - centre) / 120.0).powi(2));
            (f64::from(k) * phase).sin() * (formant(600.0) + 0.5 * formant(1_500.0) + 0.02)
        };
        let buzz: f64 = (1..=20).map(harmonic).sum();
        noise = noise.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let hiss = f64::from(noise >> 16) / 65_536.0 - 0.5;
        let syllable = (std::f64::consts::PI * 4.0 * t).sin().abs();
        let phrase = if t % 3.0 < 2.4 { 1.0 } else { 0.0 };
        (5_000.0 * phrase * syllable * buzz + 20.0 * hiss) as i16
    })
}
