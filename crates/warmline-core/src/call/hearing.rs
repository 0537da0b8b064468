//! The hearing half: packets → what there is to decide on, dated with media time, as it arrives.

use std::collections::VecDeque;

use super::{Command, Output};
use crate::{
    media::{
        Activity, Agent, Caller, FRAME_STEP, Frame, Gap, GapCause, Heard as Sound, Received, Speaker, Track,
        TrackError, TrackFormat,
    },
    prosody::{Analyser, Lld, Summariser, Summary, loudness::level_dbfs},
    score::{Evidence, ScoreError, ScoreRequest, Scores, SpeechMemory, Stage, Stages},
    units::{CallTime, MediaSpan, MediaTime, Probability},
};

/// Media time without speech after which a window is forgotten: it would mix then with now.
const WINDOW_LIFETIME: MediaSpan = crate::policy::EVIDENCE_LIFETIME;

/// The hop without a model: two looks a second.
const HOP_FRAMES: usize = 50;

/// Frames of new speech that make a window worth scoring again.
const NEW_SPEECH_FRAMES: usize = 10;

const STEP: MediaSpan = MediaSpan(FRAME_STEP as u64);

/// Something to decide on.
#[derive(Debug)]
pub(super) enum Item {
    /// A hop of the caller's track is over.
    Hop(Hop),
    /// Somebody began to speak, or stopped.
    Speech {
        speaker: Speaker,
        on: bool,
    },
    /// Audio is missing up to here.
    Gap {
        track: Speaker,
        cause: GapCause,
        span: MediaSpan,
    },
    Problem {
        track: Speaker,
        problem: String,
    },
    /// A command, dated with the moment at which it takes its place among the audio.
    Command(Command),
    Ended(String),
}

/// What one hop of the caller's track brought.
#[derive(Debug)]
pub(super) struct Hop {
    /// What the caller has spoken so far.
    pub(super) speech: MediaSpan,
    /// The new speech in it, if there was enough.
    pub(super) summary: Option<Summary>,
    pub(super) score: Score,
    /// What `confirm` can be asked about, until it is clear whether it will be.
    pub(super) kept: Option<Evidence>,
}

#[derive(Debug)]
pub(super) enum Score {
    NotAsked,
    Awaited {
        stage: Stage,
        asked: CallTime,
    },
    Answered {
        stage: Stage,
        answer: Result<Scores, ScoreError>,
    },
    /// What stands after every stage that was to be asked has answered; `None` if it is not of a voice, or failed.
    Judged(Option<Judgement>),
}

/// What a model makes of the caller's voice.
#[derive(Clone, Copy, Debug)]
pub(super) struct Judgement {
    pub(super) stage: Stage,
    /// Calibrated.
    pub(super) probability: Probability,
    pub(super) raw: Probability,
}

impl Item {
    pub(super) fn asked(&self) -> Option<(Stage, CallTime)> {
        if let Self::Hop(Hop { score: Score::Awaited { stage, asked }, .. }) = self {
            Some((*stage, *asked))
        } else {
            None
        }
    }

    pub(super) fn is_awaited(&self) -> bool {
        self.asked().is_some()
    }

    pub(super) fn answer(&mut self, answer: Result<Scores, ScoreError>) {
        if let Some((stage, _)) = self.asked()
            && let Self::Hop(hop) = self
        {
            hop.score = Score::Answered { stage, answer };
        }
    }
}

/// How closely a call may be listened to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Attention {
    /// The voice is described and scored.
    Scored,
    /// Only who speaks when is kept.
    Turns,
    /// Nothing is heard: what is said is absent, not silent.
    None,
}

/// The caller's track.
pub(super) struct CallerEar {
    track: Track<Caller>,
    ear: Ear,
    pub(super) items: VecDeque<(MediaTime, Item)>,
    /// No item before this will come.
    pub(super) through: MediaTime,
}

impl CallerEar {
    pub(super) fn new(format: TrackFormat, stages: Option<&Stages>) -> Result<Self, TrackError> {
        let hop_frames = stages.map_or(HOP_FRAMES, |stages| stages.first.hop_frames);
        let hop = MediaSpan((hop_frames * FRAME_STEP) as u64);
        Ok(Self {
            track: Track::new(format)?,
            ear: Ear {
                analyser: Analyser::new(),
                memories: stages.map(Memories::new),
                summariser: Summariser::default(),
                attention: Attention::Scored,
                from: MediaTime::ZERO,
                speech: MediaSpan::ZERO,
                last_speech: MediaTime::ZERO,
                new_frames: 0,
                speaking: false,
                hop,
                next_hop: MediaTime::ZERO + hop,
                absent_since: None,
            },
            items: VecDeque::new(),
            through: MediaTime::ZERO,
        })
    }

    /// The end of what was received.
    pub(super) fn time(&self) -> MediaTime {
        self.track.time().max(self.through)
    }

    /// How closely to listen from here on.
    pub(super) fn attend(&mut self, attention: Attention) {
        if self.ear.attention == attention {
            return;
        }
        let now = self.time();
        self.ear.attend(attention, now, &mut self.items);
    }

    pub(super) fn push(
        &mut self,
        now: CallTime,
        position: u64,
        payload: &[u8],
        outputs: &mut VecDeque<Output>,
    ) -> Result<Received, TrackError> {
        let Self { track, ear, items, through } = self;
        let mut desk = Desk { now, items, through, outputs };
        track.push(position, payload, |sound| match sound {
            Sound::Frame(frame) => ear.hear(&frame, &mut desk),
            Sound::Gap(gap) => ear.miss(gap, &mut desk),
        })
    }

    /// The samples `from..to` do not come.
    pub(super) fn skip(
        &mut self,
        now: CallTime,
        from: u64,
        to: u64,
        cause: GapCause,
        outputs: &mut VecDeque<Output>,
    ) -> Result<Received, TrackError> {
        let Self { track, ear, items, through } = self;
        let mut desk = Desk { now, items, through, outputs };
        track.skip(from, to, cause, |sound| match sound {
            Sound::Frame(frame) => ear.hear(&frame, &mut desk),
            Sound::Gap(gap) => ear.miss(gap, &mut desk),
        })?;
        Ok(Received::default())
    }

    /// Nothing more comes of what is before `to`.
    pub(super) fn skip_to(&mut self, now: CallTime, to: MediaTime, outputs: &mut VecDeque<Output>) {
        let from = self.time();
        if to > from {
            let Self { track, ear, items, through } = self;
            let mut desk = Desk { now, items, through, outputs };
            track.finish(|sound| {
                if let Sound::Frame(frame) = sound {
                    ear.hear(&frame, &mut desk);
                }
            });
            ear.miss(Gap { from, to, cause: GapCause::Lost }, &mut desk);
        }
    }

    pub(super) fn finish(&mut self, now: CallTime, outputs: &mut VecDeque<Output>) {
        let end = self.time();
        let Self { track, ear, items, through } = self;
        let mut desk = Desk { now, items, through, outputs };
        track.finish(|sound| {
            if let Sound::Frame(frame) = sound {
                ear.hear(&frame, &mut desk);
            }
        });
        ear.finish(end, &mut desk);
    }
}

/// Where the ear puts what it heard.
struct Desk<'a> {
    now: CallTime,
    items: &'a mut VecDeque<(MediaTime, Item)>,
    through: &'a mut MediaTime,
    outputs: &'a mut VecDeque<Output>,
}

/// Frames of the caller → descriptors, windows and summaries.
struct Ear {
    analyser: Analyser,
    memories: Option<Memories>,
    summariser: Summariser,
    attention: Attention,
    /// Frames before this may not be scored.
    from: MediaTime,
    speech: MediaSpan,
    last_speech: MediaTime,
    /// Frames of speech since the last request.
    new_frames: usize,
    speaking: bool,
    hop: MediaSpan,
    next_hop: MediaTime,
    absent_since: Option<MediaTime>,
}

/// What is kept of the caller's speech for each model.
struct Memories {
    stage: Stage,
    min_frames: usize,
    first: SpeechMemory,
    confirm: Option<(usize, SpeechMemory)>,
}

impl Memories {
    fn new(stages: &Stages) -> Self {
        let Stages { first, confirm } = stages;
        Self {
            stage: first.stage,
            min_frames: first.min_frames,
            first: SpeechMemory::new(first),
            confirm: confirm.as_ref().map(|model| (model.min_frames, SpeechMemory::new(model))),
        }
    }

    fn all(&mut self) -> impl Iterator<Item = &mut SpeechMemory> {
        std::iter::once(&mut self.first).chain(self.confirm.iter_mut().map(|(_, memory)| memory))
    }

    /// Whether each model has enough to go by.
    fn is_enough(&self) -> bool {
        self.first.frames() >= self.min_frames
            && self.confirm.as_ref().is_none_or(|(min_frames, memory)| memory.frames() >= *min_frames)
    }
}

impl Ear {
    fn hear(&mut self, frame: &Frame<'_, Caller>, desk: &mut Desk<'_>) {
        if frame.at < *desk.through {
            return;
        }
        if self.attention == Attention::None {
            self.pass(frame.at + STEP, desk);
            return;
        }
        self.memories.iter_mut().flat_map(Memories::all).for_each(|memory| memory.hear(frame));
        if let Some(lld) = self.analyser.observe(frame) {
            self.take(&lld, desk);
        }
    }

    fn miss(&mut self, gap: Gap, desk: &mut Desk<'_>) {
        let Gap { from, to, cause } = gap;
        self.flush(desk);
        self.stop_speaking(from, desk.items);
        self.pass(to, desk);
        if self.attention != Attention::None {
            let lost = Item::Gap { track: Speaker::Caller, cause, span: to.since(from) };
            desk.items.push_back((to.max(*desk.through), lost));
        }
    }

    fn finish(&mut self, end: MediaTime, desk: &mut Desk<'_>) {
        self.flush(desk);
        let end = end.max(*desk.through);
        self.stop_speaking(end, desk.items);
        self.close_absence(end, desk.items);
        *desk.through = end;
    }

    fn attend(&mut self, attention: Attention, now: MediaTime, items: &mut VecDeque<(MediaTime, Item)>) {
        let before = std::mem::replace(&mut self.attention, attention);
        self.from = now;
        self.new_frames = 0;
        self.summariser.clear();
        self.forget_speech();
        if before == Attention::None {
            self.close_absence(now, items);
        }
        if attention == Attention::None {
            self.analyser.finish(|_| ());
            self.memories.iter_mut().flat_map(Memories::all).for_each(SpeechMemory::forget_waiting);
            self.stop_speaking(now, items);
            self.absent_since = Some(now);
        }
    }

    fn forget_speech(&mut self) {
        self.memories.iter_mut().flat_map(Memories::all).for_each(SpeechMemory::clear);
    }

    fn close_absence(&mut self, now: MediaTime, items: &mut VecDeque<(MediaTime, Item)>) {
        if let Some(since) = self.absent_since.take() {
            let span = now.since(since);
            items.push_back((now, Item::Gap { track: Speaker::Caller, cause: GapCause::Paused, span }));
        }
    }

    fn flush(&mut self, desk: &mut Desk<'_>) {
        let mut waiting = Vec::new();
        self.analyser.finish(|lld| waiting.push(lld));
        waiting.iter().for_each(|lld| self.take(lld, desk));
    }

    fn take(&mut self, lld: &Lld, desk: &mut Desk<'_>) {
        if lld.speech != self.speaking {
            self.speaking = lld.speech;
            desk.items.push_back((lld.at, Item::Speech { speaker: Speaker::Caller, on: lld.speech }));
        }
        let scored = self.attention == Attention::Scored && lld.at >= self.from;
        self.memories.iter_mut().flat_map(Memories::all).for_each(|memory| memory.settle(lld, scored));
        if lld.speech && scored {
            self.speech += STEP;
            self.last_speech = lld.at;
            self.new_frames += 1;
            self.summariser.observe(lld);
        }
        self.pass(lld.at + STEP, desk);
    }

    fn stop_speaking(&mut self, at: MediaTime, items: &mut VecDeque<(MediaTime, Item)>) {
        if std::mem::take(&mut self.speaking) {
            items.push_back((at, Item::Speech { speaker: Speaker::Caller, on: false }));
        }
    }

    /// Time has come as far as `to`: a hop that ends by then is over. Of several that a gap swallowed only the last is.
    fn pass(&mut self, to: MediaTime, desk: &mut Desk<'_>) {
        *desk.through = to.max(*desk.through);
        if to < self.next_hop {
            return;
        }
        let at = MediaTime(to.0 - to.0 % self.hop.0);
        self.next_hop = at + self.hop;
        if at.since(self.last_speech) > WINDOW_LIFETIME {
            self.forget_speech();
        }
        let (mut score, mut kept) = (Score::NotAsked, None);
        if let Some(memories) = &self.memories
            && self.new_frames >= NEW_SPEECH_FRAMES
            && memories.is_enough()
        {
            self.new_frames = 0;
            let stage = memories.stage;
            let window = memories.first.evidence().into_window();
            desk.outputs.push_back(Output::Score(ScoreRequest { stage, at, window }));
            score = Score::Awaited { stage, asked: desk.now };
            kept = memories.confirm.as_ref().map(|(_, memory)| memory.evidence());
        }
        let summary = self.summariser.take();
        desk.items.push_back((at, Item::Hop(Hop { speech: self.speech, summary, score, kept })));
    }
}

/// The agent's track: who speaks when, and nothing else.
pub(super) struct AgentEar {
    track: Track<Agent>,
    activity: Activity,
    speaking: bool,
    pub(super) items: VecDeque<(MediaTime, Item)>,
    /// No item before this will come.
    pub(super) through: MediaTime,
}

impl AgentEar {
    pub(super) fn new(format: TrackFormat) -> Result<Self, TrackError> {
        let items = VecDeque::new();
        Ok(Self {
            track: Track::new(format)?,
            activity: Activity::new(),
            speaking: false,
            items,
            through: MediaTime::ZERO,
        })
    }

    /// The end of what was received.
    pub(super) fn time(&self) -> MediaTime {
        self.track.time().max(self.through)
    }

    pub(super) fn push(&mut self, position: u64, payload: &[u8]) -> Result<Received, TrackError> {
        let Self { track, activity, speaking, items, through } = self;
        track.push(position, payload, |sound| match sound {
            Sound::Frame(frame) => hear_agent(&frame, activity, speaking, items, through),
            Sound::Gap(gap) => {
                miss_agent(gap, speaking, items, through);
            }
        })
    }

    /// The samples `from..to` do not come.
    pub(super) fn skip(&mut self, from: u64, to: u64, cause: GapCause) -> Result<Received, TrackError> {
        let Self { track, activity, speaking, items, through } = self;
        track.skip(from, to, cause, |sound| match sound {
            Sound::Frame(frame) => hear_agent(&frame, activity, speaking, items, through),
            Sound::Gap(gap) => miss_agent(gap, speaking, items, through),
        })?;
        Ok(Received::default())
    }

    /// Nothing more comes of what is before `to`.
    pub(super) fn skip_to(&mut self, to: MediaTime) {
        if to > self.time() {
            stop(self.through, &mut self.speaking, &mut self.items);
            self.through = to;
        }
    }

    pub(super) fn finish(&mut self) {
        let end = self.time();
        let Self { track, activity, speaking, items, through } = self;
        track.finish(|sound| {
            if let Sound::Frame(frame) = sound {
                hear_agent(&frame, activity, speaking, items, through);
            }
        });
        stop(end, speaking, items);
        *through = end.max(*through);
    }
}

fn miss_agent(
    gap: Gap,
    speaking: &mut bool,
    items: &mut VecDeque<(MediaTime, Item)>,
    through: &mut MediaTime,
) {
    let Gap { from, to, cause } = gap;
    stop(from, speaking, items);
    *through = to.max(*through);
    items.push_back((*through, Item::Gap { track: Speaker::Agent, cause, span: to.since(from) }));
}

fn hear_agent(
    frame: &Frame<'_, Agent>,
    activity: &mut Activity,
    speaking: &mut bool,
    items: &mut VecDeque<(MediaTime, Item)>,
    through: &mut MediaTime,
) {
    if frame.at < *through {
        return;
    }
    let on = activity.observe(level_dbfs(frame.samples));
    if on != *speaking {
        *speaking = on;
        items.push_back((frame.at, Item::Speech { speaker: Speaker::Agent, on }));
    }
    *through = frame.at + STEP;
}

fn stop(at: MediaTime, speaking: &mut bool, items: &mut VecDeque<(MediaTime, Item)>) {
    if std::mem::take(speaking) {
        items.push_back((at, Item::Speech { speaker: Speaker::Agent, on: false }));
    }
}
