//! Drives one call with synthetic audio and prints its events, one JSON object a line.
//!
//! ```text
//! cargo run -p warmline-core --example drive_a_call
//! ```
#![allow(clippy::print_stdout, reason = "an example prints")]

use std::{collections::BTreeMap, error::Error, sync::Arc};

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
