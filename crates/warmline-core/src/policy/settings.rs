//! What a settings file says that it should not, in words that mend it.

/// The line of a fault, from 1, and its reason. An unknown key is answered with the nearest of the keys that its table may hold.
pub fn fault(source: &str, error: &toml::de::Error) -> (usize, String) {
    let range = error.span().unwrap_or(0..0);
    let read = source.get(range.clone()).unwrap_or_default();
    let mut reason = error.message().to_owned();
    if let Some(known) = reason.strip_prefix("unknown field ") {
        let meant = nearest(read, expected(known)).map(|key| format!(": did you mean `{key}`?"));
        reason = format!("`{read}` is not a setting{}", meant.unwrap_or_default());
    }
    (line_of(source, range.start), reason)
}

/// The line, from 1, of a place in a text.
pub fn line_of(source: &str, at: usize) -> usize {
    1 + source.bytes().take(at).filter(|&b| b == b'\n').count()
}

/// The keys that serde lists: "`limit`, expected one of `limits`, `server`".
fn expected(message: &str) -> impl Iterator<Item = &str> {
    let (_, listed) = message.split_once(", expected ").unwrap_or_default();
    listed.split('`').skip(1).step_by(2)
}

/// The key with the fewest edits (Levenshtein), if they are no more than half of it.
fn nearest<'k>(read: &str, keys: impl Iterator<Item = &'k str>) -> Option<&'k str> {
    let (distance, key) = keys.map(|key| (strsim::levenshtein(read, key), key)).min()?;
    (distance <= key.len() / 2).then_some(key)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_setting_is_the_fewest_edits_away() {
        assert_eq!(nearest("cool_down_s", ["version", "cooldown_s"].into_iter()), Some("cooldown_s"));
        assert_eq!(nearest("completely_else", ["version", "cooldown_s"].into_iter()), None);
    }

    #[test]
    fn the_keys_of_a_table_are_those_that_serde_lists() {
        let keys = |message| expected(message).collect::<Vec<_>>();
        assert_eq!(keys("`a`, expected one of `b`, `c`"), ["b", "c"]);
        assert_eq!(keys("`a`, expected `b` or `c`"), ["b", "c"]);
        assert!(keys("`a`, there are no fields").is_empty());
    }
}
