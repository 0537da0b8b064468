//! Phrases of several languages, found in an utterance in one pass over its words.
//!
//! A pattern is a row of words; each place takes any of several words, and some places may stay empty. All patterns are followed side by side
//! (a nondeterministic automaton over words; Navarro and Raffinot, *Flexible Pattern Matching in Strings*, 2002, chapter 4), so the cost of a
//! word is bounded by the places that take it. What is negated does not count: as in `NegEx` (Chapman et al., 2001) a negator reaches over
//! the words that commonly stand between, here listed by language, and no further. So "I don't understand, I want a person" counts.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::LazyLock,
};

use serde::Deserialize;

use super::text::{Word, words};

/// Places of one pattern, at the most.
const PLACES_MAX: usize = 24;

/// Words a negator reaches over, at the most.
const REACH_MAX: usize = 5;

static BUILT_IN: LazyLock<Lexicon> = LazyLock::new(|| {
    Lexicon::parse(include_str!("phrases.toml"))
        .unwrap_or_else(|error| unreachable!("the built-in phrases are tested: {error}"))
});

/// What a phrase is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// Asks for a person.
    Request,
    /// Tells of a call going wrong.
    Negative,
    /// Names something a caller is asked for: see [`Lexicon::field`].
    Field(usize),
    /// The speaker's name follows.
    Name,
}

/// A phrase that was found: words `from..to` of the utterance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hit {
    /// What it is.
    pub kind: Kind,
    /// Its first word.
    pub from: usize,
    /// The word behind it.
    pub to: usize,
    language: Option<usize>,
}

/// Patterns, and what each language needs to judge them.
#[derive(Debug, Default)]
pub struct Lexicon {
    /// The place lists of whole words and of stems (`person*`).
    exact: BTreeMap<String, Vec<Place>>,
    stems: BTreeMap<String, Vec<Place>>,
    patterns: Vec<Pattern>,
    languages: Vec<Language>,
    fields: Vec<String>,
    stop: BTreeSet<String>,
    fillers: BTreeSet<String>,
    digits: BTreeMap<String, char>,
}

/// Why a file of phrases was refused.
#[derive(Debug, thiserror::Error)]
pub enum LexiconError {
    /// It is no TOML of this shape.
    #[error("{0}")]
    Toml(#[from] toml::de::Error),
    /// A pattern names a set that there is not, or has too many places.
    #[error("{language}: {pattern:?}: {reason}")]
    Pattern {
        /// Of which language.
        language: String,
        /// As it was read.
        pattern: String,
        /// What is wrong with it.
        reason: &'static str,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Place {
    pattern: usize,
    at: usize,
}

#[derive(Debug)]
struct Pattern {
    kind: Kind,
    language: Option<usize>,
    /// Whether each place may stay empty.
    optional: Vec<bool>,
    starts_clause: bool,
    ends_clause: bool,
}

#[derive(Debug)]
struct Language {
    name: String,
    negators: Vec<Vec<Part>>,
    negators_after: Vec<Vec<Part>>,
    bridges: Vec<Part>,
    stop: BTreeSet<String>,
}

/// One word of a row, or how it begins.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Whole(String),
    Stem(String),
}

impl Part {
    fn read(text: &str) -> Self {
        let plain = |text: &str| words(text).into_iter().map(|word| word.text).collect::<String>();
        text.strip_suffix('*').map_or_else(|| Self::Whole(plain(text)), |stem| Self::Stem(plain(stem)))
    }

    fn takes(&self, word: &Word) -> bool {
        match self {
            Self::Whole(whole) => word.text == *whole,
            Self::Stem(stem) => word.text.starts_with(stem.as_str()),
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Spoken {
    stop: String,
    #[serde(default)]
    fillers: String,
    #[serde(default)]
    digits: Vec<String>,
    negators: Vec<String>,
    #[serde(default)]
    negators_after: Vec<String>,
    bridges: String,
    sets: BTreeMap<String, String>,
    explicit_request: Vec<String>,
    negative: Vec<String>,
    #[serde(default)]
    name: Vec<String>,
    #[serde(default)]
    fields: BTreeMap<String, Vec<String>>,
}

impl Lexicon {
    /// The phrases that come with the program.
    pub fn built_in() -> &'static Self {
        &BUILT_IN
    }

    /// Reads a file of the shape of `phrases.toml`.
    ///
    /// # Errors
    /// When it is of another shape, or a pattern names a set that is not there.
    pub fn parse(source: &str) -> Result<Self, LexiconError> {
        let file: BTreeMap<String, Spoken> = toml::from_str(source)?;
        let mut lexicon = Self::default();
        for (name, spoken) in file {
            let number = Some(lexicon.languages.len());
            let rows = |rows: &[String]| {
                rows.iter().map(|r| r.split_whitespace().map(Part::read).collect()).collect()
            };
            let list = |text: &str| words(text).into_iter().map(|word| word.text).collect::<BTreeSet<_>>();
            let stop = list(&spoken.stop);
            lexicon.stop.extend(stop.iter().cloned());
            lexicon.fillers.extend(list(&spoken.fillers));
            lexicon.digits.extend(
                spoken
                    .digits
                    .iter()
                    .zip('0'..='9')
                    .flat_map(|(word, digit)| words(word).into_iter().map(move |word| (word.text, digit))),
            );
            let mut all: Vec<(Kind, &str)> = Vec::new();
            all.extend(spoken.explicit_request.iter().map(|p| (Kind::Request, p.as_str())));
            all.extend(spoken.negative.iter().map(|p| (Kind::Negative, p.as_str())));
            all.extend(spoken.name.iter().map(|p| (Kind::Name, p.as_str())));
            for (field, patterns) in &spoken.fields {
                let n = lexicon.fields.iter().position(|f| f == field).unwrap_or(lexicon.fields.len());
                if n == lexicon.fields.len() {
                    lexicon.fields.push(field.clone());
                }
                all.extend(patterns.iter().map(|p| (Kind::Field(n), p.as_str())));
            }
            for (kind, pattern) in all {
                lexicon.add(kind, number, pattern, &spoken.sets).map_err(|reason| LexiconError::Pattern {
                    language: name.clone(),
                    pattern: pattern.to_owned(),
                    reason,
                })?;
            }
            lexicon.languages.push(Language {
                name,
                negators: rows(&spoken.negators),
                negators_after: rows(&spoken.negators_after),
                bridges: spoken.bridges.split_whitespace().map(Part::read).collect(),
                stop,
            });
        }
        Ok(lexicon)
    }

    /// Phrases of a policy, each a row of words as they are spoken.
    pub fn of_phrases<'a>(phrases: impl IntoIterator<Item = (Kind, &'a str)>) -> Self {
        let mut lexicon = Self::default();
        for (kind, phrase) in phrases {
            let places = words(phrase).into_iter().take(PLACES_MAX).map(|word| vec![Part::Whole(word.text)]);
            let places = places.map(|parts| (parts, false)).collect();
            lexicon.insert(kind, None, places, (false, false));
        }
        lexicon
    }

    /// Every phrase in an utterance that is not negated, in the order of their ends; of the same kind those that overlap are one.
    pub fn find(&self, words: &[Word]) -> Vec<Hit> {
        let mut hits: Vec<Hit> = Vec::new();
        for mut hit in self.run(words) {
            if BUILT_IN.is_negated(words, &hit) {
                continue;
            }
            hits.retain(|other| {
                let apart = other.kind != hit.kind || other.from >= hit.to || hit.from >= other.to;
                if !apart {
                    (hit.from, hit.to) = (hit.from.min(other.from), hit.to.max(other.to));
                }
                apart
            });
            hits.push(hit);
        }
        hits
    }

    /// The name of what [`Kind::Field`] is about.
    pub fn field(&self, n: usize) -> &str {
        self.fields.get(n).map_or("", String::as_str)
    }

    /// Words that carry meaning: function words, fillers and single letters are left out.
    pub fn content<'w>(&self, words: impl IntoIterator<Item = &'w Word>) -> impl Iterator<Item = &'w Word> {
        words.into_iter().filter(|word| {
            word.text.chars().nth(1).is_some()
                && !self.stop.contains(&word.text)
                && !self.fillers.contains(&word.text)
        })
    }

    /// The digits a word stands for: itself if it is a number, one if it is a digit's name.
    pub fn digits(&self, word: &Word) -> Option<String> {
        if word.text.bytes().all(|b| b.is_ascii_digit()) {
            return Some(word.text.clone());
        }
        self.digits.get(&word.text).map(|digit| digit.to_string())
    }

    /// The language whose function words are the most frequent, if any are.
    pub fn language(&self, words: &[Word]) -> Option<&str> {
        let count = |language: &Language| words.iter().filter(|w| language.stop.contains(&w.text)).count();
        let (count, language) = self.languages.iter().rev().map(|l| (count(l), l)).max_by_key(|(n, _)| *n)?;
        (count > 0).then_some(language.name.as_str())
    }

    fn add(
        &mut self,
        kind: Kind,
        language: Option<usize>,
        pattern: &str,
        sets: &BTreeMap<String, String>,
    ) -> Result<(), &'static str> {
        let (mut places, mut starts_clause, mut ends_clause) = (Vec::new(), false, false);
        for place in pattern.split_whitespace() {
            match place {
                "^" => starts_clause = true,
                "$" => ends_clause = true,
                place => {
                    let inner = place.strip_prefix('[').and_then(|p| p.strip_suffix(']'));
                    if inner.unwrap_or(place).contains(['[', ']']) {
                        return Err("has a bracket around more than one place");
                    }
                    let mut parts = Vec::new();
                    for choice in inner.unwrap_or(place).split('|') {
                        match choice.strip_prefix('{').and_then(|c| c.strip_suffix('}')) {
                            Some(set) => {
                                let set = sets.get(set).ok_or("names a set that is not there")?;
                                parts.extend(set.split_whitespace().map(Part::read));
                            }
                            None => parts.push(Part::read(choice)),
                        }
                    }
                    places.push((parts, inner.is_some()));
                }
            }
        }
        if places.len() > PLACES_MAX || places.iter().all(|(_, optional)| *optional) {
            return Err("expected one word at least, and 24 places at most");
        }
        self.insert(kind, language, places, (starts_clause, ends_clause));
        Ok(())
    }

    fn insert(
        &mut self,
        kind: Kind,
        language: Option<usize>,
        places: Vec<(Vec<Part>, bool)>,
        (starts_clause, ends_clause): (bool, bool),
    ) {
        let pattern = self.patterns.len();
        let optional = places.iter().map(|(_, optional)| *optional).collect();
        for (at, (parts, _)) in places.into_iter().enumerate() {
            for part in parts {
                let (map, word) = match part {
                    Part::Whole(word) => (&mut self.exact, word),
                    Part::Stem(word) => (&mut self.stems, word),
                };
                let fits = map.entry(word).or_default();
                let place = Place { pattern, at };
                if !fits.contains(&place) {
                    fits.push(place);
                }
            }
        }
        self.patterns.push(Pattern { kind, language, optional, starts_clause, ends_clause });
    }

    /// Every end of every pattern, negated or not.
    fn run(&self, words: &[Word]) -> Vec<Hit> {
        let mut hits = Vec::new();
        let spoken: Vec<(usize, &Word)> =
            words.iter().enumerate().filter(|(_, word)| !self.fillers.contains(&word.text)).collect();
        // Where a pattern has come to, and the word with which it began.
        let mut open: BTreeMap<(usize, usize), usize> = BTreeMap::new();
        let mut clause = None;
        for (i, (n, word)) in spoken.iter().enumerate() {
            let begins = clause.replace(word.clause) != Some(word.clause);
            let ends = spoken.get(i + 1).is_none_or(|(_, next)| next.clause != word.clause);
            if begins {
                open.clear();
            }
            let mut next: BTreeMap<(usize, usize), usize> = BTreeMap::new();
            for place in self.fits(word) {
                let Some(pattern) = self.patterns.get(place.pattern) else { continue };
                let first = pattern.optional.iter().take(place.at).all(|optional| *optional)
                    && (begins || !pattern.starts_clause);
                let Some(from) = open.get(&(place.pattern, place.at)).copied().or(first.then_some(*n)) else {
                    continue;
                };
                for to in place.at + 1..=pattern.optional.len() {
                    let Some(optional) = pattern.optional.get(to) else {
                        if ends || !pattern.ends_clause {
                            let Pattern { kind, language, .. } = *pattern;
                            hits.push(Hit { kind, from, to: n + 1, language });
                        }
                        break;
                    };
                    let start = next.entry((place.pattern, to)).or_insert(from);
                    *start = from.min(*start);
                    if !optional {
                        break;
                    }
                }
            }
            open = next;
        }
        hits
    }

    fn fits<'s>(&'s self, word: &'s Word) -> impl Iterator<Item = Place> + 's {
        let stems = word.text.char_indices().map(|(at, c)| at + c.len_utf8()).take(32);
        let of_stem = |end: usize| self.stems.get(word.text.get(..end)?);
        let stems = stems.filter_map(of_stem).flatten();
        self.exact.get(&word.text).into_iter().flatten().chain(stems).copied()
    }

    /// Whether a negator of the phrase's language, or of any for a policy's own phrases, stands before it or behind it.
    fn is_negated(&self, words: &[Word], hit: &Hit) -> bool {
        let clause = words.get(hit.from).map(|word| word.clause);
        let same = |word: &&Word| Some(word.clause) == clause;
        let before = words.get(..hit.from).unwrap_or_default();
        let after: Vec<&Word> = words.get(hit.to..).unwrap_or_default().iter().take_while(same).collect();
        let before: Vec<&Word> = before.iter().rev().take_while(same).collect();
        let of_phrase = |(n, _): &(usize, &Language)| hit.language.is_none_or(|own| own == *n);
        self.languages
            .iter()
            .enumerate()
            .filter(of_phrase)
            .any(|(_, language)| language.negates_before(&before) || language.negates_after(&after))
    }
}

impl Language {
    /// `before` are the words before a phrase, the nearest first.
    fn negates_before(&self, before: &[&Word]) -> bool {
        for reach in 0..=REACH_MAX.min(before.len()) {
            let here = before.get(reach..).unwrap_or_default();
            let ends_here = |row: &Vec<Part>| {
                row.len() <= here.len() && row.iter().rev().zip(here).all(|(part, word)| part.takes(word))
            };
            if self.negators.iter().any(ends_here) {
                return true;
            }
            if !here.first().is_some_and(|word| self.bridges.iter().any(|part| part.takes(word))) {
                return false;
            }
        }
        false
    }

    /// `after` are the words behind a phrase: a negator stands there at once, or behind one word.
    fn negates_after(&self, after: &[&Word]) -> bool {
        let begins = |row: &Vec<Part>, here: &[&Word]| {
            let ends_clause = row.last() == Some(&Part::Whole(String::new()));
            let row = row.get(..row.len() - usize::from(ends_clause)).unwrap_or_default();
            row.len() <= here.len()
                && row.iter().zip(here).all(|(part, word)| part.takes(word))
                && (!ends_clause || row.len() == here.len())
        };
        let behind = |skip: usize| after.get(skip..).unwrap_or_default();
        self.negators_after.iter().any(|row| begins(row, after) || begins(row, behind(1)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a line finds: `!` a request, `-` a negative phrase, nothing.
    fn check(table: &str) {
        let lexicon = Lexicon::built_in();
        let mut wrong = Vec::new();
        for line in table.lines().map(str::trim).filter(|line| !line.is_empty()) {
            let (expected, text) = line.split_once(' ').unwrap();
            let found = lexicon.find(&words(text));
            let has = |kind| found.iter().any(|hit| hit.kind == kind);
            let signs = [(Kind::Request, '!'), (Kind::Negative, '-')];
            let told: String =
                signs.into_iter().filter(|(kind, _)| has(*kind)).map(|(_, sign)| sign).collect();
            if told != expected.replace('.', "") {
                wrong.push(format!("{text:?}: expected {expected}, found {told:?}: {found:?}"));
            }
        }
        assert!(wrong.is_empty(), "\n{}\n", wrong.join("\n"));
    }

    #[test]
    fn english() {
        check(
            "
            ! I want to talk to a person! A real person, right now!
            ! can I speak with a real live human being please
            ! Agent.
            ! agent agent agent
            ! Human, please
            ! could you just uh transfer me to an agent
            ! put me through to your supervisor
            ! is there somebody I can talk to?
            ! Don't you have a human I could speak to?
            ! No! I want a person.
            ! no I need an agent
            ! I don't want to talk to a bot, give me a person
            ! i dont want a bot i want a person
            ! I don't understand I want a human
            ! I'm not going to repeat that. Let me talk to someone.
            ! I’d like a representative
            ! why can't I talk to a person
            ! talk to customer service
            . I don't want an agent
            . I do not want to speak to an agent
            . I don't need to talk to a person
            . I don't think I need a human
            . there is no need to transfer me to an agent
            . no human needed
            . No agent.
            . you don't have to get me an agent
            . I'd rather not talk to a person
            . I spoke to an agent yesterday
            . the agent was nice
            . I am a travel agent
            . You sound like a real person
            . I would like someone to look at the bill with me, please.
            . Hi, good morning. I got a bill from you last week, and I think there is a mistake on it.
            . My manager is on holiday
            - This is ridiculous!
            - this isn't helping
            - You are not listening to me! I have called three times, and nobody fixes it!
            - I already told you my account number
            - I am sick of this
            - that's a waste of my time
            - Stupid bot
            . This is not ridiculous at all
            . Oh, that's wonderful! Really? All of it?
            . it is a useless detail of the story
            !- I want to talk to a person! A real person, right now! I am sick of this!
            ",
        );
    }

    #[test]
    fn german() {
        check(
            "
            !. Ich will sofort einen Menschen sprechen! Seit drei Tagen geht hier nichts!
            ! ich möchte bitte mit einem Mitarbeiter sprechen
            ! Kann ich mit jemandem reden?
            ! verbinden Sie mich mit Ihrem Vorgesetzten
            ! Mitarbeiter
            ! einen echten Menschen bitte
            ! Nein, ich will einen Menschen!
            ! ich will keinen Bot ich will einen Menschen
            ! Ich will nicht mit einer Maschine reden, geben Sie mir einen Mitarbeiter
            . ich will keinen Mitarbeiter
            . Ich möchte nicht mit einem Menschen sprechen
            . ich will mit keinem Menschen sprechen
            . ich brauche keinen Berater
            . ich brauche den Mitarbeiter nicht
            . der Mitarbeiter war gestern da
            . Bitte starten Sie Ihren Router neu.
            - Die rote! Das habe ich Ihnen gerade gesagt! Das ist doch eine Frechheit!
            - Nein! Das habe ich schon gemacht! Zweimal! Hören Sie mir doch endlich zu!
            - zum dritten Mal
            . Das habe ich schon zweimal
            . Guten Tag. Mein Internet ist seit Montag ausgefallen, und ich arbeite von zu Hause.
            ",
        );
    }

    #[test]
    fn spanish_french_italian_portuguese() {
        check(
            "
            ! Quiero hablar con una persona
            ! ¿Puedo hablar con alguien?
            ! páseme con un agente, por favor
            ! Operador
            ! No, quiero un agente
            ! no quiero un robot quiero una persona real
            ! ¿por qué no puedo hablar con una persona?
            . no quiero hablar con un agente
            . no necesito un agente
            . Buenos días. Quería cambiar la fecha de mi cita con el dentista.
            - esto es ridículo
            - ya se lo he dicho tres veces
            - ¡Qué vergüenza!
            ! Je voudrais parler à un conseiller
            ! passez-moi quelqu'un
            ! je veux parler à une vraie personne
            ! un humain s'il vous plaît
            ! je ne veux pas parler à un robot je veux un humain
            . je ne veux pas parler à un agent
            . je n'ai pas besoin d'un conseiller
            . je ne veux parler à personne
            - c'est inacceptable
            - je vous l'ai déjà dit
            - j'en ai marre
            ! Vorrei parlare con un operatore
            ! mi passi un operatore
            ! voglio una persona vera
            . non voglio parlare con un operatore
            . non mi serve un operatore
            - è una vergogna
            - gliel'ho già detto
            ! Quero falar com um atendente
            ! me transfere para uma pessoa
            ! não quero um robô, quero uma pessoa
            . não quero falar com um atendente
            . não preciso de um atendente
            - isso é um absurdo
            - já falei
            ",
        );
    }

    #[test]
    fn turkish_and_korean() {
        check(
            "
            ! müşteri temsilcisiyle görüşmek istiyorum
            ! beni bir yetkiliye bağlayın
            ! gerçek bir insanla konuşmak istiyorum
            . temsilciyle görüşmek istemiyorum
            . temsilciye bağlamayın
            . temsilciye gerek yok
            - bu rezalet
            ! 상담원 연결해 주세요
            ! 사람이랑 얘기하고 싶어요
            ! 상담원 바꿔 주세요
            . 상담원 연결하지 마세요
            . 상담원 필요 없어요
            . 상담원 연결 안 해도 돼요
            - 정말 답답하네요
            ",
        );
    }

    #[test]
    fn a_policys_own_phrases_are_found_and_negated_in_any_language() {
        let own =
            Lexicon::of_phrases([(Kind::Request, "Brian from Sales"), (Kind::Negative, "señor desastre")]);
        let found = |text: &str| own.find(&words(text)).iter().map(|hit| hit.kind).collect::<Vec<_>>();
        assert_eq!(found("give me BRIAN, from sales"), []);
        assert_eq!(found("give me Brian from sales now"), [Kind::Request]);
        assert_eq!(found("Senor Desastre!"), [Kind::Negative]);
        assert_eq!(found("I don't want Brian from sales"), []);
        assert_eq!(found("kein Brian from Sales"), []);
    }

    #[test]
    fn the_longest_of_what_overlaps_is_told_with_its_place() {
        let text = "Please, I want to speak to a real person today";
        let spoken = words(text);
        let hits = Lexicon::built_in().find(&spoken);
        assert_eq!(hits.len(), 1, "{hits:?}");
        let said = &text[spoken[hits[0].from].from..spoken[hits[0].to - 1].to];
        assert_eq!(said, "speak to a real person");
    }

    #[test]
    fn the_language_is_that_of_the_function_words() {
        let language = |text: &str| Lexicon::built_in().language(&words(text)).map(str::to_owned);
        assert_eq!(language("I got a bill from you last week").as_deref(), Some("en"));
        assert_eq!(language("Das habe ich schon gemacht").as_deref(), Some("de"));
        assert_eq!(language("je ne sais pas ce que vous voulez").as_deref(), Some("fr"));
        assert_eq!(language("qwertz 12"), None);
    }

    #[test]
    fn a_file_that_names_no_set_is_refused_with_the_pattern() {
        let source = "[xx]\nstop = \"\"\nnegators = []\nbridges = \"\"\nexplicit_request = [\"a {b}\"]\nnegative = []\n[xx.sets]\n";
        let refused = Lexicon::parse(source).unwrap_err().to_string();
        assert!(refused.contains("\"a {b}\": names a set that is not there"), "{refused}");
    }

    #[test]
    fn any_text_at_all_is_survived() {
        use proptest::prelude::*;
        let lexicon = Lexicon::built_in();
        proptest!(|(text in "\\PC{0,400}", picked in prop::collection::vec(0usize..60, 0..200))| {
            let vocabulary: Vec<&String> = lexicon.exact.keys().step_by(29).take(60).collect();
            let spoken: Vec<&str> = picked.iter().filter_map(|n| vocabulary.get(*n)).map(|w| w.as_str()).collect();
            for text in [text.as_str(), &spoken.join(" ")] {
                let read = words(text);
                prop_assert!(read.len() <= super::super::text::WORDS_MAX);
                for word in &read {
                    prop_assert!(text.get(word.from..word.to).is_some());
                }
                for hit in lexicon.find(&read) {
                    prop_assert!(hit.from < hit.to && hit.to <= read.len());
                }
            }
        });
    }
}
