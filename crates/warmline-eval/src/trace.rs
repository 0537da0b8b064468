//! What one replay of a call leaves behind: enough to decide it anew under any policy, without its audio.
//!
//! A score does not depend on the thresholds, so [`decide`] runs the policy's own state machine over the scores of one
//! replay and comes to the very transfers that a replay under those rules would have made.

use warmline_core::{
    call::{Event, EventKind},
    media::Speaker,
    policy::{Escalation, Observation, Outcome, Rules, State},
    score::Stage,
    units::{MediaSpan, MediaTime, Probability},
};

/// One call, replayed.
#[derive(Clone, Debug, PartialEq)]
pub struct Trace {
    /// Media time between two looks at the call; every score lies on a multiple of it.
    pub hop: MediaSpan,
    /// Scores, in order; at most one a hop.
    pub scores: Vec<Scored>,
    /// Who spoke when.
    pub turns: Vec<Turn>,
    /// Transfers that the replay itself made.
    pub transfers: Vec<MediaTime>,
    /// How long the call lasted.
    pub duration: MediaSpan,
    /// How much of it the caller spoke.
    pub speech: MediaSpan,
    /// Windows that could not be scored.
    pub failed: usize,
}

/// A score, as the policy saw it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Scored {
    /// The end of its window.
    pub at: MediaTime,
    /// Which model said it.
    pub stage: Stage,
    /// Calibrated.
    pub probability: Probability,
    /// What the caller had spoken by then.
    pub speech: MediaSpan,
}

/// A turn of one speaker; pauses of up to a second belong to it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Turn {
    /// Whose.
    pub speaker: Speaker,
    /// Where it begins.
    pub from: MediaTime,
    /// Where it ends.
    pub to: MediaTime,
}

impl Trace {
    /// A call of which nothing has been told, by a model that looks at it every `hop`.
    pub fn new(hop: MediaSpan) -> Self {
        Self {
            hop: MediaSpan(hop.0.max(1)),
            scores: Vec::new(),
            turns: Vec::new(),
            transfers: Vec::new(),
            duration: MediaSpan::ZERO,
            speech: MediaSpan::ZERO,
            failed: 0,
        }
    }

    /// Takes one event of the replay.
    pub fn observe(&mut self, event: &Event) {
        let at = |seconds: f64| MediaTime::ZERO + MediaSpan::from_seconds(seconds);
        match &event.what {
            EventKind::Score { stage, probability, speech_s, .. } => {
                if let Ok(probability) = Probability::new(*probability) {
                    let speech = MediaSpan::from_seconds(*speech_s);
                    self.scores.push(Scored { at: event.at, stage: *stage, probability, speech });
                }
            }
            EventKind::ScoreFailed { .. } => self.failed += 1,
            EventKind::Turn { speaker, from_s, to_s, .. } => {
                self.turns.push(Turn { speaker: *speaker, from: at(*from_s), to: at(*to_s) });
            }
            EventKind::Transfer { .. } => self.transfers.push(event.at),
            EventKind::CallEnded { duration_s, caller_speech_s, .. } => {
                self.duration = MediaSpan::from_seconds(*duration_s);
                self.speech = MediaSpan::from_seconds(*caller_speech_s);
            }
            EventKind::CallStarted { .. }
            | EventKind::Cue { .. }
            | EventKind::Said { .. }
            | EventKind::State { .. }
            | EventKind::TransferOutcome { .. }
            | EventKind::TransferClaimed { .. }
            | EventKind::TransferVerdict { .. }
            | EventKind::Gap { .. }
            | EventKind::Problem { .. } => {}
        }
    }

    /// What the caller has spoken by `at`: exact at every score; between two of them the speech is spread over the
    /// caller's turns, which is off by no more than their pauses within one hop.
    pub fn spoken_by(&self, at: MediaTime) -> MediaSpan {
        let after = self.scores.partition_point(|score| score.at <= at);
        let (from, before) = self
            .scores
            .get(after.wrapping_sub(1))
            .map_or((MediaTime::ZERO, MediaSpan::ZERO), |score| (score.at, score.speech));
        let (to, then) = self
            .scores
            .get(after)
            .map_or((MediaTime::ZERO + self.duration, self.speech), |score| (score.at, score.speech));
        let (heard, all) = (self.in_turns(from, at), self.in_turns(from, to));
        let between = then.0.saturating_sub(before.0);
        MediaSpan(before.0 + (between * heard.min(all)).checked_div(all).unwrap_or_default())
    }

    /// Samples of `from..to` that lie in a turn of the caller.
    fn in_turns(&self, from: MediaTime, to: MediaTime) -> u64 {
        let callers = self.turns.iter().filter(|turn| turn.speaker == Speaker::Caller);
        callers.map(|turn| turn.to.min(to).since(turn.from.max(from)).0).sum()
    }

    /// The highest probability.
    pub fn peak(&self) -> Option<Probability> {
        self.scores.iter().map(|score| score.probability).max()
    }
}

/// A transfer that the rules would have made.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Alarm {
    /// When.
    pub at: MediaTime,
    /// What the caller had spoken by then.
    pub speech: MediaSpan,
}

/// The transfers that `rules` make of a call, up to the first at or after `onset`.
///
/// One before it, or any in a call without an onset, is taken to come to nothing at once: the cool-down holds, and the
/// call goes on. `see` is shown the state after every look.
pub fn decide(
    trace: &Trace,
    rules: &Rules,
    onset: Option<MediaTime>,
    mut see: impl FnMut(MediaTime, State),
) -> Vec<Alarm> {
    let mut escalation = Escalation::new(rules.clone());
    let mut alarms = Vec::new();
    let mut scores = trace.scores.iter().peekable();
    let mut heard = false;
    let mut over = false;
    for n in 1..=trace.duration.0 / trace.hop.0 {
        let at = MediaTime(n * trace.hop.0);
        let Some(score) = scores.next_if(|score| score.at <= at) else {
            escalation.observe(at, Observation::Unscored { heard });
            see(at, escalation.state());
            continue;
        };
        heard = true;
        let Scored { probability, speech, .. } = *score;
        let decided = escalation.observe(score.at, Observation::Scored { speech, probability });
        see(score.at, escalation.state());
        if decided.is_some() && !over {
            alarms.push(Alarm { at: score.at, speech });
            over = onset.is_some_and(|onset| score.at >= onset);
            if !over {
                escalation.observe(score.at, Observation::Ended(Outcome::CameToNothing));
            }
        }
    }
    alarms
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use warmline_core::policy::Policy;

    /// A call of `seconds` with scores `(t, probability)`; the caller speaks from 0 to the end, without a pause.
    pub(crate) fn spoken(seconds: f64, scores: &[(f64, f64)]) -> Trace {
        let span = MediaSpan::from_seconds;
        let mut trace = Trace::new(span(0.5));
        (trace.duration, trace.speech) = (span(seconds), span(seconds));
        let all =
            Turn { speaker: Speaker::Caller, from: MediaTime::ZERO, to: MediaTime::ZERO + span(seconds) };
        trace.turns.push(all);
        trace.scores = scores
            .iter()
            .map(|(t, p)| Scored {
                at: MediaTime::ZERO + span(*t),
                stage: Stage::Watch,
                probability: Probability::new(*p).unwrap(),
                speech: span(*t),
            })
            .collect();
        trace
    }

    fn rules(text: &str) -> Rules {
        let policy = Policy::parse(&format!("version = \"t\"\n[frustration]\n{text}")).unwrap();
        policy.rules_for(None, None).clone()
    }

    fn at(alarms: &[Alarm]) -> Vec<f64> {
        alarms.iter().map(|alarm| alarm.at.seconds()).collect()
    }

    #[test]
    fn a_calm_call_may_raise_several_false_alarms_with_the_cool_down_between_them() {
        let scores: Vec<(f64, f64)> = (1..=200).map(|n| (f64::from(n) / 2.0, 0.9)).collect();
        let trace = spoken(100.0, &scores);
        let rules = rules("sustain_s = 2.0\nwarm_up_s = 4.0\ncooldown_s = 30.0");
        assert_eq!(at(&decide(&trace, &rules, None, |_, _| ())), [4.0, 36.0, 68.0, 100.0]);
    }

    #[test]
    fn the_first_alarm_after_the_onset_is_the_last_and_one_before_it_delays_it() {
        let scores: Vec<(f64, f64)> = (1..=200).map(|n| (f64::from(n) / 2.0, 0.9)).collect();
        let trace = spoken(100.0, &scores);
        let rules = rules("sustain_s = 2.0\nwarm_up_s = 4.0\ncooldown_s = 30.0");
        let onset = |seconds| Some(MediaTime::ZERO + MediaSpan::from_seconds(seconds));
        assert_eq!(at(&decide(&trace, &rules, onset(4.0), |_, _| ())), [4.0]);
        assert_eq!(at(&decide(&trace, &rules, onset(10.0), |_, _| ())), [4.0, 36.0]);
    }

    #[test]
    fn speech_between_two_scores_is_spread_over_the_turns_only() {
        let mut trace = spoken(10.0, &[(2.0, 0.1), (6.0, 0.1)]);
        let span = MediaSpan::from_seconds;
        let moment = |seconds| MediaTime::ZERO + span(seconds);
        trace.turns = vec![
            Turn { speaker: Speaker::Caller, from: moment(1.0), to: moment(2.5) },
            Turn { speaker: Speaker::Agent, from: moment(2.5), to: moment(5.0) },
            Turn { speaker: Speaker::Caller, from: moment(5.0), to: moment(7.0) },
        ];
        trace.scores[0].speech = span(1.0);
        trace.scores[1].speech = span(2.5);
        trace.speech = span(3.5);
        let spoken_by = |seconds| trace.spoken_by(moment(seconds)).seconds();
        for (t, expected) in
            [(0.5, 0.0), (1.5, 0.5), (2.0, 1.0), (2.5, 1.5), (5.0, 1.5), (5.5, 2.0), (6.0, 2.5), (10.0, 3.5)]
        {
            assert!((spoken_by(t) - expected).abs() < 1e-9, "{t}: {}", spoken_by(t));
        }
    }
}
