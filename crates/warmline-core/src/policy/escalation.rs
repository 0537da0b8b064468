//! The state machine of one call: how its evidence stands, and when it becomes a transfer.
//!
//! Monotone in every cue: more evidence of frustration, one more cue, or one more request for a person, never makes a transfer later.
//!
//! Cues beyond the voice are combined with it as a noisy-or (Pearl, *Probabilistic Reasoning in Intelligent Systems*, 1988, section 4.3.2) whose
//! causes fade. A cue of weight w adds −ln(1 − w) to the call's *strength* s, which halves in every half-life. With the calibrated
//! probability p of the voice,
//!
//! ```text
//! combined = 1 − (1 − p)·exp(−s)
//! ```
//!
//! stands wherever p alone would: it enters, exits, must last. Where nothing was said, s is 0 and `combined` is p. At the moment a cue comes,
//! it also transfers without having lasted, if `combined` reaches `cues.enter` and at least half of that is the cues' own.

use serde::{Deserialize, Serialize};

use super::{Cue, Rules};
use crate::units::{MediaSpan, MediaTime, Probability};

/// Media time without a new score after which the last one says nothing any more.
pub const EVIDENCE_LIFETIME: MediaSpan = MediaSpan(20 * 8_000);

/// How the evidence of one call stands.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum State {
    /// The caller has not spoken.
    Unheard,
    /// The caller has spoken, but too little, too long ago, or nothing that can be judged. Not the same as calm.
    Insufficient,
    /// The voice gives no reason to act.
    Calm,
    /// The score passed `enter`, and has not fallen below `exit`.
    Rising {
        /// When it passed.
        since: MediaTime,
        /// How much the caller had spoken by then.
        speech: MediaSpan,
    },
    /// A transfer has been asked for; nothing else is.
    Escalated {
        /// When.
        at: MediaTime,
    },
    /// A transfer came to nothing; the voice alone asks for no other until then.
    Cooldown {
        /// The first moment it may again.
        until: MediaTime,
    },
    /// The voice must not, or need not, be scored.
    Suspended(Suspension),
}

impl State {
    /// The name used in events.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Unheard => "unheard",
            Self::Insufficient => "insufficient",
            Self::Calm => "calm",
            Self::Rising { .. } => "rising",
            Self::Escalated { .. } => "escalated",
            Self::Cooldown { .. } => "cooldown",
            Self::Suspended(_) => "suspended",
        }
    }
}

/// Why a call's voice is not scored, strongest reason last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Suspension {
    /// The caller is on hold.
    Hold,
    /// The caller says something that must not be analysed, such as a card number. Each owner lifts its own pause only.
    Pause(PauseOwner),
    /// The notice or consent that the policy asks for has not been given.
    Notice,
    /// The caller wants no analysis.
    OptedOut,
    /// A human has the caller.
    Human,
}

/// Who asked for a pause. A pause ends when its own owner lifts it, whoever else pauses or resumes the call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PauseOwner {
    /// The media stream with this number, by its protocol.
    Stream(u32),
    /// The integrator, over the API.
    Integrator,
}

/// What the state machine is told.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Observation {
    /// A score that may decide.
    Scored {
        /// What the caller has spoken in this call so far.
        speech: MediaSpan,
        /// Calibrated.
        probability: Probability,
    },
    /// Time went by without a score.
    Unscored {
        /// Whether the caller has spoken in this call.
        heard: bool,
    },
    /// A cue that transfers at once.
    Instant(Cue),
    /// A cue that weighs what the rules say.
    Cue(Cue),
    /// What became of the transfer.
    Ended(Outcome),
    /// Scoring must stop.
    Suspend(Suspension),
    /// One reason to stop is gone.
    Lift(Suspension),
}

/// What became of a transfer, as far as the next decision depends on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// A human has the caller.
    Connected,
    /// Nobody took the caller: declined, no answer, busy, voicemail, failed or expired.
    CameToNothing,
}

/// A transfer is to be made.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Decision {
    /// The moment it is dated with.
    pub at: MediaTime,
    /// What decided.
    pub cue: Cue,
    /// Since when the voice had been rising, for an acoustic decision.
    pub since: Option<MediaTime>,
    /// What voice and cues amounted to together, where there had been cues.
    pub combined: Option<Probability>,
}

/// What the cues beyond the voice have added up to.
#[derive(Clone, Copy, Debug, Default)]
struct Strength {
    /// At `at`, −ln of the probability that all of them mean nothing.
    sum: f64,
    at: MediaTime,
    /// The latest of them.
    latest: Option<Cue>,
}

/// One call's evidence, and the rules it is held to.
#[derive(Clone, Debug)]
pub struct Escalation {
    rules: Rules,
    state: State,
    last_score: Option<(MediaTime, Probability)>,
    cues: Strength,
    suspended: Vec<Suspension>,
}

impl Escalation {
    /// A call of which nothing has been heard.
    pub fn new(rules: Rules) -> Self {
        Self {
            rules,
            state: State::Unheard,
            last_score: None,
            cues: Strength::default(),
            suspended: Vec::new(),
        }
    }

    /// How the evidence stands.
    pub fn state(&self) -> State {
        self.suspended.iter().max().map_or(self.state, |why| State::Suspended(*why))
    }

    /// Whether this is one of the reasons not to score.
    pub fn is_suspended(&self, why: Suspension) -> bool {
        self.suspended.contains(&why)
    }

    /// The rules this call is held to.
    pub fn rules(&self) -> &Rules {
        &self.rules
    }

    /// Takes one observation, in the order of media time; answers with a transfer if it makes one.
    pub fn observe(&mut self, at: MediaTime, observation: Observation) -> Option<Decision> {
        match observation {
            Observation::Scored { speech, probability } => self.scored(at, speech, probability),
            Observation::Unscored { heard } => {
                self.unscored(at, heard);
                None
            }
            Observation::Instant(cue) => self.instant(at, cue),
            Observation::Cue(cue) => self.cue(at, cue),
            Observation::Ended(outcome) => {
                self.ended(at, outcome);
                None
            }
            Observation::Suspend(why) => {
                self.suspend(why);
                None
            }
            Observation::Lift(why) => {
                self.suspended.retain(|s| *s != why);
                None
            }
        }
    }

    fn scored(&mut self, at: MediaTime, speech: MediaSpan, p: Probability) -> Option<Decision> {
        if !self.suspended.is_empty() {
            return None;
        }
        self.last_score = Some((at, p));
        let (voice, p) = (p, self.combined(at, p));
        let rising = |since, speech| State::Rising { since, speech };
        self.state = match self.state {
            State::Unheard | State::Insufficient | State::Calm => {
                if p >= self.rules.enter {
                    rising(at, speech)
                } else {
                    State::Calm
                }
            }
            State::Rising { .. } if p < self.rules.exit => State::Calm,
            State::Rising { since, speech } => rising(since, speech),
            State::Cooldown { until } if at < until => State::Cooldown { until },
            State::Cooldown { .. } => {
                if p >= self.rules.enter {
                    rising(at, speech)
                } else {
                    State::Calm
                }
            }
            State::Escalated { at } => State::Escalated { at },
            State::Suspended(why) => State::Suspended(why),
        };
        let State::Rising { since, speech: spoken_by_then } = self.state else { return None };
        let sustained = MediaSpan(speech.0.saturating_sub(spoken_by_then.0)) >= self.rules.sustain;
        if p >= self.rules.enter && sustained && speech >= self.rules.warm_up {
            self.state = State::Escalated { at };
            let (cue, combined) = match self.cues.latest {
                Some(latest) if voice < self.rules.enter => (latest, Some(p)),
                Some(_) => (Cue::Frustration, Some(p)),
                None => (Cue::Frustration, None),
            };
            return Some(Decision { at, cue, since: Some(since), combined });
        }
        None
    }

    fn unscored(&mut self, at: MediaTime, heard: bool) {
        let expired = self.last_score.is_none_or(|(last, _)| at.since(last) > EVIDENCE_LIFETIME);
        self.state = match self.state {
            State::Unheard if heard => State::Insufficient,
            State::Calm | State::Rising { .. } if expired => State::Insufficient,
            State::Cooldown { until } if at >= until => State::Insufficient,
            same @ (State::Unheard
            | State::Insufficient
            | State::Calm
            | State::Rising { .. }
            | State::Escalated { .. }
            | State::Cooldown { .. }
            | State::Suspended(_)) => same,
        };
    }

    fn instant(&mut self, at: MediaTime, cue: Cue) -> Option<Decision> {
        if self.suspended.contains(&Suspension::Human) || matches!(self.state, State::Escalated { .. }) {
            return None;
        }
        self.state = State::Escalated { at };
        Some(Decision { at, cue, since: None, combined: None })
    }

    fn cue(&mut self, at: MediaTime, cue: Cue) -> Option<Decision> {
        let weight = self.rules.cues.weight(cue);
        if weight == Probability::default() {
            return None;
        }
        let sum = self.strength(at) - (-weight.get()).ln_1p();
        self.cues = Strength { sum, at: self.cues.at.max(at), latest: Some(cue) };
        let waits = match self.state {
            State::Escalated { .. } => true,
            State::Cooldown { until } => at < until,
            State::Unheard
            | State::Insufficient
            | State::Calm
            | State::Rising { .. }
            | State::Suspended(_) => false,
        };
        if waits || self.suspended.contains(&Suspension::Human) {
            return None;
        }
        let fresh = self.last_score.filter(|(scored, _)| at.since(*scored) <= EVIDENCE_LIFETIME);
        let combined = self.combined(at, fresh.map_or(Probability::default(), |(_, p)| p));
        let enter = self.rules.cues.enter;
        let own = self.combined(at, Probability::default());
        if combined < enter || own.get() < enter.get() / 2.0 {
            return None;
        }
        self.state = State::Escalated { at };
        Some(Decision { at, cue, since: None, combined: Some(combined) })
    }

    /// What the cues amount to at `at`; one that comes late has not faded.
    fn strength(&self, at: MediaTime) -> f64 {
        let age = at.since(self.cues.at).seconds() / self.rules.cues.half_life.seconds();
        self.cues.sum * (-age).exp2()
    }

    /// The voice's probability with what the cues amount to; without any, itself.
    fn combined(&self, at: MediaTime, voice: Probability) -> Probability {
        if self.cues.latest.is_none() {
            return voice;
        }
        let all = 1.0 - (1.0 - voice.get()) * (-self.strength(at)).exp();
        Probability::new(all).unwrap_or(voice).max(voice)
    }

    fn ended(&mut self, at: MediaTime, outcome: Outcome) {
        match outcome {
            Outcome::Connected => self.suspend(Suspension::Human),
            Outcome::CameToNothing => self.state = State::Cooldown { until: at + self.rules.cooldown },
        }
    }

    fn suspend(&mut self, why: Suspension) {
        if !self.suspended.contains(&why) {
            self.suspended.push(why);
        }
        self.last_score = None;
        if matches!(self.state, State::Calm | State::Rising { .. }) {
            self.state = State::Insufficient;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::{Notice, Policy};

    /// Plays a story, a line a moment: `seconds  what  state-after`, with `!cue` behind it where a transfer is made.
    /// `what` is a probability (scored; the caller has spoken for half of the time so far), `-` (no score, nothing
    /// ever heard), `~` (no score), `suspend:x`, `lift:x`, an instant cue's name, or an outcome.
    fn check(rules: &str, story: &str) {
        let head = "version = \"story\"\n[frustration]\nexit = 0.50\nsustain_s = 2.0\n";
        let policy = Policy::parse(&format!("{head}{rules}")).unwrap();
        let mut call = Escalation::new(policy.rules_for(None, None).clone());
        for line in story.lines().map(str::trim).filter(|l| !l.is_empty()) {
            let mut words = line.split_whitespace();
            let seconds: f64 = words.next().unwrap().parse().unwrap();
            let at = MediaTime::ZERO + MediaSpan::from_seconds(seconds);
            let suspension = |name: &str| match name {
                "hold" => Suspension::Hold,
                "opted_out" => Suspension::OptedOut,
                "human" => Suspension::Human,
                "notice" => Suspension::Notice,
                other => panic!("{other}"),
            };
            let observation = match words.next().unwrap() {
                "-" => Observation::Unscored { heard: false },
                "~" => Observation::Unscored { heard: true },
                "explicit" => Observation::Instant(Cue::ExplicitRequest),
                "negative" => Observation::Cue(Cue::NegativePhrase),
                "repeats" => Observation::Cue(Cue::Repetition),
                "over" => Observation::Cue(Cue::BargeIn),
                "declined" => Observation::Ended(Outcome::CameToNothing),
                "connected" => Observation::Ended(Outcome::Connected),
                other => match other.split_once(':') {
                    Some(("suspend", why)) => Observation::Suspend(suspension(why)),
                    Some((_, why)) => Observation::Lift(suspension(why)),
                    None => Observation::Scored {
                        speech: MediaSpan::from_seconds(seconds / 2.0),
                        probability: Probability::new(other.parse().unwrap()).unwrap(),
                    },
                },
            };
            let decision = call.observe(at, observation);
            assert_eq!(call.state().name(), words.next().unwrap(), "state after: {line}");
            assert_eq!(
                decision.map(|d| format!("!{}", d.cue.name())).as_deref(),
                words.next(),
                "decision at: {line}"
            );
        }
    }

    #[test]
    fn sustained_frustration_escalates_once() {
        check(
            "",
            "
            1.0   -     unheard
            2.0   ~     insufficient
            10.0  0.10  calm
            20.0  0.75  rising
            22.0  0.80  rising
            23.0  0.60  rising
            24.0  0.71  escalated  !frustration
            25.0  0.99  escalated
            60.0  ~     escalated
            ",
        );
    }

    #[test]
    fn a_single_outburst_does_not_escalate() {
        check(
            "",
            "
            20.0  0.95  rising
            22.0  0.40  calm
            23.0  0.95  rising
            25.0  0.95  rising
            26.5  0.30  calm
            ",
        );
    }

    #[test]
    fn between_exit_and_enter_it_keeps_rising_but_does_not_fire() {
        check(
            "",
            "
            20.0  0.75  rising
            26.0  0.69  rising
            27.0  0.70  escalated  !frustration
            ",
        );
    }

    #[test]
    fn nothing_fires_before_the_warm_up() {
        check(
            "warm_up_s = 10.0",
            "
            4.0   0.99  rising
            12.0  0.99  rising
            19.9  0.99  rising
            20.0  0.99  escalated  !frustration
            ",
        );
    }

    #[test]
    fn old_evidence_is_insufficient_not_calm() {
        check(
            "",
            "
            10.0  0.10  calm
            30.0  ~     calm
            30.1  ~     insufficient
            40.0  0.75  rising
            61.0  ~     insufficient
            62.0  0.75  rising
            ",
        );
    }

    #[test]
    fn an_explicit_request_wins_in_every_state_but_when_a_human_is_on_the_way() {
        check("", "0.5   explicit  escalated  !explicit_request\n 0.6   explicit  escalated");
        check("", "10.0  0.1  calm\n 11.0  explicit  escalated  !explicit_request");
        check("", "0.0   suspend:notice  suspended\n 1.0  explicit  suspended  !explicit_request");
        check(
            "",
            "1.0   explicit  escalated  !explicit_request\n 2.0  declined  cooldown\n 3.0  explicit  escalated  !explicit_request",
        );
        check(
            "",
            "1.0   explicit  escalated  !explicit_request\n 2.0  connected  suspended\n 3.0  explicit  suspended",
        );
    }

    #[test]
    fn after_a_transfer_that_came_to_nothing_the_voice_waits_for_the_cool_down() {
        check(
            "",
            "
            20.0  0.9   rising
            24.0  0.9   escalated  !frustration
            26.0  declined  cooldown
            40.0  0.9   cooldown
            55.9  0.9   cooldown
            56.0  0.9   rising
            60.0  0.9   escalated  !frustration
            61.0  declined  cooldown
            91.0  ~     insufficient
            ",
        );
    }

    #[test]
    fn a_hold_forgets_how_long_it_had_been_rising() {
        check(
            "",
            "
            20.0  0.9   rising
            21.0  suspend:hold  suspended
            22.0  0.9   suspended
            50.0  lift:hold     insufficient
            51.0  0.9   rising
            54.9  0.9   rising
            55.0  0.9   escalated  !frustration
            ",
        );
    }

    #[test]
    fn several_cues_transfer_without_a_voice_and_one_or_two_do_not() {
        check(
            "",
            "
            0.0    suspend:notice  suspended
            10.0   negative  suspended
            20.0   repeats   suspended
            30.0   negative  suspended  !negative_phrase
            40.0   negative  suspended
            ",
        );
        check("", "10.0  negative unheard\n 200.0 negative unheard\n 400.0  negative  unheard");
        check(
            "[cues]\nnegative_phrase = 0.0",
            "1.0 negative unheard\n 2.0 negative unheard\n 3.0 negative unheard",
        );
    }

    #[test]
    fn a_cue_and_a_voice_transfer_where_neither_does_alone() {
        check(
            "",
            "
            20.0  0.55  calm
            21.0  negative  calm
            22.0  0.55  rising
            24.0  0.55  rising
            25.0  0.45  rising
            26.0  0.55  escalated  !negative_phrase
            ",
        );
        check("", "20.0  0.55  calm\n 22.0  0.55  calm\n 26.0  0.55  calm");
        check("", "20.0  0.75  rising\n 21.0  negative  escalated  !negative_phrase");
    }

    #[test]
    fn a_weak_cue_does_not_stand_for_how_long_a_voice_must_last() {
        check("", "20.0  0.95  rising\n 21.0  over  rising\n 22.0  0.30  calm");
    }

    #[test]
    fn cues_wait_for_the_cool_down_and_end_with_a_human() {
        check(
            "",
            "10.0 explicit escalated !explicit_request\n 11.0 declined cooldown\n 12.0 negative cooldown\n 13.0 negative cooldown\n 14.0 negative cooldown\n 42.0 negative escalated !negative_phrase",
        );
        check(
            "",
            "10.0 suspend:human suspended\n 12.0 negative suspended\n 13.0 negative suspended\n 14.0 negative suspended",
        );
    }

    #[test]
    fn after_an_opt_out_the_voice_that_was_heard_counts_no_more_and_words_do() {
        check(
            "",
            "20.0 0.95 rising\n 21.0 suspend:opted_out suspended\n 22.0 negative suspended\n 22.5 explicit suspended !explicit_request",
        );
    }

    #[test]
    fn one_more_cue_never_transfers_later() {
        use proptest::prelude::*;
        let cue = |n: u8| match n % 5 {
            0 => Cue::NegativePhrase,
            1 => Cue::Repetition,
            2 => Cue::NoProgress,
            3 => Cue::BargeIn,
            _ => Cue::LongWait,
        };
        // A half second each: a score or none, and perhaps a cue, which may come late.
        type Step = (Option<f64>, Option<(u8, u8)>);
        let fires = |steps: &[Step]| {
            let mut call = Escalation::new(Policy::default().rules_for(None, None).clone());
            steps.iter().enumerate().find_map(|(i, (p, told))| {
                let at = MediaTime(4_000 * (i as u64 + 1));
                let scored = p.map_or(Observation::Unscored { heard: true }, |p| Observation::Scored {
                    speech: MediaSpan(at.0),
                    probability: Probability::new(p).unwrap(),
                });
                let told = told
                    .map(|(n, late)| (MediaTime(at.0 - 4_000 * (u64::from(late) % 4).min(i as u64)), cue(n)));
                let first = call.observe(at, scored);
                let second = told.and_then(|(at, cue)| call.observe(at, Observation::Cue(cue)));
                first.or(second).map(|_| i)
            })
        };
        let step = (prop::option::weighted(0.8, 0.0..=0.9f64), prop::option::weighted(0.1, (0..5u8, 0..4u8)));
        proptest!(|(steps in prop::collection::vec(step, 1..80), at in 0usize..80, more: (u8, u8), raise in 0.0..=1.0f64)| {
            let mut fuller = steps.clone();
            let at = at % fuller.len();
            if let Some((p, told)) = fuller.get_mut(at) {
                *told = told.or(Some(more));
                *p = p.map(|p| p + (1.0 - p) * raise);
            }
            let (plain, more) = (fires(&steps), fires(&fuller));
            prop_assert!(plain.is_none_or(|p| more.is_some_and(|m| m <= p)), "{plain:?} became {more:?}");
        });
    }

    #[test]
    fn more_frustration_never_escalates_later() {
        use proptest::prelude::*;
        let fires = |scores: &[f64]| {
            let mut call = Escalation::new(Policy::default().rules_for(None, None).clone());
            scores.iter().enumerate().find_map(|(i, p)| {
                let at = MediaTime(4_000 * (i as u64 + 1));
                let scored = Observation::Scored {
                    speech: MediaSpan(at.0),
                    probability: Probability::new(*p).unwrap(),
                };
                call.observe(at, scored).map(|_| i)
            })
        };
        proptest!(|(scores in prop::collection::vec(0.0..=1.0f64, 1..80), raise in prop::collection::vec(0.0..=1.0f64, 80))| {
            let raised: Vec<f64> = scores.iter().zip(&raise).map(|(p, r)| p + (1.0 - p) * r).collect();
            let (plain, more) = (fires(&scores), fires(&raised));
            prop_assert!(plain.is_none_or(|p| more.is_some_and(|m| m <= p)), "{plain:?} became {more:?}");
        });
    }

    #[test]
    fn a_notice_rule_is_met_by_as_much_or_more() {
        use crate::policy::NoticeRule;
        assert!(NoticeRule(Notice::None).is_met(Notice::None));
        assert!(!NoticeRule(Notice::Notice).is_met(Notice::None));
        assert!(NoticeRule(Notice::Notice).is_met(Notice::Consent));
        assert!(!NoticeRule(Notice::Consent).is_met(Notice::Notice));
    }
}
