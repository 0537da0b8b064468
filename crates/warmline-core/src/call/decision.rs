//! The deciding half: goes through the call in the order of media time, and tells and acts.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, VecDeque},
    sync::Arc,
};

use super::bounded::push_bounded;
use super::{
    Action, CallConfig, CallId, CallStart, Command, Event, EventKind, OPTED_OUT, Output, Transcript,
    hearing::{Hop, Item, Judgement, Score},
    talk::{Found, Talk},
};
use crate::{
    media::Speaker,
    packet::{
        Advice, CallContext, Change, Consent, ContextPacket, Conversation, Full, KeyPress, Moment, Named,
        Provenance, Trend, Trigger, Turn, rounded, seconds,
    },
    policy::{
        Cue, Decision as Verdict, Escalation, Notice, NoticeRule, Observation, Outcome, Priority, State,
        Suspension,
    },
    prosody::{Baseline, Deviation, FEATURE_SET, Summary},
    score::{CallerScores, Model, ScoreError, ScoreRequest, Scores, Stage, Stages},
    units::{CallTime, MediaSpan, MediaTime, Pii, Probability},
    words::{BotEvent, opening},
};

/// Turns that are remembered.
const TURNS_MAX: usize = 64;
/// Keys that are remembered.
const KEYS_MAX: usize = 32;
/// Seconds of scores that are remembered.
const TREND_MAX: usize = 120;
/// Moments that are remembered, the strongest.
const MOMENTS_MAX: usize = 4;
/// Summaries of the latest speech: the last ten seconds and more.
const RECENT_MAX: usize = 24;
/// Changes that a moment names.
const CHANGES_MAX: usize = 3;
/// A pause within a turn, at the most.
const TURN_PAUSE: MediaSpan = MediaSpan(8_000);
/// The probability from which a transfer is of high priority, and the cues.
const HIGH: (f64, usize) = (0.9, 3);
/// Cues whose words a reason repeats, the latest.
const REASONS_MAX: usize = 3;
/// Scores the slope of the trend is drawn through.
const SLOPE_SECONDS: usize = 10;

pub(super) struct Decision {
    id: CallId,
    config: Arc<CallConfig>,
    context: CallContext,
    escalation: Escalation,
    notice: Notice,
    judges: Option<Judges>,
    baseline: Baseline,
    recent: VecDeque<(MediaTime, Summary)>,
    last: Option<Judgement>,
    rising: Option<Rising>,
    moments: Vec<Moment>,
    trend: VecDeque<Option<f64>>,
    trend_until: u64,
    peak: Option<Probability>,
    turns: VecDeque<Turn>,
    /// The turn that is not over: whose, from, and until when they spoke if they have paused.
    open: Option<(Speaker, MediaTime, Option<MediaTime>)>,
    keys: VecDeque<KeyPress>,
    talk: Talk,
    has_agent: bool,
    speech: MediaSpan,
    transfers: u32,
    seconds_in: BTreeMap<&'static str, f64>,
    state_since: MediaTime,
}

/// What each stage has said of this caller.
struct Judges {
    first: (Stage, CallerScores),
    confirm: Option<CallerScores>,
    /// Caller speech over which `confirm` learns what is usual for this caller.
    opening_s: f64,
    confirmed: Option<Probability>,
}

impl Judges {
    fn new(stages: &Stages) -> Self {
        let scores = |model: &Model| CallerScores::new(model.calibration.clone());
        let opening = stages.confirm.as_ref().and_then(|model| model.calibration.caller.as_ref());
        Self {
            first: (stages.first.stage, scores(&stages.first)),
            confirm: stages.confirm.as_ref().map(scores),
            opening_s: opening.map_or(0.0, |caller| caller.opening_s),
            confirmed: None,
        }
    }

    fn judge(
        &mut self,
        stage: Stage,
        speech: MediaSpan,
        answer: Result<Scores, ScoreError>,
    ) -> Result<Option<Judgement>, ScoreError> {
        let is_first = stage == self.first.0;
        let scores = if is_first { Some(&mut self.first.1) } else { self.confirm.as_mut() };
        let (Some(scores), answer) = (scores, answer?) else { return Ok(None) };
        if answer.speech.is_some_and(|logit| logit < 0.0) {
            return Ok(None);
        }
        let raw =
            Probability::from_logit(f64::from(answer.frustration)).map_err(|_| ScoreError::NotFinite)?;
        let probability = scores.observe(answer.frustration, speech)?;
        if !is_first {
            self.confirmed = Some(probability);
        }
        Ok(Some(Judgement { stage, probability, raw }))
    }

    /// Whether `confirm` has to hear what the first stage heard: it is suspicious, or `confirm` was when last asked, or this
    /// caller's opening is being learnt.
    fn doubt(&self, first: Judgement, suspect: Probability, speech: MediaSpan) -> bool {
        self.confirm.is_some()
            && first.stage == self.first.0
            && (first.probability >= suspect
                || self.confirmed.is_some_and(|p| p >= suspect)
                || speech.seconds() <= self.opening_s)
    }
}

/// A stretch in which the score is above `enter`.
struct Rising {
    from: MediaTime,
    peak: Probability,
}

impl Decision {
    pub(super) fn new(
        id: CallId,
        start: CallStart,
        config: &Arc<CallConfig>,
        outputs: &mut VecDeque<Output>,
    ) -> Self {
        let rules = config.policy.rules_for(start.queue.as_deref(), start.intent.as_deref()).clone();
        let mut escalation = Escalation::new(rules);
        if !escalation.rules().notice.is_met(start.notice) {
            escalation.observe(MediaTime::ZERO, Observation::Suspend(Suspension::Notice));
        }
        let CallStart { source, file, caller_channel, queue, intent, notice, metadata, caller: _, agent } =
            start;
        let has_agent = agent.is_some();
        let context = CallContext { id: id.to_string(), source, queue, intent, metadata };
        let decision = Self {
            id,
            config: Arc::clone(config),
            escalation,
            notice,
            judges: config.stages.as_ref().map(Judges::new),
            baseline: Baseline::default(),
            recent: VecDeque::new(),
            last: None,
            rising: None,
            moments: Vec::new(),
            trend: VecDeque::new(),
            trend_until: 0,
            peak: None,
            turns: VecDeque::new(),
            open: None,
            keys: VecDeque::new(),
            talk: Talk::default(),
            has_agent,
            speech: MediaSpan::ZERO,
            transfers: 0,
            seconds_in: BTreeMap::new(),
            state_since: MediaTime::ZERO,
            context,
        };
        let started = EventKind::CallStarted {
            source: decision.context.source.clone(),
            file,
            caller_channel,
            queue: decision.context.queue.clone(),
            intent: decision.context.intent.clone(),
        };
        decision.tell(MediaTime::ZERO, started, outputs);
        decision
    }

    /// What must have happened before the voice is scored.
    pub(super) fn notice_rule(&self) -> NoticeRule {
        self.escalation.rules().notice
    }

    pub(super) fn handle(&mut self, at: MediaTime, item: Item, outputs: &mut VecDeque<Output>) {
        match item {
            Item::Hop(hop) => self.hop(at, hop, outputs),
            Item::Speech { speaker, on } => self.speech(at, speaker, on, outputs),
            Item::Gap { track, cause, span } => {
                self.tell(at, EventKind::Gap { track, cause, seconds: span.seconds() }, outputs);
            }
            Item::Problem { track, problem } => self.tell(at, EventKind::Problem { track, problem }, outputs),
            Item::Command(command) => self.command(at, command, outputs),
            Item::Ended(cause) => self.end(at, cause, outputs),
        }
    }

    fn command(&mut self, at: MediaTime, command: Command, outputs: &mut VecDeque<Output>) {
        match command {
            Command::Dtmf(key) => self.key(at, key, outputs),
            Command::Notice(given) => self.notice(at, given, outputs),
            Command::Transcript(Transcript { speaker, text, at: said_at, .. }) => {
                self.say(at, said_at.unwrap_or(at), speaker, &text, outputs);
            }
            Command::Bot(event, _) => self.bot(at, &event, outputs),
            Command::Suspend(why) => self.suspend(at, why, outputs),
            Command::Lift(why) => {
                if why == Suspension::Hold {
                    self.talk.hold(at, false);
                }
                self.observe(at, Observation::Lift(why), "resumed", outputs);
            }
            Command::ExplicitRequest => {
                if self.escalation.rules().instant.explicit_request {
                    self.ask(at, Cue::ExplicitRequest, "the caller asked for a person", outputs);
                }
            }
            Command::Manual => self.ask(at, Cue::Manual, "a supervisor decided", outputs),
            Command::Outcome(outcome) => self.outcome(at, outcome, outputs),
        }
    }

    fn hop(&mut self, at: MediaTime, hop: Hop, outputs: &mut VecDeque<Output>) {
        self.speech = hop.speech;
        if let Some(found) = self.talk.pass(at, self.has_agent, self.escalation.rules()) {
            self.found(at, &found, outputs);
        }
        let opted_out = self.escalation.is_suspended(Suspension::OptedOut);
        let judged = match hop.score {
            Score::Judged(judged) => judged.filter(|_| !opted_out),
            Score::NotAsked | Score::Awaited { .. } | Score::Answered { .. } => None,
        };
        self.extend_trend(at, judged.map(|j| j.probability));
        if let Some(summary) = hop.summary.filter(|_| !opted_out) {
            self.remember(at, summary);
        }
        let Some(judgement @ Judgement { stage, probability, raw }) = judged else {
            let heard = self.speech > MediaSpan::ZERO;
            let why = if heard { "too little speech of late" } else { "no speech" };
            self.observe(at, Observation::Unscored { heard }, why, outputs);
            return;
        };
        self.last = Some(judgement);
        self.peak = self.peak.max(Some(probability));
        let before = self.escalation.state();
        let verdict = self.escalation.observe(at, Observation::Scored { speech: self.speech, probability });
        let after = self.escalation.state();
        let score = EventKind::Score {
            stage,
            probability: probability.get(),
            raw: raw.get(),
            state: after.name(),
            speech_s: self.speech.seconds(),
            baseline: self.baseline.is_established(),
        };
        self.tell(at, score, outputs);
        let deciding = self.follow_rise(at, probability, verdict.is_some());
        let words = format!("score {:.2}", probability.get());
        self.changed(at, before, &words, outputs);
        if let Some(verdict) = verdict {
            self.transfer(verdict, deciding.as_ref(), outputs);
        }
    }

    /// Judges what a stage answered. When `confirm` has to hear the same speech, the hop waits for it, and the request is
    /// given back.
    pub(super) fn weigh(
        &mut self,
        now: CallTime,
        at: MediaTime,
        hop: &mut Hop,
        outputs: &mut VecDeque<Output>,
    ) -> Option<ScoreRequest> {
        let Score::Answered { stage, answer } = hop.score else { return None };
        if self.escalation.is_suspended(Suspension::OptedOut) {
            (hop.score, hop.kept) = (Score::Judged(None), None);
            return None;
        }
        let judged = self.judge(stage, at, hop.speech, answer, outputs);
        let suspect = self.escalation.rules().suspect;
        let evidence = hop.kept.take();
        if let (Some(judgement), Some(evidence), Some(judges)) = (judged, evidence, &mut self.judges)
            && judges.doubt(judgement, suspect, hop.speech)
        {
            hop.score = Score::Awaited { stage: Stage::Confirm, asked: now };
            return Some(ScoreRequest { stage: Stage::Confirm, at, window: evidence.into_window() });
        }
        hop.score = Score::Judged(judged);
        None
    }

    /// What an answer says of the caller, if it is one of a voice.
    fn judge(
        &mut self,
        stage: Stage,
        at: MediaTime,
        speech: MediaSpan,
        answer: Result<Scores, ScoreError>,
        outputs: &mut VecDeque<Output>,
    ) -> Option<Judgement> {
        let judged = self.judges.as_mut()?.judge(stage, speech, answer);
        judged.unwrap_or_else(|error| {
            self.tell(at, EventKind::ScoreFailed { stage, why: error.to_string() }, outputs);
            None
        })
    }

    /// Keeps the latest summaries; what is older and was calm becomes part of the caller's baseline.
    fn remember(&mut self, at: MediaTime, summary: Summary) {
        let calm = match self.escalation.state() {
            State::Unheard | State::Insufficient | State::Calm => true,
            State::Rising { .. } | State::Escalated { .. } | State::Cooldown { .. } | State::Suspended(_) => {
                false
            }
        };
        if calm && self.last.is_none_or(|j| j.probability < self.escalation.rules().exit) {
            self.baseline.observe(&summary);
        }
        if self.recent.len() == RECENT_MAX {
            self.recent.pop_front();
        }
        self.recent.push_back((at, summary));
    }

    /// Turns a rise into a moment of evidence when it is over, or when it decides; answers with that moment.
    fn follow_rise(&mut self, at: MediaTime, probability: Probability, decided: bool) -> Option<Moment> {
        let window = self.config.stages.as_ref().map_or(MediaSpan::ZERO, |s| window_span(&s.first));
        let rising = matches!(self.escalation.state(), State::Rising { .. }) || decided;
        if rising {
            // The window may reach back over the agent's turn; what is heard now began with the caller's.
            let turn = match self.open {
                Some((Speaker::Caller, from, _)) => from,
                Some((Speaker::Agent, ..)) | None => MediaTime::ZERO,
            };
            let from = MediaTime(at.0.saturating_sub(window.0)).max(turn);
            let rise = self.rising.get_or_insert(Rising { from, peak: probability });
            rise.peak = rise.peak.max(probability);
        }
        if rising && !decided {
            return None;
        }
        let rise = self.rising.take()?;
        let changes = self.changes_since(rise.from);
        let moment =
            Moment { from_s: seconds(rise.from), to_s: seconds(at), probability: rise.peak, changes };
        self.moments.push(moment.clone());
        self.moments.sort_by_key(|moment| Reverse(moment.probability));
        self.moments.truncate(MOMENTS_MAX);
        Some(moment)
    }

    fn changes_since(&self, from: MediaTime) -> Vec<Change> {
        let now: Vec<Summary> =
            self.recent.iter().filter(|(at, _)| *at > from).map(|(_, s)| s.clone()).collect();
        let deviations = self.baseline.deviations(&now);
        deviations
            .iter()
            .filter(|d| Deviation::is_worth_saying(d))
            .take(CHANGES_MAX)
            .map(Change::from)
            .collect()
    }

    fn say(
        &mut self,
        at: MediaTime,
        said_at: MediaTime,
        speaker: Speaker,
        text: &Pii<String>,
        outputs: &mut VecDeque<Output>,
    ) {
        if self.escalation.is_suspended(Suspension::Human) {
            return;
        }
        let (kept, found) = self.talk.say(said_at, speaker, text.expose(), self.escalation.rules());
        self.tell(at, EventKind::Said { speaker, at_s: seconds(said_at), text: Pii::new(kept) }, outputs);
        found.iter().for_each(|found| self.found(at, found, outputs));
    }

    fn bot(&mut self, at: MediaTime, event: &BotEvent, outputs: &mut VecDeque<Output>) {
        if self.escalation.is_suspended(Suspension::Human) {
            return;
        }
        let found = self.talk.bot(at, event, self.escalation.rules());
        found.iter().for_each(|found| self.found(at, found, outputs));
    }

    /// A cue beyond the voice: one that asks for a person transfers at once, the others weigh what the policy says.
    fn found(&mut self, at: MediaTime, found: &Found, outputs: &mut VecDeque<Output>) {
        let Found { cue, words } = found;
        let cue = *cue;
        if cue == Cue::ExplicitRequest {
            self.talk.keep(at, found);
            self.ask(at, cue, words, outputs);
            return;
        }
        if self.escalation.rules().cues.weight(cue) == Probability::default() {
            return;
        }
        self.talk.keep(at, found);
        self.tell(at, EventKind::Cue { cue, evidence: words.clone() }, outputs);
        let before = self.escalation.state();
        if let Some(verdict) = self.escalation.observe(at, Observation::Cue(cue)) {
            self.changed(at, before, words, outputs);
            let mut reasons = self.reasons();
            if let (State::Rising { .. }, Some(judgement)) = (before, self.last) {
                let moment = self.follow_rise(at, judgement.probability, true);
                reasons = format!("{reasons}; {}", self.sounds(moment.as_ref()));
            }
            self.transfer_because(verdict, reasons, outputs);
        }
    }

    /// The latest cues in words.
    fn reasons(&self) -> String {
        let mut latest: Vec<&str> =
            self.talk.cues().rev().take(REASONS_MAX).map(|cue| cue.words.expose().as_str()).collect();
        latest.reverse();
        latest.join("; ")
    }

    fn suspend(&mut self, at: MediaTime, why: Suspension, outputs: &mut VecDeque<Output>) {
        let before = self.escalation.state();
        self.observe(at, Observation::Suspend(why), suspended(why), outputs);
        match why {
            Suspension::Hold => self.talk.hold(at, true),
            Suspension::OptedOut => {
                self.erase();
                if matches!(before, State::Suspended(_)) {
                    let (from, to) = (before.name(), self.escalation.state().name());
                    self.tell(at, EventKind::State { from, to, why: suspended(why).to_owned() }, outputs);
                }
            }
            Suspension::Pause(_) | Suspension::Notice | Suspension::Human => {}
        }
    }

    /// Forgets everything that was derived from the caller's voice. Words, keys and turns stay.
    fn erase(&mut self) {
        self.judges = self.config.stages.as_ref().map(Judges::new);
        self.baseline = Baseline::default();
        self.recent.clear();
        self.last = None;
        self.rising = None;
        self.moments.clear();
        self.trend.clear();
        self.peak = None;
    }

    fn speech(&mut self, at: MediaTime, speaker: Speaker, on: bool, outputs: &mut VecDeque<Output>) {
        if let Some(found) = self.talk.voice(at, speaker, on, self.escalation.rules()) {
            self.found(at, &found, outputs);
        }
        match (self.open, on) {
            (Some((who, from, _)), false) if who == speaker => self.open = Some((who, from, Some(at))),
            (Some((who, from, Some(paused))), true) if who == speaker && at.since(paused) <= TURN_PAUSE => {
                self.open = Some((who, from, None));
            }
            (_, true) => {
                self.close_turn(at, outputs);
                self.open = Some((speaker, at, None));
            }
            (_, false) => {}
        }
    }

    fn close_turn(&mut self, now: MediaTime, outputs: &mut VecDeque<Output>) {
        let Some((speaker, from, paused)) = self.open.take() else { return };
        let to = paused.unwrap_or(now);
        let turn = Turn { speaker, from_s: seconds(from), to_s: seconds(to), words: None };
        let heard = match speaker {
            Speaker::Caller => words(&self.changes_since(from)),
            Speaker::Agent => String::new(),
        };
        let what = EventKind::Turn { speaker, from_s: turn.from_s, to_s: turn.to_s, heard };
        self.tell(now, what, outputs);
        push_bounded(&mut self.turns, turn, TURNS_MAX);
    }

    fn key(&mut self, at: MediaTime, key: char, outputs: &mut VecDeque<Output>) {
        push_bounded(&mut self.keys, KeyPress { at_s: seconds(at), key }, KEYS_MAX);
        if self.escalation.rules().instant.dtmf.contains(&key) {
            self.ask(at, Cue::ExplicitRequest, &format!("the caller pressed {key}"), outputs);
        }
    }

    fn notice(&mut self, at: MediaTime, given: Notice, outputs: &mut VecDeque<Output>) {
        self.notice = given;
        let met = self.escalation.rules().notice.is_met(given);
        let observation = if met {
            Observation::Lift(Suspension::Notice)
        } else {
            Observation::Suspend(Suspension::Notice)
        };
        self.observe(
            at,
            observation,
            if met { "notice given" } else { suspended(Suspension::Notice) },
            outputs,
        );
    }

    fn outcome(&mut self, at: MediaTime, outcome: Outcome, outputs: &mut VecDeque<Output>) {
        let Some(n) = self.transfers.checked_sub(1) else { return };
        let words = match outcome {
            Outcome::Connected => "connected",
            Outcome::CameToNothing => "came_to_nothing",
        };
        let what = EventKind::TransferOutcome {
            transfer: self.id.transfer(n),
            outcome: words.into(),
            attempt: None,
            connector: None,
            reason: None,
        };
        self.tell(at, what, outputs);
        self.observe(at, Observation::Ended(outcome), words, outputs);
    }

    fn end(&mut self, at: MediaTime, cause: String, outputs: &mut VecDeque<Output>) {
        self.close_turn(at, outputs);
        let state = self.escalation.state().name();
        *self.seconds_in.entry(state).or_default() += at.since(self.state_since).seconds();
        let seconds_in = self.seconds_in.iter().map(|(state, s)| (*state, rounded(*s, 3))).collect();
        let ended = EventKind::CallEnded {
            cause,
            duration_s: at.seconds(),
            caller_speech_s: self.speech.seconds(),
            transfers: self.transfers,
            peak: self.peak.map(Probability::get),
            seconds_in,
        };
        self.tell(at, ended, outputs);
    }

    /// A cue that transfers at once.
    fn ask(&mut self, at: MediaTime, cue: Cue, evidence: &str, outputs: &mut VecDeque<Output>) {
        let before = self.escalation.state();
        if let Some(verdict) = self.escalation.observe(at, Observation::Instant(cue)) {
            self.changed(at, before, evidence, outputs);
            self.tell(at, EventKind::Cue { cue, evidence: evidence.to_owned() }, outputs);
            self.transfer_because(verdict, evidence.to_owned(), outputs);
        } else {
            self.tell(at, EventKind::Cue { cue, evidence: evidence.to_owned() }, outputs);
        }
    }

    fn observe(
        &mut self,
        at: MediaTime,
        observation: Observation,
        why: &str,
        outputs: &mut VecDeque<Output>,
    ) {
        let before = self.escalation.state();
        if let Some(verdict) = self.escalation.observe(at, observation) {
            self.transfer(verdict, None, outputs);
        }
        self.changed(at, before, why, outputs);
        if !matches!(self.escalation.state(), State::Rising { .. }) {
            self.rising = None;
        }
    }

    fn changed(&mut self, at: MediaTime, before: State, why: &str, outputs: &mut VecDeque<Output>) {
        let (from, to) = (before.name(), self.escalation.state().name());
        if from != to {
            *self.seconds_in.entry(from).or_default() += at.since(self.state_since).seconds();
            self.state_since = at;
            self.tell(at, EventKind::State { from, to, why: why.to_owned() }, outputs);
        }
    }

    fn transfer(&mut self, verdict: Verdict, moment: Option<&Moment>, outputs: &mut VecDeque<Output>) {
        let mut words = self.sounds(moment);
        if verdict.combined.is_some() {
            let reasons = self.reasons();
            words = if verdict.cue == Cue::Frustration {
                format!("{words}; {reasons}")
            } else {
                format!("{reasons}; {words}")
            };
        }
        if verdict.cue == Cue::Frustration {
            self.tell(verdict.at, EventKind::Cue { cue: verdict.cue, evidence: words.clone() }, outputs);
        }
        self.transfer_because(verdict, words, outputs);
    }

    /// What was heard, in words.
    fn sounds(&self, moment: Option<&Moment>) -> String {
        let probability = self.last.map_or(0.0, |j| j.probability.get());
        let heard = moment.map_or_else(String::new, |m| {
            let span = format!(", heard {}-{}", clock(m.from_s), clock(m.to_s));
            let changes = words(&m.changes);
            if changes.is_empty() { span } else { format!("{span}: {changes} over this caller's baseline") }
        });
        format!("sounds frustrated ({probability:.2}{heard})")
    }

    fn transfer_because(&mut self, verdict: Verdict, words: String, outputs: &mut VecDeque<Output>) {
        let transfer = self.id.transfer(self.transfers);
        self.transfers += 1;
        let rules = self.escalation.rules();
        let threshold = match (verdict.since, verdict.combined) {
            (Some(_), _) => Some(rules.enter),
            (None, Some(_)) => Some(rules.cues.enter),
            (None, None) => None,
        };
        let probability = self.last.map(|j| j.probability);
        let trigger = Trigger {
            cue: verdict.cue,
            at_s: seconds(verdict.at),
            probability: probability.map(round_probability),
            threshold,
            combined: verdict.combined.map(round_probability),
            since_s: verdict.since.map(seconds),
            words,
        };
        let packet = Box::new(ContextPacket::new(&transfer, self.story(verdict.at, trigger)));
        outputs.push_back(Output::Act(Action::Transfer { id: transfer.clone(), packet: packet.clone() }));
        let what = EventKind::Transfer {
            transfer,
            cue: verdict.cue,
            probability: probability.map(Probability::get),
            packet,
        };
        self.tell(verdict.at, what, outputs);
    }

    fn story(&self, at: MediaTime, trigger: Trigger) -> Full {
        let mut turns: Vec<Turn> = self.turns.iter().cloned().collect();
        if let Some((speaker, from, paused)) = self.open {
            let to = paused.unwrap_or(at);
            turns.push(Turn { speaker, from_s: seconds(from), to_s: seconds(to), words: None });
        }
        let mut conversation = Conversation {
            turns,
            key_presses: self.keys.iter().copied().collect(),
            caller_speech_s: rounded(self.speech.seconds(), 3),
            ..Conversation::default()
        };
        self.talk.tell(&mut conversation, self.moments.first(), TURNS_MAX + 1);
        let policy = &self.config.policy;
        Full {
            call: self.context.clone(),
            advice: self.advice(&trigger, &conversation),
            trigger,
            cues: self.talk.cues().cloned().collect(),
            evidence: self
                .moments
                .iter()
                .map(|m| Moment { probability: round_probability(m.probability), ..m.clone() })
                .collect(),
            trend: self.trend(),
            conversation,
            consent: Consent { given: self.notice, required: self.escalation.rules().notice.0 },
            provenance: Provenance {
                software: concat!("warmline ", env!("CARGO_PKG_VERSION")).into(),
                policy: Named { name: policy.version().into(), sha256: policy.sha256().into() },
                model: self
                    .deciding_model()
                    .map(|m| Named { name: m.name.clone(), sha256: m.sha256.clone() }),
                feature_set: FEATURE_SET.into(),
            },
        }
    }

    fn advice(&self, trigger: &Trigger, conversation: &Conversation) -> Advice {
        let own = &self.escalation.rules().advice;
        let sure = trigger.combined.or(trigger.probability).is_some_and(|p| p.get() >= HIGH.0);
        let raised =
            if sure || self.talk.cues().count() >= HIGH.1 { Priority::High } else { Priority::Normal };
        let language = conversation.language.as_deref();
        Advice {
            priority: own.priority.max(raised),
            skill: own.skill.clone(),
            opening: Pii::new(opening(own.opening.as_deref(), trigger.cue, language, self.talk.problem())),
            do_not_ask: self.talk.do_not_ask(),
        }
    }

    /// The model whose word stood last; before any has, the one that is asked first.
    fn deciding_model(&self) -> Option<&Model> {
        let stages = self.config.stages.as_ref()?;
        self.last.and_then(|j| stages.of(j.stage)).or(Some(&stages.first))
    }

    /// One entry a second: the last score in it.
    fn extend_trend(&mut self, at: MediaTime, probability: Option<Probability>) {
        let second = at.0.saturating_sub(1) / 8_000;
        let missing = usize::try_from(second + 1 - self.trend_until.min(second + 1))
            .unwrap_or(TREND_MAX)
            .min(TREND_MAX);
        for _ in 0..missing {
            push_bounded(&mut self.trend, None, TREND_MAX);
        }
        self.trend_until = self.trend_until.max(second + 1);
        if let (Some(last), Some(p)) = (self.trend.back_mut(), probability) {
            *last = Some(rounded(p.get(), 4));
        }
    }

    fn trend(&self) -> Trend {
        let from = self.trend_until.saturating_sub(self.trend.len() as u64);
        Trend {
            from_s: MediaSpan(8_000 * from).seconds(),
            scores: self.trend.iter().copied().collect(),
            peak: self.peak.map(|p| rounded(p.get(), 4)),
            slope_per_s: slope(self.trend.iter().rev().take(SLOPE_SECONDS)).map(|s| rounded(s, 4)),
        }
    }

    fn tell(&self, at: MediaTime, what: EventKind, outputs: &mut VecDeque<Output>) {
        outputs.push_back(Output::Tell(Event { call: self.id.clone(), at, what }));
    }
}

fn round_probability(p: Probability) -> Probability {
    Probability::new(rounded(p.get(), 4)).unwrap_or(p)
}

fn window_span(model: &Model) -> MediaSpan {
    MediaSpan(80 * model.window_frames as u64)
}

fn words(changes: &[Change]) -> String {
    changes.iter().map(|c| c.words.as_str()).collect::<Vec<_>>().join(", ")
}

fn clock(seconds: f64) -> String {
    (MediaTime::ZERO + MediaSpan::from_seconds(seconds)).to_string()
}

fn suspended(why: Suspension) -> &'static str {
    match why {
        Suspension::Hold => "on hold",
        Suspension::Pause(_) => "paused",
        Suspension::Notice => "the notice the policy asks for has not been given",
        Suspension::OptedOut => OPTED_OUT,
        Suspension::Human => "a human has the caller",
    }
}

/// Slope of the least-squares line through the latest seconds, newest first; of fewer than two there is none.
fn slope<'a>(newest_first: impl Iterator<Item = &'a Option<f64>>) -> Option<f64> {
    let points: Vec<(f64, f64)> =
        newest_first.zip(0_u32..).filter_map(|(p, age)| Some((-f64::from(age), (*p)?))).collect();
    let n = f64::from(u32::try_from(points.len()).ok()?);
    let (mean_x, mean_y) = points.iter().fold((0.0, 0.0), |(x, y), p| (x + p.0 / n, y + p.1 / n));
    let (mut xy, mut xx) = (0.0, 0.0);
    for (x, y) in points {
        xy += (x - mean_x) * (y - mean_y);
        xx += (x - mean_x).powi(2);
    }
    (xx > 0.0).then(|| xy / xx)
}
