//! A stream's end of its call.

use std::sync::{Arc, atomic::Ordering};

use super::{
    Command, HandBack, Shared,
    inbox::{Inbox, Said, Tray},
};
use warmline_core::{
    call::CallId,
    media::{Decoder, Speaker},
    policy::{PauseOwner, Suspension},
};
use warmline_wire::Message;

/// One stream of one call: whoever holds it says what the peer sends. Dropping it ends the stream.
pub struct Line {
    inbox: Arc<Inbox>,
    tray: Arc<Tray>,
    shared: Arc<Shared>,
    stream: u32,
    caller: Decoder,
    agent: Option<Decoder>,
    left: bool,
}

impl Line {
    pub(super) fn new(
        inbox: Arc<Inbox>,
        tray: Arc<Tray>,
        shared: Arc<Shared>,
        stream: u32,
        caller: Decoder,
        agent: Option<Decoder>,
    ) -> Self {
        Self { inbox, tray, shared, stream, caller, agent, left: false }
    }

    /// The call's id.
    pub fn id(&self) -> &CallId {
        &self.inbox.id
    }

    /// Whether this stream joined a call that was there.
    pub fn is_joined(&self) -> bool {
        self.stream > 0
    }

    /// Says how this stream gives the call back, if its protocol has a word for it.
    pub fn on_hand_back(&self, way: HandBack) {
        self.inbox.know_way_back(self.stream, way);
    }

    /// Payloads of this call that wait to be heard.
    pub fn waiting(&self) -> usize {
        self.inbox.waiting()
    }

    /// Passes on what the stream says. Audio is decoded here, so that a codec costs the connection and not the shard.
    pub fn handle(&mut self, message: &Message<'_>) {
        let word = match message {
            Message::Media { track, position, payload } => return self.media(*track, *position, payload),
            Message::Dtmf(key) => Command::Dtmf(*key),
            Message::Paused => Command::Suspend(Suspension::Pause(PauseOwner::Stream(self.stream))),
            Message::Resumed => Command::Lift(Suspension::Pause(PauseOwner::Stream(self.stream))),
            Message::Stopped(cause) => return self.leave(cause),
            Message::Gap { track, cause, from, to } => {
                let (track, cause, from, to) = (*track, *cause, *from, *to);
                self.inbox.gap(&self.tray, Said::Gap { stream: self.stream, track, cause, from, to });
                return;
            }
            Message::Started(_) | Message::Mark(_) | Message::Problem(_) => return,
        };
        if !self.inbox.say(&self.tray, Said::Word(self.stream, word)) {
            self.shared.counts.unheard.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn media(&mut self, track: Speaker, position: u64, payload: &[u8]) {
        let counts = &self.shared.counts;
        let (decoder, speaker) = match (track, &mut self.agent) {
            (Speaker::Caller, _) => (&mut self.caller, Speaker::Caller),
            (Speaker::Agent, Some(agent)) => (agent, Speaker::Agent),
            (Speaker::Agent, None) => return,
        };
        counts.packets.fetch_add(1, Ordering::Relaxed);
        match decoder.decode(payload) {
            Ok(samples) => {
                let dropped = self.inbox.media(&self.tray, self.stream, speaker, position, samples);
                counts.dropped.fetch_add(dropped, Ordering::Relaxed);
            }
            Err(_) => {
                counts.undecoded.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    fn leave(&mut self, cause: &str) {
        if !std::mem::replace(&mut self.left, true) {
            self.inbox.say(&self.tray, Said::Left(self.stream, cause.to_owned()));
        }
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        self.inbox.forget_way_back(self.stream);
        self.leave("closed");
    }
}
