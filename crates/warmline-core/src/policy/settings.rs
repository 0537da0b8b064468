//! What a settings file says that it should not, in words that mend it.

/// The line of a fault, from 1, and its reason. Of a key that is not known it names the nearest of `keys`.
pub fn fault(source: &str, error: &toml::de::Error, keys: &[&str]) -> (usize, String) {
    let range = error.span().unwrap_or(0..0);
    let read = source.get(range.clone()).unwrap_or_default();
    let mut reason = error.message().to_owned();
    if error.message().starts_with("unknown field") {
        let meant = nearest(read, keys).map(|key| format!(": did you mean `{key}`?")).unwrap_or_default();
        reason = format!("`{read}` is not a setting{meant}");
    }
    (line_of(source, range.start), reason)
}

/// The line, from 1, of a place in a text.
pub fn line_of(source: &str, at: usize) -> usize {
    1 + source.bytes().take(at).filter(|&b| b == b'\n').count()
}

fn nearest<'k>(read: &str, keys: &[&'k str]) -> Option<&'k str> {
    let (distance, key) = keys.iter().map(|key| (edits(read, key), *key)).min()?;
    (distance <= key.len() / 2).then_some(key)
}

/// Levenshtein's distance: the fewest insertions, deletions and replacements that turn `a` into `b`.
fn edits(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.chars().count()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut left = i + 1;
        let mut diagonal = i;
        let mut cells = row.iter_mut();
        cells.next().into_iter().for_each(|first| *first = left);
        for (above, y) in cells.zip(b.chars()) {
            left = (diagonal + usize::from(x != y)).min(left.min(*above) + 1);
            diagonal = std::mem::replace(above, left);
        }
    }
    row.last().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_setting_is_the_fewest_edits_away() {
        assert_eq!([edits("", "abc"), edits("kitten", "sitting"), edits("exit", "exit")], [3, 3, 0]);
        assert_eq!(nearest("cool_down_s", &["version", "cooldown_s"]), Some("cooldown_s"));
        assert_eq!(nearest("completely_else", &["version", "cooldown_s"]), None);
    }
}
