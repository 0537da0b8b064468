//! A recording played to the same [`Call`] that takes live audio, as fast as it goes.

use std::{
    collections::{BTreeMap, VecDeque},
    io,
    sync::Arc,
};

use super::{
    recording::{CallerChannel, Recording, RecordingError},
    script::{Line, Told},
};
use warmline_core::{
    call::{Call, CallConfig, CallStart, Command, Input, Output, Transcript},
    media::Speaker,
    policy::Notice,
    score::{ScoreError, ScoreRequest, Scores},
    units::{CallTime, MediaSpan, MediaTime},
};

/// What a recording cannot tell by itself.
#[derive(Clone, Debug)]
pub struct ReplayOptions {
    /// Where the caller is; left of two, if nothing is said.
    pub caller_channel: Option<CallerChannel>,
    /// Length of the packets in which the call is fed; it changes nothing.
    pub packet: MediaSpan,
    /// What the caller is taken to have been told.
    pub notice: Notice,
    /// When they were told; at the start, if nothing is said.
    pub notice_at: Option<MediaTime>,
    /// The queue, for the policy's overrides.
    pub queue: Option<String>,
    /// The intent, likewise.
    pub intent: Option<String>,
    /// What was said and what the bot reported, in the order of their moments.
    pub script: Vec<Line>,
}

/// Scores windows: one answer a request, in order.
pub type Score<'a> = dyn FnMut(&[ScoreRequest]) -> Vec<Result<Scores, ScoreError>> + 'a;

/// Plays a whole recording. `score` is asked for up to `lanes` windows at a time; `tell` gets what the call does.
///
/// # Errors
/// When the recording's channels do not fit the options, or the file fails while it is read; what was heard until then has been told.
pub fn replay(
    mut recording: Recording,
    options: &ReplayOptions,
    config: Arc<CallConfig>,
    lanes: usize,
    score: &mut Score<'_>,
    tell: &mut dyn FnMut(Output),
) -> Result<(), RecordingError> {
    let (caller, agent, caller_channel) = recording.tracks(options.caller_channel)?;
    let id = recording.call_id(caller_channel)?;
    let rate = u64::from(caller.rate.0);
    let start = CallStart {
        source: "wav".into(),
        file: recording.path().file_name().map(|name| name.to_string_lossy().into_owned()),
        caller_channel: caller_channel.name().into(),
        caller,
        agent,
        queue: options.queue.clone(),
        intent: options.intent.clone(),
        notice: if options.notice_at.is_some() { Notice::None } else { options.notice },
        metadata: BTreeMap::new(),
    };
    let call =
        Call::new(id, start, config).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
    let mut player = Player::new(call, lanes, score, tell);

    player.script.extend(options.script.iter().cloned());
    let mut notice_at = options.notice_at.map(|at| at.0 * rate / 8_000);
    let samples_a_packet = (options.packet.0 * rate / 8_000).max(1);
    let bytes_per_sample = caller.bytes_per_sample() as u64;
    let mut packet = Vec::new();
    let mut position = 0;
    loop {
        if notice_at.is_some_and(|at| at <= position) {
            notice_at = None;
            player.input(Input::Command(Command::Notice(options.notice)));
        }
        let until_notice = notice_at.map_or(u64::MAX, |at| at - position);
        let samples = samples_a_packet.min(until_notice);
        // What is dated within the packet that comes is told before it: the call puts it where it belongs.
        player.tell_until(MediaTime((position + samples) * 8_000 / rate));
        if let Err(error) = recording.packet(samples, &mut packet) {
            player.input(Input::Ended("read_error"));
            player.drain(true);
            return Err(error.into());
        }
        if packet.is_empty() {
            break;
        }
        player.input(Input::Media { track: Speaker::Caller, position, payload: &packet });
        if agent.is_some() {
            player.input(Input::Media { track: Speaker::Agent, position, payload: &packet });
        }
        position += packet.len() as u64 / bytes_per_sample;
    }
    player.tell_until(MediaTime(u64::MAX));
    player.input(Input::Ended(if recording.is_truncated() { "truncated" } else { "end_of_recording" }));
    player.drain(true);
    Ok(())
}

/// A call, and who answers it at once. It has no arrival clock: nothing is ever late.
pub struct Player<'a, 'b> {
    call: Call,
    lanes: usize,
    script: VecDeque<Line>,
    asked: Vec<ScoreRequest>,
    score: &'a mut Score<'b>,
    tell: &'a mut dyn FnMut(Output),
}

impl<'a, 'b> Player<'a, 'b> {
    /// A call whose windows are scored `lanes` at a time, and what it tells.
    pub fn new(call: Call, lanes: usize, score: &'a mut Score<'b>, tell: &'a mut dyn FnMut(Output)) -> Self {
        let mut player = Self { call, lanes, script: VecDeque::new(), asked: Vec::new(), score, tell };
        player.drain(false);
        player
    }

    /// Tells the call something, and passes on what it does.
    pub fn input(&mut self, input: Input<'_>) {
        self.call.handle_input(CallTime::ZERO, input);
        self.drain(false);
    }

    /// Tells what is dated before `end`.
    fn tell_until(&mut self, end: MediaTime) {
        while let Some(Line { at, told }) = self.script.pop_front_if(|line| line.at < end) {
            self.input(match told {
                Told::Said(speaker, text) => Input::Command(Command::Transcript(Transcript {
                    speaker,
                    text,
                    is_final: true,
                    at: Some(at),
                })),
                Told::Bot(event) => Input::Command(Command::Bot(event, Some(at))),
            });
        }
    }

    /// Passes on what the call does; asks for scores when a batch is full, or for all that are wanted.
    pub fn drain(&mut self, all: bool) {
        loop {
            while let Some(output) = self.call.poll_output() {
                match output {
                    Output::Score(request) => self.asked.push(request),
                    other @ (Output::Act(_) | Output::Tell(_)) => (self.tell)(other),
                }
            }
            let n = if all { self.asked.len() } else { self.asked.len() / self.lanes * self.lanes };
            if n == 0 {
                return;
            }
            let batch: Vec<ScoreRequest> = self.asked.drain(..n).collect();
            let answers = (self.score)(&batch);
            for (request, answer) in batch.iter().zip(answers) {
                self.call.handle_input(CallTime::ZERO, Input::Scored(request.stage, request.at, answer));
            }
        }
    }
}
