//! How a human may open the conversation.

use std::{collections::BTreeMap, sync::LazyLock};

use crate::policy::Cue;

/// Language → cue → opening.
static OPENINGS: LazyLock<BTreeMap<String, BTreeMap<Cue, String>>> = LazyLock::new(|| {
    toml::from_str(include_str!("advice.toml"))
        .unwrap_or_else(|error| unreachable!("the built-in openings are tested: {error}"))
});

/// An opening: the policy's own, or the one for this cue in this language; English where there is none.
pub fn opening(own: Option<&str>, cue: Cue, language: Option<&str>, problem: Option<&str>) -> String {
    let of = |language: &str| OPENINGS.get(language).and_then(|openings| openings.get(&cue));
    let template = own.or_else(|| language.and_then(of).or_else(|| of("en")).map(String::as_str));
    filled(template.unwrap_or_default(), problem)
}

fn filled(template: &str, problem: Option<&str>) -> String {
    let mut opening = String::new();
    let mut rest = template;
    while let Some((before, after)) = rest.split_once('[') {
        let (inside, after) = after.split_once(']').unwrap_or((after, ""));
        opening.push_str(before);
        if let Some(problem) = problem {
            opening.push_str(&inside.replace("{problem}", problem));
        }
        rest = after;
    }
    opening.push_str(rest);
    opening
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_opening_names_the_problem_where_it_is_known() {
        let template = "Sorry.[ About \"{problem}\":] go on.";
        assert_eq!(filled(template, Some("the bill")), "Sorry. About \"the bill\": go on.");
        assert_eq!(filled(template, None), "Sorry. go on.");
        assert_eq!(filled("plain", Some("x")), "plain");
    }

    #[test]
    fn every_cue_has_an_opening_and_a_language_without_its_own_takes_the_english() {
        let cues = [
            Cue::Frustration,
            Cue::ExplicitRequest,
            Cue::NegativePhrase,
            Cue::Repetition,
            Cue::NoProgress,
            Cue::BargeIn,
            Cue::LongWait,
            Cue::Manual,
        ];
        for cue in cues {
            let english = opening(None, cue, Some("en"), None);
            assert!(english.len() > 20 && !english.contains(['[', '{']), "{english}");
            assert_eq!(opening(None, cue, Some("ko"), None), english);
        }
        assert!(opening(None, Cue::Frustration, Some("de"), None).starts_with("Ich höre"));
        assert_eq!(opening(Some("Hi"), Cue::Frustration, Some("de"), None), "Hi");
        for openings in OPENINGS.values().flat_map(BTreeMap::values) {
            assert!(openings.contains("[ ") && openings.contains("{problem}"), "{openings}");
        }
    }
}
