//! The words of one call, and the turns they belong to: what they are evidence of, and what the packet tells of them.

use std::collections::VecDeque;

use super::bounded::push_bounded;
use crate::{
    media::Speaker,
    packet::{Conversation, CueHeard, Moment, Summary, Tried, Turn, seconds},
    policy::{Cue, Rules},
    units::{MediaSpan, MediaTime, Pii},
    words::{BotEvent, BotReport, Content, Kind, Lexicon, Word, bounded, problem, redacted, words},
};

/// Utterances that are remembered.
const SAID_MAX: usize = 64;
/// Prompts that are remembered.
const PROMPTS_MAX: usize = 16;
/// Cues that are remembered.
const CUES_MAX: usize = 16;
/// Things the caller has given that are remembered.
const GIVEN_MAX: usize = 16;
/// Failed attempts that a packet tells, the latest.
const TRIED_MAX: usize = 4;
/// Bytes of one utterance in a summary.
const QUOTE_MAX: usize = 240;
/// Bytes of a bot's intent.
const INTENT_MAX: usize = 128;
/// How far from its turn an utterance may be told: recognisers take their time.
const TURN_NEAR: MediaSpan = MediaSpan(5 * 8_000);
/// Media time between two utterances that makes the second one another attempt.
const AGAIN_AFTER: MediaSpan = MediaSpan(5 * 8_000);
/// How long both must speak before the caller talks over the bot: what is shorter is a sign of listening.
const OVERLAP_MIN: MediaSpan = MediaSpan(4_000);
/// A caller's speech that is shorter does not end their waiting ("hello?").
const CALL_OUT_MAX: MediaSpan = MediaSpan(2 * 8_000);
/// First words that refuse what was asked.
const REFUSALS: [&str; 8] = ["no", "nope", "nein", "non", "nao", "hayir", "stop", "아니요"];

/// One cue that was found.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Found {
    pub(super) cue: Cue,
    /// What was said or done. Of the caller's words no others than those of a phrase: they are no personal data.
    pub(super) words: String,
}

/// What is known of the words of a call.
#[derive(Default)]
pub(super) struct Talk {
    /// The policy's own phrases, once there are words to look at.
    own: Option<Lexicon>,
    said: VecDeque<Said>,
    prompts: VecDeque<Prompt>,
    cues: VecDeque<CueHeard>,
    given: VecDeque<(String, MediaTime)>,
    /// What the other side asked for last, by [`Lexicon::field`].
    asked: Option<usize>,
    last_intent: Option<String>,
    /// How often the caller and the other side have taken turns, as far as words and reports tell.
    round: u32,
    spoke_last: Option<Speaker>,
    no_progress: u32,
    /// Whether words or reports come at all.
    active: bool,
    turns: Turns,
}

/// One utterance.
struct Said {
    at: MediaTime,
    speaker: Speaker,
    round: u32,
    /// As the policy lets it be kept.
    text: String,
    content: Content,
}

/// Something the other side asked.
struct Prompt {
    at: MediaTime,
    round: u32,
    text: String,
    content: Content,
    failed: Option<&'static str>,
}

/// Who is speaking, and who waits.
#[derive(Default)]
struct Turns {
    caller_since: Option<MediaTime>,
    agent_since: Option<MediaTime>,
    /// Since when the caller talks over the other side, until it is told.
    overlap_since: Option<MediaTime>,
    /// Since when nobody has answered the caller, until it is told.
    waiting_since: Option<MediaTime>,
    /// Since when they are on hold, until it is told.
    hold_since: Option<MediaTime>,
}

impl Talk {
    /// Takes what was said, and answers with as much of it as may be kept.
    pub(super) fn say(
        &mut self,
        at: MediaTime,
        speaker: Speaker,
        text: &str,
        rules: &Rules,
    ) -> (String, Vec<Found>) {
        self.active = true;
        let spoken = words(text);
        let kept = redacted(text, rules.redact);
        let content = Content::of(&spoken);
        if self.spoke_last.replace(speaker) != Some(speaker) {
            self.round += 1;
        }
        let found = match speaker {
            Speaker::Caller => self.caller(at, text, &spoken, &content, rules),
            Speaker::Agent => self.prompt(at, &kept, &spoken).into_iter().collect(),
        };
        let said = Said { at, speaker, round: self.round, text: kept.clone(), content };
        push_bounded(&mut self.said, said, SAID_MAX);
        (kept, found)
    }

    /// Takes a bot's report.
    pub(super) fn bot(&mut self, at: MediaTime, event: &BotEvent, rules: &Rules) -> Vec<Found> {
        self.active = true;
        if let Some(intent) = &event.intent {
            self.last_intent = Some(bounded(intent, INTENT_MAX).to_owned());
        }
        let failed = match event.report {
            BotReport::NoMatch => Some(("the bot understood nothing", "not understood")),
            BotReport::NoInput => Some(("the bot heard nothing", "no answer")),
            BotReport::LowConfidence(p) if p < rules.cues.low_confidence => {
                Some(("the bot was not sure", "not understood"))
            }
            BotReport::LowConfidence(_) | BotReport::Prompt => None,
            BotReport::EscalationRefused => {
                let cue = if rules.instant.explicit_request { Cue::ExplicitRequest } else { Cue::NoProgress };
                let words = "the caller asked the bot for a person, and it refused".to_owned();
                return vec![Found { cue, words }];
            }
        };
        let mut found = Vec::new();
        if let Some((what, outcome)) = failed {
            self.no_progress += 1;
            self.round += 1;
            let times = if self.no_progress > 1 {
                format!(", {} times now", self.no_progress)
            } else {
                String::new()
            };
            found.push(Found { cue: Cue::NoProgress, words: format!("{what}{times}") });
            if let Some(prompt) = self.prompts.back_mut() {
                prompt.failed.get_or_insert(outcome);
            }
        }
        if let Some(text) = &event.prompt {
            let kept = redacted(text, rules.redact);
            found.extend(self.prompt(at, &kept, &words(text)));
        }
        found
    }

    /// Somebody began to speak, or stopped.
    pub(super) fn voice(
        &mut self,
        at: MediaTime,
        speaker: Speaker,
        on: bool,
        rules: &Rules,
    ) -> Option<Found> {
        let found = self.overlap(at, rules);
        let turns = &mut self.turns;
        let since = match speaker {
            Speaker::Caller => &mut turns.caller_since,
            Speaker::Agent => &mut turns.agent_since,
        };
        let spoke = std::mem::replace(since, on.then_some(at)).map(|from| at.since(from));
        match (speaker, on) {
            (Speaker::Caller, true) => {
                turns.overlap_since =
                    turns.agent_since.filter(|from| at.since(*from) >= OVERLAP_MIN).map(|_| at);
            }
            (Speaker::Caller, false) => {
                turns.overlap_since = None;
                let called_out = spoke.is_some_and(|span| span < CALL_OUT_MAX);
                if turns.agent_since.is_none() && !(called_out && turns.waiting_since.is_some()) {
                    turns.waiting_since = Some(at);
                }
            }
            (Speaker::Agent, _) => (turns.overlap_since, turns.waiting_since) = (None, None),
        }
        found
    }

    /// Time has come as far as `at`. Of a call with one track nobody knows who waits, but when they are on hold.
    pub(super) fn pass(&mut self, at: MediaTime, has_agent: bool, rules: &Rules) -> Option<Found> {
        if let Some(found) = self.overlap(at, rules) {
            return Some(found);
        }
        if !self.counts(rules) {
            return None;
        }
        let long = |since: &mut MediaTime| at.since(*since) >= rules.cues.long_wait_after;
        let speaking = self.turns.caller_since.is_some();
        let words = if self.turns.hold_since.take_if(long).is_some() {
            "on hold"
        } else if has_agent && !speaking && self.turns.waiting_since.take_if(long).is_some() {
            "waiting for an answer"
        } else {
            return None;
        };
        let seconds = rules.cues.long_wait_after.seconds();
        Some(Found { cue: Cue::LongWait, words: format!("the caller has been {words} for {seconds:.0} s") })
    }

    /// The caller is put on hold, or taken back.
    pub(super) fn hold(&mut self, at: MediaTime, on: bool) {
        self.turns.hold_since = on.then_some(at);
    }

    /// Keeps a cue for the packet.
    pub(super) fn keep(&mut self, at: MediaTime, found: &Found) {
        let heard = CueHeard { cue: found.cue, at_s: seconds(at), words: Pii::new(found.words.clone()) };
        push_bounded(&mut self.cues, heard, CUES_MAX);
    }

    /// The cues so far, oldest first.
    pub(super) fn cues(&self) -> impl DoubleEndedIterator<Item = &CueHeard> {
        self.cues.iter()
    }

    /// Adds what was said to what was heard: words to the turns they belong to, and what they come to.
    pub(super) fn tell(&self, conversation: &mut Conversation, peak: Option<&Moment>, turns_max: usize) {
        let Conversation { turns, last_intent, tried, summary, language, .. } = conversation;
        self.said.iter().for_each(|said| attach(turns, said));
        turns.sort_by(|a, b| a.from_s.total_cmp(&b.from_s));
        turns.drain(..turns.len().saturating_sub(turns_max));
        last_intent.clone_from(&self.last_intent);
        let failed = |p: &Prompt| {
            let what = Pii::new(bounded(&p.text, QUOTE_MAX).to_owned());
            Some(Tried { at_s: seconds(p.at), what, failed: p.failed?.to_owned() })
        };
        *tried = self.prompts.iter().rev().filter_map(failed).take(TRIED_MAX).collect();
        tried.reverse();
        *language = self.language();
        *summary = self.summary(turns, tried, peak);
    }

    /// The caller's problem in their own words, as far as they said it.
    pub(super) fn problem(&self) -> Option<&str> {
        let by = |speaker| self.said.iter().filter(move |s| s.speaker == speaker).map(|s| s.text.as_str());
        problem(by(Speaker::Caller), by(Speaker::Agent)).map(|sentence| bounded(sentence, QUOTE_MAX))
    }

    /// What the caller need not be asked again.
    pub(super) fn do_not_ask(&self) -> Vec<String> {
        let why = self.problem().map(|_| "why they call".to_owned());
        why.into_iter().chain(self.given.iter().map(|(what, at)| format!("{what} (given at {at})"))).collect()
    }

    fn language(&self) -> Option<String> {
        let text: Vec<&str> = self.said.iter().rev().take(16).map(|said| said.text.as_str()).collect();
        Lexicon::built_in().language(&words(&text.join(" "))).map(str::to_owned)
    }

    fn summary(&self, turns: &[Turn], tried: &[Tried], peak: Option<&Moment>) -> Option<Summary> {
        let problem = self.problem();
        let at_peak = match peak {
            Some(moment) => words_within(turns, moment.from_s, moment.to_s),
            None => self.cues.back().and_then(|cue| words_within(turns, cue.at_s, cue.at_s)),
        };
        let at_peak = at_peak.map(|words| bounded(words, QUOTE_MAX)).filter(|words| Some(*words) != problem);
        let mut failed: Vec<String> = tried.iter().map(|t| format!("\"{}\"", t.what.expose())).collect();
        failed.dedup();
        let parts = [
            problem.map(|words| format!("Problem: \"{words}\"")),
            at_peak.map(|words| format!("At the worst: \"{words}\"")),
            (!failed.is_empty()).then(|| format!("Tried: {}", failed.join(", "))),
        ];
        let words = parts.into_iter().flatten().collect::<Vec<_>>().join(" | ");
        let pii = |words: &str| Pii::new(words.to_owned());
        (!words.is_empty()).then(|| Summary {
            words: Pii::new(words),
            problem: problem.map(pii),
            at_peak: at_peak.map(pii),
        })
    }

    fn caller(
        &mut self,
        at: MediaTime,
        text: &str,
        spoken: &[Word],
        content: &Content,
        rules: &Rules,
    ) -> Vec<Found> {
        self.give(at, spoken);
        let own = self.own.get_or_insert_with(|| own_phrases(rules));
        let built_in = Lexicon::built_in();
        let hits: Vec<_> = built_in
            .find(spoken)
            .into_iter()
            .filter(|hit| {
                rules.words.built_in && (hit.kind != Kind::Request || rules.instant.explicit_request)
            })
            .chain(own.find(spoken))
            .collect();
        let quoted = |kind: Kind| {
            let of_kind = hits.iter().filter(|hit| hit.kind == kind);
            let quotes = of_kind.filter_map(|hit| {
                let (first, last) = (spoken.get(hit.from)?, spoken.get(hit.to.checked_sub(1)?)?);
                Some(format!("\"{}\"", text.get(first.from..last.to)?))
            });
            quotes.collect::<Vec<_>>().join(", ")
        };
        let mut found = Vec::new();
        for (kind, cue) in [(Kind::Request, Cue::ExplicitRequest), (Kind::Negative, Cue::NegativePhrase)] {
            let quoted = quoted(kind);
            if !quoted.is_empty() {
                found.push(Found { cue, words: format!("said {quoted}") });
            }
        }
        let again = self.said.iter().rev().filter(|said| said.speaker == Speaker::Caller).find(|said| {
            let another = said.round != self.round || at.since(said.at) >= AGAIN_AFTER;
            another && said.content.is_alike(content)
        });
        if let Some(said) = again {
            let words = format!("said nearly the same as at {}", said.at);
            found.push(Found { cue: Cue::Repetition, words });
        }
        let refuses = spoken.first().is_some_and(|word| REFUSALS.contains(&word.text.as_str()));
        if let Some(prompt) = self.prompts.back_mut().filter(|_| refuses) {
            prompt.failed.get_or_insert("the caller refused");
        }
        found
    }

    /// The other side asks something, or says it.
    fn prompt(&mut self, at: MediaTime, kept: &str, spoken: &[Word]) -> Option<Found> {
        let asked = Lexicon::built_in().find(spoken).into_iter().find_map(|hit| match hit.kind {
            Kind::Field(n) => Some(n),
            Kind::Request | Kind::Negative | Kind::Name => None,
        });
        self.asked = asked.or(self.asked);
        let content = Content::verbatim(spoken);
        let same = |p: &&mut Prompt| p.content.is_same(&content) || p.text == kept;
        let again = self.prompts.iter_mut().rev().find(same);
        let round = self.round;
        let first = match again {
            // Told twice, by the transcript and by the bot itself: one prompt.
            Some(prompt)
                if round.abs_diff(prompt.round) <= 1
                    && prompt.failed.is_none()
                    && self.said.back().is_none_or(|s| s.at <= prompt.at || s.speaker == Speaker::Agent) =>
            {
                return None;
            }
            Some(prompt) => {
                prompt.failed.get_or_insert("asked again");
                Some(prompt.at)
            }
            None => None,
        };
        let prompt = Prompt { at, round, text: kept.to_owned(), content, failed: None };
        push_bounded(&mut self.prompts, prompt, PROMPTS_MAX);
        first.map(|first| Found {
            cue: Cue::Repetition,
            words: format!("the other side asked the same as at {first}"),
        })
    }

    /// Remembers that the caller gave what they were asked for, or named it with a number.
    fn give(&mut self, at: MediaTime, spoken: &[Word]) {
        let lexicon = Lexicon::built_in();
        let digits: usize = spoken.iter().filter_map(|word| lexicon.digits(word)).map(|d| d.len()).sum();
        let named = lexicon.find(spoken).into_iter().find_map(|hit| match hit.kind {
            Kind::Field(n) => Some(n),
            Kind::Request | Kind::Negative | Kind::Name => None,
        });
        let by_words = |n: usize| ["name", "address", "e-mail address"].contains(&lexicon.field(n));
        let has_words = lexicon.content(spoken).next().is_some();
        let refuses = spoken.first().is_some_and(|word| REFUSALS.contains(&word.text.as_str()));
        let enough = |n: usize| digits >= 3 || by_words(n) && has_words && !refuses;
        let asked = self.asked.take_if(|n| enough(*n));
        if let Some(field) = asked.or(named.filter(|n| enough(*n))) {
            let field = lexicon.field(field).to_owned();
            if self.given.iter().all(|(given, _)| *given != field) {
                push_bounded(&mut self.given, (field, at), GIVEN_MAX);
            }
        }
    }

    /// Tells an overlap that has become long enough, once.
    fn overlap(&mut self, at: MediaTime, rules: &Rules) -> Option<Found> {
        let counts = self.counts(rules);
        let since = self.turns.overlap_since.take_if(|since| at.since(*since) >= OVERLAP_MIN)?;
        counts.then(|| Found {
            cue: Cue::BargeIn,
            words: format!("the caller talked over the other side at {since}"),
        })
    }

    /// Whether who speaks when is evidence: the other side may be a human otherwise.
    fn counts(&self, rules: &Rules) -> bool {
        self.active || rules.cues.without_words
    }
}

fn own_phrases(rules: &Rules) -> Lexicon {
    let requests = rules.instant.phrases.iter().chain(&rules.words.explicit_request);
    let requests = requests.map(|phrase| (Kind::Request, phrase.as_str()));
    Lexicon::of_phrases(requests.chain(rules.words.negative.iter().map(|p| (Kind::Negative, p.as_str()))))
}

/// Adds an utterance to the nearest turn of its speaker, or as a turn of its own.
fn attach(turns: &mut Vec<Turn>, said: &Said) {
    let at = seconds(said.at);
    let distance = |turn: &Turn| (turn.from_s - at).max(at - turn.to_s).max(0.0);
    let nearest = turns
        .iter_mut()
        .filter(|turn| turn.speaker == said.speaker && distance(turn) <= TURN_NEAR.seconds())
        .min_by(|a, b| distance(a).total_cmp(&distance(b)));
    match nearest {
        Some(turn) => {
            let before = turn.words.take().map_or_else(String::new, |words| format!("{} ", words.expose()));
            turn.words = Some(Pii::new(format!("{before}{}", said.text)));
        }
        None => {
            let words = Some(Pii::new(said.text.clone()));
            turns.push(Turn { speaker: said.speaker, from_s: at, to_s: at, words });
        }
    }
}

/// What the caller said in the latest turn that has a part in this span.
fn words_within(turns: &[Turn], from_s: f64, to_s: f64) -> Option<&str> {
    let within = |turn: &&Turn| {
        turn.speaker == Speaker::Caller
            && turn.from_s <= to_s + TURN_NEAR.seconds()
            && turn.to_s >= from_s - TURN_NEAR.seconds()
    };
    let overlap = |turn: &Turn| turn.to_s.min(to_s) - turn.from_s.max(from_s);
    let spoken = turns.iter().filter(within).filter(|turn| turn.words.is_some());
    let most = spoken.max_by(|a, b| overlap(a).total_cmp(&overlap(b)))?;
    most.words.as_ref().map(|words| words.expose().as_str())
}
