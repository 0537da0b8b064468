//! What of the words is kept from packets and events.

use super::{
    lexicon::{Kind, Lexicon},
    text::{TEXT_MAX, Word, bounded, words},
};
use crate::policy::Redact;

/// Digits of a number that is personal: shorter ones are amounts, dates and house numbers.
const NUMBER_DIGITS_MIN: usize = 5;

/// Digits of a card number (ISO/IEC 7812-1).
const CARD_DIGITS: std::ops::RangeInclusive<usize> = 13..=19;

/// Words of a name.
const NAME_WORDS: usize = 2;

/// `text` with `[card]`, `[number]`, `[e-mail]` and `[name]` in the place of what `rules` keep back. Digits that are spoken one by one count as
/// digits. What is behind [`TEXT_MAX`] is left out: nobody looked at it.
pub fn redacted(text: &str, rules: Redact) -> String {
    let text = bounded(text, TEXT_MAX);
    let (lexicon, spoken) = (Lexicon::built_in(), words(text));
    let mut spans: Vec<(usize, usize, &str)> = Vec::new();
    if rules.emails {
        spans.extend(emails(text).map(|(from, to)| (from, to, "[e-mail]")));
    }
    if rules.cards || rules.numbers {
        for run in runs(lexicon, &spoken) {
            if rules.cards {
                spans.extend(card(run.as_slice()).map(|(from, to)| (from, to, "[card]")));
            }
            let digits: usize = run.iter().map(|(_, digits)| digits.len()).sum();
            if let (true, Some((first, _)), Some((last, _))) = (rules.numbers, run.first(), run.last())
                && digits >= NUMBER_DIGITS_MIN
            {
                spans.push((first.from, last.to, "[number]"));
            }
        }
    }
    if rules.names {
        for hit in lexicon.find(&spoken).into_iter().filter(|hit| hit.kind == Kind::Name) {
            let clause = hit.to.checked_sub(1).and_then(|last| spoken.get(last)).map(|word| word.clause);
            let behind = spoken.get(hit.to..).unwrap_or_default();
            let name: Vec<&Word> =
                behind.iter().take(NAME_WORDS).take_while(|word| Some(word.clause) == clause).collect();
            let name: Vec<&Word> =
                name.iter().copied().take_while(|word| lexicon.content([*word]).next().is_some()).collect();
            if let (Some(first), Some(last)) = (name.first(), name.last()) {
                spans.push((first.from, last.to, "[name]"));
            }
        }
    }
    replace(text, spans)
}

/// Rows of words that are digits, each word with its digits.
fn runs<'w>(lexicon: &Lexicon, spoken: &'w [Word]) -> Vec<Vec<(&'w Word, String)>> {
    let mut runs = vec![Vec::new()];
    for word in spoken {
        match (lexicon.digits(word), runs.last_mut()) {
            (Some(digits), Some(run)) => run.push((word, digits)),
            (None, Some(run)) if run.is_empty() => {}
            _ => runs.push(Vec::new()),
        }
    }
    runs
}

/// Where a card number stands in a row of digits, if one does.
fn card(run: &[(&Word, String)]) -> Option<(usize, usize)> {
    (0..run.len()).find_map(|start| {
        let rest = run.get(start..).unwrap_or_default();
        let ends = rest.iter().scan(String::new(), |digits, (word, more)| {
            digits.push_str(more);
            let is_card = CARD_DIGITS.contains(&digits.len()) && is_checked(digits);
            (digits.len() <= *CARD_DIGITS.end()).then_some(is_card.then_some(word.to))
        });
        Some((rest.first()?.0.from, ends.flatten().last()?))
    })
}

/// Luhn's check digit (ISO/IEC 7812-1, annex B).
fn is_checked(digits: &str) -> bool {
    let sum: u32 = digits
        .bytes()
        .rev()
        .zip([false, true].into_iter().cycle())
        .map(|(byte, doubled)| match (u32::from(byte.saturating_sub(b'0')), doubled) {
            (digit, false) => digit,
            (digit @ 0..=4, true) => 2 * digit,
            (digit, true) => 2 * digit - 9,
        })
        .sum();
    sum.is_multiple_of(10)
}

/// Words with an @ and a dot behind it.
fn emails(text: &str) -> impl Iterator<Item = (usize, usize)> + '_ {
    let edge = |c: char| !c.is_alphanumeric() && !"._%+-@".contains(c);
    text.split(edge).filter_map(move |word| {
        let word = word.trim_matches(|c: char| !c.is_alphanumeric());
        let (name, domain) = word.split_once('@')?;
        let from = word.as_ptr().addr() - text.as_ptr().addr();
        (!name.is_empty() && domain.contains('.')).then_some((from, from + word.len()))
    })
}

fn replace(text: &str, mut spans: Vec<(usize, usize, &str)>) -> String {
    spans.sort_by_key(|(from, to, _)| (*from, std::cmp::Reverse(*to)));
    let (mut out, mut at) = (String::with_capacity(text.len()), 0);
    for (from, to, label) in spans {
        if from >= at {
            out.push_str(text.get(at..from).unwrap_or_default());
            out.push_str(label);
        }
        at = at.max(to);
    }
    out.push_str(text.get(at..).unwrap_or_default());
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    const NONE: Redact = Redact { cards: false, numbers: false, emails: false, names: false };

    fn check(rules: Redact, text: &str, expected: &str) {
        assert_eq!(redacted(text, rules), expected);
    }

    #[test]
    fn a_card_number_goes_however_it_is_said() {
        let cards = Redact { cards: true, ..NONE };
        check(cards, "it is 4111 1111 1111 1111, until May", "it is [card], until May");
        check(cards, "4111-1111-1111-1111", "[card]");
        check(cards, "card 4111111111111111!", "card [card]!");
        let spoken = "four one one one one one one one one one one one one one one one";
        check(cards, &format!("my card is {spoken} okay"), "my card is [card] okay");
        check(cards, "zu 4 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1", "zu [card]");
        check(cards, "it is 4111 1111 1111 1112", "it is 4111 1111 1111 1112");
        check(cards, "account 12345678", "account 12345678");
        check(NONE, "4111 1111 1111 1111", "4111 1111 1111 1111");
    }

    #[test]
    fn numbers_mails_and_names_go_where_the_policy_says_so() {
        let numbers = Redact { numbers: true, ..NONE };
        check(numbers, "account 12 34 56 and 400 dollars", "account [number] and 400 dollars");
        check(numbers, "I owe 400 dollars since 2024", "I owe 400 dollars since 2024");
        check(numbers, "call +1 (555) 010-0199 please", "call +[number] please");
        let emails = Redact { emails: true, ..NONE };
        check(emails, "write to ada.l@example.com.", "write to [e-mail].");
        check(emails, "meet me @ noon", "meet me @ noon");
        let names = Redact { names: true, ..NONE };
        check(names, "Hi, my name is Ada Lovelace and I", "Hi, my name is [name] and I");
        check(names, "Ich heiße Ümit, guten Tag", "Ich heiße [name], guten Tag");
    }

    #[test]
    fn luhn_agrees_with_the_published_example() {
        assert!(is_checked("79927398713"));
        assert!((0..=9).filter(|d| is_checked(&format!("7992739871{d}"))).count() == 1);
    }

    #[test]
    fn any_text_at_all_is_survived() {
        use proptest::prelude::*;
        proptest!(|(text in "[\\PC0-9@. ]{0,300}")| {
            let clean = redacted(&text, Redact::ALL);
            prop_assert_eq!(&redacted(&clean, Redact::ALL), &clean);
        });
    }
}
