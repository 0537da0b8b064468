//! What an utterance is about, as a set of stems; whether two are nearly the same; and which sentences tell a story.
//!
//! A stem is a content word's first five letters: across European languages that serves retrieval about as well as proper stemming (`McNamee` and
//! Mayfield, *Character N-Gram Tokenization for European Language Text Retrieval*, 2004).

use std::collections::{BTreeMap, BTreeSet};

use super::{
    lexicon::{Kind, Lexicon},
    text::{Word, words},
};

/// Letters of a stem.
const STEM_LEN: usize = 5;

/// Stems that both of two utterances must have to be told alike.
const ALIKE_MIN: usize = 3;

/// The share of the smaller utterance's stems that must be in the other (the overlap coefficient of Simpson, 1943): callers who repeat
/// themselves shorten what they say (Swerts, Litman and Hirschberg, *Corrections in Spoken Dialogue Systems*, 2000). The value is chosen, not fitted.
const ALIKE: f64 = 0.7;

/// The share of all words of two prompts that must be in both (Jaccard) to be the same question.
const SAME: f64 = 0.8;

/// Sentences of one speaker that are weighed.
const SENTENCES_MAX: usize = 128;

/// The stems of an utterance.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Content(BTreeSet<String>);

impl Content {
    /// What these words are about.
    pub fn of(spoken: &[Word]) -> Self {
        Self(Lexicon::built_in().content(spoken).map(stem).collect())
    }

    /// Every word, function words as well: what a prompt is compared by.
    pub fn verbatim(spoken: &[Word]) -> Self {
        Self(spoken.iter().map(|word| word.text.clone()).collect())
    }

    /// Whether one says nearly what the other says.
    pub fn is_alike(&self, other: &Self) -> bool {
        let least = self.0.len().min(other.0.len());
        least >= ALIKE_MIN && share(self.0.intersection(&other.0).count(), least) >= ALIKE
    }

    /// Whether one is the other but for a word.
    pub fn is_same(&self, other: &Self) -> bool {
        let union = self.0.union(&other.0).count();
        union >= ALIKE_MIN && share(self.0.intersection(&other.0).count(), union) >= SAME
    }
}

/// The sentence of a speaker that tells best what it is all about, from what both sides said; `None` if no sentence says enough.
///
/// Edmundson's weighing of sentences (*New Methods in Automatic Extracting*, 1969) with three of his four clues: *key*, Luhn's significance of
/// words by how often they come (1958); *location*, since callers say first why they call; *cue*, in which requests for a person
/// and complaints about the call are stigma words: they are not the problem.
pub fn problem<'a>(
    caller: impl IntoIterator<Item = &'a str>,
    others: impl IntoIterator<Item = &'a str>,
) -> Option<&'a str> {
    let lexicon = Lexicon::built_in();
    let sentences: Vec<(&str, Vec<Word>)> =
        caller.into_iter().flat_map(sentences).take(SENTENCES_MAX).map(|s| (s, words(s))).collect();
    let mut counts: BTreeMap<String, f64> = BTreeMap::new();
    let others: Vec<Vec<Word>> = others.into_iter().map(words).collect();
    for spoken in sentences.iter().map(|(_, spoken)| spoken).chain(&others) {
        lexicon.content(spoken).map(stem).for_each(|stem| *counts.entry(stem).or_default() += 1.0);
    }
    let mut place = 0.0;
    let mut best: Option<(f64, &str)> = None;
    for (sentence, spoken) in &sentences {
        let content = Content::of(spoken);
        if content.0.len() < ALIKE_MIN {
            continue;
        }
        let hits = lexicon.find(spoken);
        if hits.iter().any(|hit| matches!(hit.kind, Kind::Request | Kind::Negative)) {
            continue;
        }
        place += 1.0;
        let key: f64 = content.0.iter().filter_map(|stem| counts.get(stem)).sum();
        let length = f64::from(u32::try_from(content.0.len()).unwrap_or(u32::MAX)).sqrt();
        let score = key / length * (1.0 + 1.0 / place);
        if best.is_none_or(|(most, _)| score > most) {
            best = Some((score, sentence));
        }
    }
    best.map(|(_, sentence)| sentence)
}

/// A text cut behind what ends sentences.
pub fn sentences(text: &str) -> impl Iterator<Item = &str> {
    text.split_inclusive(['.', '!', '?', '…', '\n', '。', '？', '！'])
        .map(str::trim)
        .filter(|s| !s.is_empty())
}

fn stem(word: &Word) -> String {
    word.text.chars().take(STEM_LEN).collect()
}

#[allow(clippy::cast_precision_loss, reason = "counts of words of one utterance")]
fn share(part: usize, whole: usize) -> f64 {
    part as f64 / whole as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn content(text: &str) -> Content {
        Content::of(&words(text))
    }

    #[test]
    fn who_says_nearly_the_same_again_is_alike_and_who_goes_on_is_not() {
        let check = |a: &str, b: &str, alike: bool| {
            assert_eq!(content(a).is_alike(&content(b)), alike, "{a} / {b}");
        };
        check("I never ordered the second router", "Again: I never ordered that second router!", true);
        check("My insurance already paid for the blood test", "the insurance has paid the blood test", true);
        check("Meine rote Lampe blinkt immer weiter", "Die rote Lampe blinkt!", true);
        check("I want to pay the bill", "I do not want a payment plan", false);
        check(
            "It says that I owe four hundred dollars for a blood test",
            "my insurance paid for that in August",
            false,
        );
        check("yes", "yes", false);
        check("yes please do that", "yes please do that", false);
    }

    #[test]
    fn a_prompt_is_the_same_when_all_but_a_word_is() {
        let same = |a: &str, b: &str| Content::verbatim(&words(a)).is_same(&Content::verbatim(&words(b)));
        assert!(same("Which lamp is lit on your router?", "which lamp is lit on your router"));
        assert!(!same(
            "Sorry, I did not understand. Say pay now, or payment plan.",
            "Sorry, I did not understand."
        ));
        assert!(same("How can I help?", "How can I help you?"));
    }

    #[test]
    fn the_problem_is_what_the_call_is_about_and_no_complaint_about_the_call() {
        let caller = [
            "Hi, good morning. I got a bill from you last week, and I think there is a mistake on it.",
            "It says that I owe four hundred dollars for a blood test, but my insurance already paid for that in August.",
            "No! I said I do not want to pay! The bill is wrong! It was already paid!",
            "I want to talk to a person! I am sick of this!",
        ];
        let bot = [
            "I can help with billing. In a few words, what is the problem?",
            "To make a payment, say, pay now.",
        ];
        assert_eq!(
            problem(caller, bot),
            Some(
                "It says that I owe four hundred dollars for a blood test, but my insurance already paid for that in August."
            )
        );
        assert_eq!(problem(["I want to talk to a person right now"], bot), None);
        assert_eq!(problem(["Hello?", "Yes."], bot), None);
    }
}
