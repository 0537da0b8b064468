//! The policy file: thresholds are policy, in a file, versioned, and refused with the line and the reason.

use std::ops::{Range, RangeInclusive};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use toml::Spanned;

use super::{
    Cue, Notice,
    settings::{fault, line_of},
};
use crate::units::{MediaSpan, Probability, hex};

/// The policy that holds where no file is named.
pub const BUILT_IN: &str = include_str!("default.toml");

/// The longest span a policy may name, seconds: beyond it a unit was mistaken.
const SPAN_MAX_S: f64 = 3600.0;

/// Phrases a policy may list.
const PHRASES_MAX: usize = 500;

/// Bytes of one of them.
const PHRASE_MAX: usize = 200;

/// Bytes of an opening or a skill.
const ADVICE_MAX: usize = 500;

/// A policy file: the rules, and what overrides them for a queue or an intent.
#[derive(Clone, Debug)]
pub struct Policy {
    version: String,
    sha256: String,
    rules: Rules,
    overrides: Vec<Override>,
}

/// The rules one call is held to.
#[derive(Clone, Debug, PartialEq)]
pub struct Rules {
    /// Calibrated probability at which frustration begins to rise.
    pub enter: Probability,
    /// Calibrated probability below which it has passed.
    pub exit: Probability,
    /// Calibrated probability from which what `watch` hears is confirmed by the second stage, where there is one: no more
    /// than `enter`, so that nothing escalates unconfirmed.
    pub suspect: Probability,
    /// Caller speech for which it must last before a transfer.
    pub sustain: MediaSpan,
    /// Caller speech before the voice alone may decide anything.
    pub warm_up: MediaSpan,
    /// Media time after a transfer that came to nothing before the voice may ask again.
    pub cooldown: MediaSpan,
    /// What transfers at once, whatever the score says.
    pub instant: Instant,
    /// What must have happened before the caller's voice is scored.
    pub notice: NoticeRule,
    /// What cues beyond the voice weigh.
    pub cues: Cues,
    /// Phrases of one's own.
    pub words: Words,
    /// What of the words is kept from packets and events.
    pub redact: Redact,
    /// What the human is told to do.
    pub advice: Advice,
    /// Transfers per hour, over all calls, that the humans can take.
    pub transfers_per_hour_max: Option<u32>,
}

/// What cues beyond the voice weigh: a weight is the probability that one of them alone, and fresh, amounts to.
#[derive(Clone, Debug, PartialEq)]
pub struct Cues {
    /// What they must amount to, with the voice if it is scored, to transfer without the voice having risen for long.
    pub enter: Probability,
    /// Media time in which a cue loses half of its evidence.
    pub half_life: MediaSpan,
    /// The caller said something that tells of a call going wrong.
    pub negative_phrase: Probability,
    /// The caller repeats themselves, or the bot asked the same again.
    pub repetition: Probability,
    /// The bot reported no match, no input or low confidence.
    pub no_progress: Probability,
    /// The caller talks over the bot.
    pub barge_in: Probability,
    /// The caller waits.
    pub long_wait: Probability,
    /// How long they must have waited.
    pub long_wait_after: MediaSpan,
    /// Confidence of the bot below which it counts as having understood nothing.
    pub low_confidence: Probability,
    /// Whether barge-in and waiting count in calls of which no words and no reports of a bot come: there the other side may be a human.
    pub without_words: bool,
}

impl Cues {
    /// The weight of a cue; those that transfer at once, and the voice, have none.
    pub fn weight(&self, cue: Cue) -> Probability {
        match cue {
            Cue::NegativePhrase => self.negative_phrase,
            Cue::Repetition => self.repetition,
            Cue::NoProgress => self.no_progress,
            Cue::BargeIn => self.barge_in,
            Cue::LongWait => self.long_wait,
            Cue::Frustration | Cue::ExplicitRequest | Cue::Manual => Probability::default(),
        }
    }
}

/// Phrases of one's own, beside those that come with the program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Words {
    /// Whether those that come with the program count.
    pub built_in: bool,
    /// They ask for a person.
    pub explicit_request: Vec<String>,
    /// They tell of a call going wrong.
    pub negative: Vec<String>,
}

/// What of the words is kept from packets and events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Redact {
    /// Card numbers: 13 to 19 digits with the right check digit.
    pub cards: bool,
    /// Numbers of five digits or more.
    pub numbers: bool,
    /// E-mail addresses.
    pub emails: bool,
    /// What follows "my name is".
    pub names: bool,
}

impl Redact {
    /// Everything that can be.
    pub const ALL: Self = Self { cards: true, numbers: true, emails: true, names: true };
}

/// What the human is told to do, where the policy says it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Advice {
    /// The skill or queue that should take the caller.
    pub skill: Option<String>,
    /// How urgent such a call is at the least.
    pub priority: Priority,
    /// How to open: `{problem}` stands for the caller's own words, and what is in `[ ]` is left out if there are none.
    pub opening: Option<String>,
}

/// How urgent a transfer is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Priority {
    /// As any other.
    #[default]
    Normal,
    /// Before others.
    High,
    /// Before all others.
    Urgent,
}

impl Priority {
    /// The name used in packets and policies.
    pub fn name(self) -> &'static str {
        match self {
            Self::Normal => "normal",
            Self::High => "high",
            Self::Urgent => "urgent",
        }
    }
}

/// What transfers at once.
#[derive(Clone, Debug, PartialEq)]
pub struct Instant {
    /// An explicit request: through the integrator's API, or by one of the phrases that come with the program.
    pub explicit_request: bool,
    /// Keys that ask for a person.
    pub dtmf: Vec<char>,
    /// Phrases that ask for a person; they need a transcript.
    pub phrases: Vec<String>,
}

/// What the caller must have been told, or agreed to, before their voice is scored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct NoticeRule(pub Notice);

impl NoticeRule {
    /// Whether `given` is enough.
    pub fn is_met(self, given: Notice) -> bool {
        given >= self.0
    }
}

/// Why a policy was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("policy line {line}: {reason}")]
pub struct PolicyError {
    /// Line of the file, from 1.
    pub line: usize,
    /// What was read, what was expected, and how to mend it.
    pub reason: String,
}

#[derive(Clone, Debug)]
struct Override {
    queue: Option<String>,
    intent: Option<String>,
    rules: Rules,
}

impl Default for Policy {
    fn default() -> Self {
        Self::parse(BUILT_IN).unwrap_or_else(|error| unreachable!("the built-in policy is tested: {error}"))
    }
}

impl Policy {
    /// Reads a policy file; missing settings take the built-in policy's value.
    pub fn parse(source: &str) -> Result<Self, PolicyError> {
        let file: File = toml::from_str(source).map_err(|error| refuse(source, &error))?;
        let File { version, frustration, instant, notice, capacity, cues, words, redact, advice, when } =
            file;
        let tables = Tables { frustration, instant, notice, capacity, cues, words, redact, advice };
        let at =
            |range: Range<usize>, reason: String| PolicyError { line: line_of(source, range.start), reason };
        let Some(version) = version else {
            return Err(PolicyError {
                line: 1,
                reason: "`version` is missing: give the policy a name of its own, such as version = \"2026-11-22.1\"".into(),
            });
        };
        if version.get_ref().trim().is_empty() || version.get_ref().len() > 64 {
            return Err(at(version.span(), "`version` must have 1 to 64 characters".into()));
        }
        let rules = change(&Rules::standard(), tables).map_err(|(range, reason)| at(range, reason))?;
        let mut overrides = Vec::with_capacity(when.len());
        for spanned in when {
            let range = spanned.span();
            let When { queue, intent, frustration, instant, notice, capacity, cues, words, redact, advice } =
                spanned.into_inner();
            let tables = Tables { frustration, instant, notice, capacity, cues, words, redact, advice };
            if queue.is_none() && intent.is_none() {
                return Err(at(
                    range,
                    "[[when]] names neither `queue` nor `intent`: say which calls it is for".into(),
                ));
            }
            let rules = change(&rules, tables).map_err(|(range, reason)| at(range, reason))?;
            overrides.push(Override { queue, intent, rules });
        }
        Ok(Self { version: version.into_inner(), sha256: hex(&Sha256::digest(source)), rules, overrides })
    }

    /// The name the policy gives itself.
    pub fn version(&self) -> &str {
        &self.version
    }

    /// SHA-256 of the file, in hexadecimal.
    pub fn sha256(&self) -> &str {
        &self.sha256
    }

    /// The rules for a call: of the overrides that match its queue and intent, the first wins.
    pub fn rules_for(&self, queue: Option<&str>, intent: Option<&str>) -> &Rules {
        let matches =
            |wanted: &Option<String>, given: Option<&str>| wanted.as_deref().is_none_or(|w| given == Some(w));
        self.overrides
            .iter()
            .find(|o| matches(&o.queue, queue) && matches(&o.intent, intent))
            .map_or(&self.rules, |o| &o.rules)
    }
}

impl Rules {
    /// What a setting is where no file says otherwise; `default.toml` spells the same out for readers.
    fn standard() -> Self {
        let probability = |p| Probability::new(p).unwrap_or_default();
        Self {
            enter: probability(0.70),
            exit: probability(0.40),
            suspect: probability(0.30),
            sustain: MediaSpan::from_seconds(4.0),
            warm_up: MediaSpan::from_seconds(4.0),
            cooldown: MediaSpan::from_seconds(30.0),
            instant: Instant { explicit_request: true, dtmf: vec!['0'], phrases: Vec::new() },
            notice: NoticeRule(Notice::Notice),
            cues: Cues {
                enter: probability(0.80),
                half_life: MediaSpan::from_seconds(60.0),
                negative_phrase: probability(0.50),
                repetition: probability(0.50),
                no_progress: probability(0.35),
                barge_in: probability(0.15),
                long_wait: probability(0.30),
                long_wait_after: MediaSpan::from_seconds(20.0),
                low_confidence: probability(0.40),
                without_words: false,
            },
            words: Words { built_in: true, explicit_request: Vec::new(), negative: Vec::new() },
            redact: Redact { cards: true, numbers: false, emails: false, names: false },
            advice: Advice::default(),
            transfers_per_hour_max: None,
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    version: Option<Spanned<String>>,
    frustration: Option<Frustration>,
    instant: Option<InstantTable>,
    notice: Option<NoticeTable>,
    capacity: Option<Capacity>,
    cues: Option<CuesTable>,
    words: Option<WordsTable>,
    redact: Option<RedactTable>,
    advice: Option<AdviceTable>,
    #[serde(default)]
    when: Vec<Spanned<When>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct When {
    queue: Option<String>,
    intent: Option<String>,
    frustration: Option<Frustration>,
    instant: Option<InstantTable>,
    notice: Option<NoticeTable>,
    capacity: Option<Capacity>,
    cues: Option<CuesTable>,
    words: Option<WordsTable>,
    redact: Option<RedactTable>,
    advice: Option<AdviceTable>,
}

/// What a file, or one of its overrides, sets.
struct Tables {
    frustration: Option<Frustration>,
    instant: Option<InstantTable>,
    notice: Option<NoticeTable>,
    capacity: Option<Capacity>,
    cues: Option<CuesTable>,
    words: Option<WordsTable>,
    redact: Option<RedactTable>,
    advice: Option<AdviceTable>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CuesTable {
    enter: Option<Spanned<f64>>,
    half_life_s: Option<Spanned<f64>>,
    negative_phrase: Option<Spanned<f64>>,
    repetition: Option<Spanned<f64>>,
    no_progress: Option<Spanned<f64>>,
    barge_in: Option<Spanned<f64>>,
    long_wait: Option<Spanned<f64>>,
    long_wait_after_s: Option<Spanned<f64>>,
    low_confidence: Option<Spanned<f64>>,
    without_words: Option<bool>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WordsTable {
    built_in: Option<bool>,
    explicit_request: Option<Spanned<Vec<String>>>,
    negative: Option<Spanned<Vec<String>>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RedactTable {
    cards: Option<bool>,
    numbers: Option<bool>,
    emails: Option<bool>,
    names: Option<bool>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct AdviceTable {
    skill: Option<Spanned<String>>,
    priority: Option<Priority>,
    opening: Option<Spanned<String>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Frustration {
    enter: Option<Spanned<f64>>,
    exit: Option<Spanned<f64>>,
    suspect: Option<Spanned<f64>>,
    sustain_s: Option<Spanned<f64>>,
    warm_up_s: Option<Spanned<f64>>,
    cooldown_s: Option<Spanned<f64>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct InstantTable {
    explicit_request: Option<bool>,
    dtmf: Option<Vec<Spanned<String>>>,
    phrases: Option<Spanned<Vec<String>>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NoticeTable {
    require: Option<Notice>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Capacity {
    transfers_per_hour_max: Option<u32>,
}

/// Where a value stands in the file, and what is wrong with it.
type Fault = (Range<usize>, String);

/// One table of settings over the rules it starts from.
fn change(base: &Rules, tables: Tables) -> Result<Rules, Fault> {
    let Tables { frustration, instant, notice, capacity, cues, words, redact, advice } = tables;
    let mut rules = base.clone();
    if let Some(f) = frustration {
        let thresholds = f.enter.as_ref().or(f.exit.as_ref()).or(f.suspect.as_ref()).map(Spanned::span);
        let suspect_is_told = f.suspect.is_some();
        set(&mut rules.enter, f.enter, "frustration.enter", probability)?;
        set(&mut rules.exit, f.exit, "frustration.exit", probability)?;
        set(&mut rules.suspect, f.suspect, "frustration.suspect", probability)?;
        set(&mut rules.sustain, f.sustain_s, "frustration.sustain_s", span)?;
        set(&mut rules.warm_up, f.warm_up_s, "frustration.warm_up_s", span)?;
        set(&mut rules.cooldown, f.cooldown_s, "frustration.cooldown_s", span)?;
        if !suspect_is_told {
            rules.suspect = rules.suspect.min(rules.enter);
        }
        for (name, value) in [("exit", rules.exit), ("suspect", rules.suspect)] {
            if let Some(range) = thresholds.clone().filter(|_| value > rules.enter) {
                let enter = rules.enter.get();
                let reason = format!(
                    "`{name}` ({value}) is above `enter` ({enter}): lower `{name}` or raise `enter`",
                    value = value.get()
                );
                return Err((range, reason));
            }
        }
    }
    if let Some(i) = instant {
        rules.instant.explicit_request = i.explicit_request.unwrap_or(rules.instant.explicit_request);
        if let Some(keys) = i.dtmf {
            rules.instant.dtmf = keys.into_iter().map(key).collect::<Result<_, _>>()?;
        }
        set_phrases(&mut rules.instant.phrases, i.phrases, "instant.phrases")?;
    }
    if let Some(c) = cues {
        set(&mut rules.cues.enter, c.enter, "cues.enter", probability)?;
        set(&mut rules.cues.half_life, c.half_life_s, "cues.half_life_s", half_life)?;
        set(&mut rules.cues.negative_phrase, c.negative_phrase, "cues.negative_phrase", weight)?;
        set(&mut rules.cues.repetition, c.repetition, "cues.repetition", weight)?;
        set(&mut rules.cues.no_progress, c.no_progress, "cues.no_progress", weight)?;
        set(&mut rules.cues.barge_in, c.barge_in, "cues.barge_in", weight)?;
        set(&mut rules.cues.long_wait, c.long_wait, "cues.long_wait", weight)?;
        set(&mut rules.cues.long_wait_after, c.long_wait_after_s, "cues.long_wait_after_s", half_life)?;
        set(&mut rules.cues.low_confidence, c.low_confidence, "cues.low_confidence", probability)?;
        rules.cues.without_words = c.without_words.unwrap_or(rules.cues.without_words);
    }
    if let Some(w) = words {
        rules.words.built_in = w.built_in.unwrap_or(rules.words.built_in);
        set_phrases(&mut rules.words.explicit_request, w.explicit_request, "words.explicit_request")?;
        set_phrases(&mut rules.words.negative, w.negative, "words.negative")?;
    }
    if let Some(r) = redact {
        let Redact { cards, numbers, emails, names } = rules.redact;
        rules.redact = Redact {
            cards: r.cards.unwrap_or(cards),
            numbers: r.numbers.unwrap_or(numbers),
            emails: r.emails.unwrap_or(emails),
            names: r.names.unwrap_or(names),
        };
    }
    if let Some(a) = advice {
        set_text(&mut rules.advice.skill, a.skill, "advice.skill")?;
        set_text(&mut rules.advice.opening, a.opening, "advice.opening")?;
        rules.advice.priority = a.priority.unwrap_or(rules.advice.priority);
    }
    rules.notice = notice.and_then(|n| n.require).map_or(rules.notice, NoticeRule);
    rules.transfers_per_hour_max =
        capacity.and_then(|c| c.transfers_per_hour_max).or(rules.transfers_per_hour_max);
    Ok(rules)
}

fn set<T>(
    target: &mut T,
    value: Option<Spanned<f64>>,
    name: &str,
    check: impl FnOnce(f64) -> Result<T, String>,
) -> Result<(), Fault> {
    if let Some(value) = value {
        *target = check(*value.get_ref())
            .map_err(|wanted| (value.span(), format!("`{name}` is {}: {wanted}", value.get_ref())))?;
    }
    Ok(())
}

fn set_phrases(
    target: &mut Vec<String>,
    phrases: Option<Spanned<Vec<String>>>,
    name: &str,
) -> Result<(), Fault> {
    if let Some(phrases) = phrases {
        let wrong = |p: &String| p.len() > PHRASE_MAX || !p.chars().any(char::is_alphanumeric);
        if phrases.get_ref().len() > PHRASES_MAX || phrases.get_ref().iter().any(wrong) {
            let wanted =
                format!("up to {PHRASES_MAX} phrases of up to {PHRASE_MAX} bytes, none of them empty");
            return Err((phrases.span(), format!("`{name}` takes {wanted}")));
        }
        *target = phrases.into_inner();
    }
    Ok(())
}

fn set_text(target: &mut Option<String>, text: Option<Spanned<String>>, name: &str) -> Result<(), Fault> {
    if let Some(text) = text {
        if text.get_ref().trim().is_empty() || text.get_ref().len() > ADVICE_MAX {
            return Err((text.span(), format!("`{name}` takes 1 to {ADVICE_MAX} bytes")));
        }
        *target = Some(text.into_inner());
    }
    Ok(())
}

fn weight(value: f64) -> Result<Probability, String> {
    const RANGE: RangeInclusive<f64> = 0.0..=0.99;
    let wanted = || "expected a weight from 0 (it counts for nothing) to 0.99".to_owned();
    if RANGE.contains(&value) { Probability::new(value).map_err(|_| wanted()) } else { Err(wanted()) }
}

fn half_life(seconds: f64) -> Result<MediaSpan, String> {
    const RANGE: RangeInclusive<f64> = 1.0..=SPAN_MAX_S;
    if RANGE.contains(&seconds) {
        Ok(MediaSpan::from_seconds(seconds))
    } else {
        Err(format!("expected seconds from 1 to {SPAN_MAX_S}"))
    }
}

fn probability(value: f64) -> Result<Probability, String> {
    Probability::new(value).map_err(|_| "expected a calibrated probability from 0 to 1".into())
}

fn span(seconds: f64) -> Result<MediaSpan, String> {
    const RANGE: RangeInclusive<f64> = 0.0..=SPAN_MAX_S;
    if RANGE.contains(&seconds) {
        Ok(MediaSpan::from_seconds(seconds))
    } else {
        Err(format!("expected seconds from 0 to {SPAN_MAX_S}"))
    }
}

fn key(key: Spanned<String>) -> Result<char, Fault> {
    let mut characters = key.get_ref().chars();
    match (characters.next(), characters.next()) {
        (Some(c @ ('0'..='9' | '*' | '#' | 'A'..='D')), None) => Ok(c),
        _ => Err((
            key.span(),
            format!("`instant.dtmf` has {:?}: expected one key of 0-9, *, #, A-D", key.get_ref()),
        )),
    }
}

fn refuse(source: &str, error: &toml::de::Error) -> PolicyError {
    let (line, reason) = fault(source, error);
    PolicyError { line, reason }
}

#[cfg(test)]
#[allow(clippy::float_cmp, reason = "the numbers are exact by construction")]
mod tests {
    use super::*;

    #[test]
    fn the_built_in_policy_spells_out_the_standard_rules() {
        assert_eq!(
            Policy::default().rules_for(None, None),
            &Rules { transfers_per_hour_max: Some(40), ..Rules::standard() }
        );
    }

    #[test]
    fn an_override_changes_what_it_names_and_the_first_that_matches_wins() {
        let policy = Policy::parse(
            r##"
            version = "t"
            [frustration]
            enter = 0.8
            [[when]]
            queue = "billing"
            intent = "disputed_medical_bill"
            frustration.enter = 0.55
            [[when]]
            queue = "billing"
            frustration.sustain_s = 5.0
            instant.dtmf = ["9", "#"]
            "##,
        )
        .unwrap();
        let enter = |queue, intent| policy.rules_for(queue, intent).enter.get();
        assert_eq!(enter(None, None), 0.8);
        assert_eq!(enter(Some("billing"), Some("disputed_medical_bill")), 0.55);
        assert_eq!(enter(Some("billing"), Some("other")), 0.8);
        assert_eq!(enter(Some("sales"), Some("disputed_medical_bill")), 0.8);
        let billing = policy.rules_for(Some("billing"), None);
        assert_eq!(
            (billing.sustain.seconds(), billing.instant.dtmf.as_slice()),
            (5.0, ['9', '#'].as_slice())
        );
    }

    #[test]
    fn a_bad_policy_is_refused_with_the_line_and_the_reason() {
        for (source, line, reason) in [
            ("", 1, "`version` is missing"),
            (
                "version = \"a\"\n[frustration]\nentr = 0.7",
                3,
                "`entr` is not a setting: did you mean `enter`?",
            ),
            ("version = \"a\"\n[frustation]\nenter = 0.7", 2, "did you mean `frustration`?"),
            (
                "version = \"a\"\n[frustration]\nenter = 1.7",
                3,
                "`frustration.enter` is 1.7: expected a calibrated probability",
            ),
            ("version = \"a\"\n[frustration]\nenter = nan", 3, "expected a calibrated probability"),
            (
                "version = \"a\"\n[frustration]\nenter = 0.4\nexit = 0.6",
                3,
                "`exit` (0.6) is above `enter` (0.4)",
            ),
            ("version = \"a\"\n[frustration]\nexit = 0.9", 3, "`exit` (0.9) is above `enter` (0.7)"),
            ("version = \"a\"\n[frustration]\nsustain_s = -1.0", 3, "expected seconds from 0 to 3600"),
            ("version = \"a\"\n[frustration]\nenter = \"high\"", 3, "invalid type"),
            ("version = \"a\"\n[instant]\ndtmf = [\"00\"]", 3, "expected one key of 0-9"),
            ("version = \"a\"\n[instant]\nphrases = [\" \"]", 3, "none of them empty"),
            ("version = \"a\"\n[words]\nnegative = [\"!\"]", 3, "`words.negative` takes up to 500 phrases"),
            ("version = \"a\"\n[cues]\nbarge_in = 1.0", 3, "`cues.barge_in` is 1: expected a weight from 0"),
            ("version = \"a\"\n[cues]\nhalf_life_s = 0.0", 3, "expected seconds from 1 to 3600"),
            ("version = \"a\"\n[cues]\nrepetitions = 0.3", 3, "did you mean `repetition`?"),
            ("version = \"a\"\n[advice]\npriority = \"top\"", 3, "unknown variant"),
            ("version = \"a\"\n[advice]\nopening = \"\"", 3, "takes 1 to 500 bytes"),
            ("version = \"a\"\n[notice]\nrequire = \"maybe\"", 3, "unknown variant"),
            ("version = \"a\"\n[[when]]\nfrustration.enter = 0.5", 2, "neither `queue` nor `intent`"),
            ("version = \"a\"\nversion = \"b\"", 2, "duplicate key"),
            ("version = \"a\"\n[frustration\n", 2, ""),
        ] {
            let error = Policy::parse(source).expect_err(source);
            assert_eq!(error.line, line, "{source}: {error}");
            assert!(error.reason.contains(reason), "{source}: {error}");
        }
    }
}
