//! What each call has said so far, for a page that opens in the middle of it. Absent here: transfers' lives (the ledger has them).

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
};

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

use warmline_core::{
    call::{CallId, Event, EventKind},
    packet::{rounded, seconds},
    policy::Cue,
    score::Stage,
};

/// Scores that are held of a call, ten minutes of speech; beyond, its oldest is forgotten.
pub const STORY_SCORES_MAX: usize = 600;

/// Other events that are held of a call; beyond, its oldest is forgotten.
pub const STORY_EVENTS_MAX: usize = 256;

/// Calls that are held, live or over; beyond, the one that ended first is forgotten, and where none is over, no new one is held.
pub const STORIES_MAX: usize = 2_048;

/// Bytes of events that are held; beyond, likewise.
pub const STORIES_BYTES_MAX: usize = 48 * 1024 * 1024;

/// Scores in a line of the wall.
const TREND_LEN: usize = 60;

/// Cues in a line of the wall.
const CUES_LEN: usize = 3;

/// The stories of the live calls and of the latest that are over.
#[derive(Default)]
pub(super) struct Stories {
    held: BTreeMap<CallId, Story>,
    ended: VecDeque<CallId>,
    bytes: usize,
}

/// What one call has said.
struct Story {
    since: OffsetDateTime,
    until: Option<OffsetDateTime>,
    scores: VecDeque<Point>,
    events: VecDeque<Kept>,
    bytes: usize,
    heard: Option<Heard>,
    cues: VecDeque<Fired>,
    transfer: Option<String>,
}

/// A line, and how much of it was derived from the caller's voice.
struct Kept {
    line: Arc<str>,
    voice: Voice,
}

/// What an opt-out erases of an event.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Voice {
    /// Nothing: words, keys, gaps, the call's frame.
    Nothing,
    /// One field.
    Field(&'static str),
    /// The event.
    Everything,
}

impl Voice {
    fn of(what: &EventKind) -> Self {
        match what {
            EventKind::Score { .. } | EventKind::ScoreFailed { .. } => Self::Everything,
            EventKind::Cue { cue: Cue::Frustration, .. } => Self::Everything,
            // The packet repeats the scores and the moments. The ledger keeps the transfer itself.
            EventKind::Transfer { .. } => Self::Everything,
            // Scores move the state, and its reason quotes them.
            EventKind::State { .. } if what.is_opt_out() => Self::Field("from"),
            EventKind::State { .. } => Self::Everything,
            EventKind::Turn { heard, .. } if !heard.is_empty() => Self::Field("heard"),
            EventKind::CallEnded { .. }
            | EventKind::CallStarted { .. }
            | EventKind::Cue { .. }
            | EventKind::Turn { .. }
            | EventKind::Said { .. }
            | EventKind::TransferOutcome { .. }
            | EventKind::TransferClaimed { .. }
            | EventKind::TransferVerdict { .. }
            | EventKind::Gap { .. }
            | EventKind::Problem { .. } => Self::Nothing,
        }
    }
}

/// A score: media seconds, calibrated probability, which stage said it.
#[derive(Clone, Copy, Serialize)]
struct Point(f64, f64, Stage);

/// What differed from the caller's own calm speech in their latest turn of which something did.
#[derive(Clone, Serialize)]
struct Heard {
    t: f64,
    words: String,
}

/// A cue that fired.
#[derive(Clone, Serialize)]
struct Fired {
    t: f64,
    cue: Cue,
    evidence: String,
}

/// What a line of the wall says beyond the call's status.
#[derive(Default, Serialize)]
pub(super) struct Glance {
    #[serde(skip_serializing_if = "Option::is_none")]
    since: Option<String>,
    trend: Vec<Point>,
    #[serde(skip_serializing_if = "Option::is_none")]
    heard: Option<Heard>,
    cues: VecDeque<Fired>,
    #[serde(skip_serializing_if = "Option::is_none")]
    transfer: Option<String>,
}

/// Everything that is held of one call.
#[derive(Serialize)]
pub(super) struct Told {
    call: CallId,
    since: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    until: Option<String>,
    scores: VecDeque<Point>,
    events: Vec<Box<RawValue>>,
}

impl Stories {
    /// Takes an event and the line it is told in.
    pub(super) fn take(&mut self, event: &Event, line: &Arc<str>) {
        if matches!(event.what, EventKind::CallStarted { .. }) {
            self.begin(&event.call);
        }
        let Some(story) = self.held.get_mut(&event.call) else { return };
        let before = story.bytes;
        story.observe(event, line);
        self.bytes = self.bytes + story.bytes - before;
        if matches!(event.what, EventKind::CallEnded { .. }) {
            self.ended.push_back(event.call.clone());
        }
        while self.bytes > STORIES_BYTES_MAX && self.forget() {}
    }

    /// Takes a line that names its call.
    pub(super) fn add(&mut self, line: &Arc<str>) {
        #[derive(Deserialize)]
        struct Of {
            call: String,
        }
        let Ok(Of { call }) = serde_json::from_str(line) else { return };
        let Some(story) = self.held.get_mut(&CallId::new(call)) else { return };
        let before = story.bytes;
        story.keep(line, Voice::Nothing);
        self.bytes = self.bytes + story.bytes - before;
    }

    /// What the wall says of a call.
    pub(super) fn glance(&self, call: &CallId) -> Glance {
        let Some(story) = self.held.get(call) else { return Glance::default() };
        let skipped = story.scores.len().saturating_sub(TREND_LEN);
        Glance {
            since: Some(written(story.since)),
            trend: story.scores.iter().skip(skipped).copied().collect(),
            heard: story.heard.clone(),
            cues: story.cues.clone(),
            transfer: story.transfer.clone(),
        }
    }

    /// Everything that is held of a call.
    pub(super) fn told(&self, call: &CallId) -> Option<Told> {
        let story = self.held.get(call)?;
        let raw = |kept: &Kept| RawValue::from_string(kept.line.to_string()).ok();
        Some(Told {
            call: call.clone(),
            since: written(story.since),
            until: story.until.map(written),
            scores: story.scores.clone(),
            events: story.events.iter().filter_map(raw).collect(),
        })
    }

    /// The ids of the calls that are held.
    pub(super) fn ids(&self) -> impl Iterator<Item = &CallId> {
        self.held.keys()
    }

    fn begin(&mut self, call: &CallId) {
        if self.held.len() >= STORIES_MAX && !self.forget() {
            return;
        }
        self.held.insert(
            call.clone(),
            Story {
                since: now(),
                until: None,
                scores: VecDeque::new(),
                events: VecDeque::new(),
                bytes: 0,
                heard: None,
                cues: VecDeque::new(),
                transfer: None,
            },
        );
    }

    /// Forgets the call that ended first; false where none is over.
    fn forget(&mut self) -> bool {
        let Some(call) = self.ended.pop_front() else { return false };
        if let Some(story) = self.held.remove(&call) {
            self.bytes -= story.bytes;
        }
        true
    }
}

impl Story {
    fn observe(&mut self, event: &Event, line: &Arc<str>) {
        let t = seconds(event.at);
        match &event.what {
            EventKind::Score { probability, stage, .. } => {
                self.scores.push_back(Point(t, rounded(*probability, 4), *stage));
                if self.scores.len() > STORY_SCORES_MAX {
                    self.scores.pop_front();
                }
                return;
            }
            EventKind::Cue { cue, evidence } => {
                self.cues.push_back(Fired { t, cue: *cue, evidence: evidence.clone() });
                if self.cues.len() > CUES_LEN {
                    self.cues.pop_front();
                }
            }
            EventKind::Turn { heard, .. } if !heard.is_empty() => {
                self.heard = Some(Heard { t, words: heard.clone() });
            }
            EventKind::Transfer { transfer, .. } => self.transfer = Some(transfer.clone()),
            EventKind::CallEnded { .. } => self.until = Some(now()),
            EventKind::CallStarted { .. }
            | EventKind::ScoreFailed { .. }
            | EventKind::State { .. }
            | EventKind::Turn { .. }
            | EventKind::Said { .. }
            | EventKind::TransferOutcome { .. }
            | EventKind::TransferClaimed { .. }
            | EventKind::TransferVerdict { .. }
            | EventKind::Gap { .. }
            | EventKind::Problem { .. } => {}
        }
        self.keep(line, Voice::of(&event.what));
        if event.what.is_opt_out() {
            self.erase_voice();
        }
    }

    fn keep(&mut self, line: &Arc<str>, voice: Voice) {
        self.bytes += line.len();
        self.events.push_back(Kept { line: Arc::clone(line), voice });
        if self.events.len() > STORY_EVENTS_MAX {
            self.bytes -= self.events.pop_front().map_or(0, |kept| kept.line.len());
        }
    }

    /// Erases what was derived from the caller's voice. Words, keys and turns stay.
    fn erase_voice(&mut self) {
        self.scores.clear();
        self.heard = None;
        self.cues.retain(|fired| fired.cue != Cue::Frustration);
        self.events.retain_mut(|kept| match kept.voice {
            Voice::Nothing => true,
            Voice::Everything => false,
            Voice::Field(name) => kept.erase(name),
        });
        self.bytes = self.events.iter().map(|kept| kept.line.len()).sum();
    }
}

impl Kept {
    /// Replaces a field's value by what says nothing of the voice; false where the line cannot be read.
    fn erase(&mut self, field: &str) -> bool {
        let Ok(mut value) = serde_json::from_str::<serde_json::Value>(&self.line) else { return false };
        let Some(object) = value.as_object_mut() else { return false };
        if field == "from" {
            // `event-1.schema.json` requires the field.
            object.insert(field.into(), "suspended".into());
        } else {
            object.remove(field);
        }
        self.line = value.to_string().into();
        self.voice = Voice::Nothing;
        true
    }
}

#[allow(
    clippy::disallowed_methods,
    reason = "says when a call came in on the clock on the wall, dates nothing"
)]
pub(super) fn now() -> OffsetDateTime {
    std::time::SystemTime::now().into()
}

fn written(at: OffsetDateTime) -> String {
    at.replace_nanosecond(0).unwrap_or(at).format(&Rfc3339).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use warmline_core::{call::OPTED_OUT, units::MediaTime};

    #[test]
    fn a_call_is_told_as_far_as_it_is_held() {
        let mut stories = Stories::default();
        tell(&mut stories, "a", started());
        (0..700).for_each(|n| tell(&mut stories, "a", score(f64::from(n) / 1_000.0)));
        tell(&mut stories, "a", turn("pitch +4 st"));
        tell(&mut stories, "a", turn(""));
        let told = stories.told(&CallId::new("a")).unwrap();
        assert_eq!((told.scores.len(), told.events.len()), (STORY_SCORES_MAX, 3));
        let glance = stories.glance(&CallId::new("a"));
        assert_eq!((glance.trend.len(), glance.trend[59].1), (TREND_LEN, 0.699));
        assert_eq!(glance.heard.unwrap().words, "pitch +4 st");
        assert!(stories.told(&CallId::new("b")).is_none());
    }

    #[test]
    fn the_call_that_ended_first_is_forgotten_and_a_live_one_never() {
        let mut stories = Stories::default();
        for n in 0..STORIES_MAX {
            tell(&mut stories, &format!("call {n}"), started());
        }
        tell(&mut stories, "one too many", started());
        assert!(stories.told(&CallId::new("one too many")).is_none());
        tell(&mut stories, "call 7", ended());
        tell(&mut stories, "next", started());
        assert!(
            stories.told(&CallId::new("call 7")).is_none() && stories.told(&CallId::new("next")).is_some()
        );
        assert!(stories.told(&CallId::new("call 8")).is_some());
    }

    #[test]
    fn an_opt_out_leaves_nothing_derived_from_the_voice() {
        let mut stories = Stories::default();
        let cue = |cue, evidence: &str| EventKind::Cue { cue, evidence: evidence.into() };
        let state = |from, to, why: &str| EventKind::State { from, to, why: why.into() };
        for what in [
            started(),
            score(0.8),
            turn("pitch +4 st"),
            cue(Cue::Frustration, "pitch +4 st over 6 s"),
            cue(Cue::NoProgress, "no match twice"),
            state("calm", "rising", "pitch +4 st"),
            state("rising", "suspended", OPTED_OUT),
        ] {
            tell(&mut stories, "a", what);
        }
        let call = CallId::new("a");
        let glance = serde_json::to_value(stories.glance(&call)).unwrap();
        assert_eq!((&glance["trend"], &glance["heard"]), (&json!([]), &json!(null)));
        let cues: Vec<&str> =
            glance["cues"].as_array().unwrap().iter().filter_map(|cue| cue["cue"].as_str()).collect();
        assert_eq!(cues, ["no_progress"]);
        let story = serde_json::to_string(&stories.told(&call).unwrap()).unwrap();
        for of_voice in ["pitch", "frustration", "0.8", "rising"] {
            assert!(!story.contains(of_voice), "{of_voice}: {story}");
        }
        for stays in ["\"turn\"", "no match twice", OPTED_OUT] {
            assert!(story.contains(stays), "{stays}: {story}");
        }
        let held: usize = stories.held[&call].events.iter().map(|kept| kept.line.len()).sum();
        assert_eq!((stories.held[&call].bytes, stories.bytes), (held, held));
    }

    fn tell(stories: &mut Stories, call: &str, what: EventKind) {
        let event = Event { call: CallId::new(call), at: MediaTime(8_000), what };
        let line = serde_json::to_string(&event).unwrap();
        stories.take(&event, &line.into());
    }

    fn started() -> EventKind {
        EventKind::CallStarted {
            source: "wav".into(),
            file: None,
            caller_channel: "left".into(),
            queue: None,
            intent: None,
        }
    }

    fn score(probability: f64) -> EventKind {
        let (stage, raw, state) = (Stage::Watch, probability, "calm");
        EventKind::Score { stage, probability, raw, state, speech_s: 1.0, baseline: true }
    }

    fn turn(heard: &str) -> EventKind {
        let speaker = warmline_core::media::Speaker::Caller;
        EventKind::Turn { speaker, from_s: 0.0, to_s: 1.0, heard: heard.into() }
    }

    fn ended() -> EventKind {
        EventKind::CallEnded {
            cause: "stop".into(),
            duration_s: 1.0,
            caller_speech_s: 1.0,
            transfers: 0,
            peak: None,
            seconds_in: BTreeMap::new(),
        }
    }
}
