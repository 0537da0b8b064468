//! The names of SIP headers that carry a brief.

/// `reason_text` → `Reason-Text`.
pub(super) fn header_name(key: &str) -> String {
    let words = key.split(['_', '-']).filter(|word| !word.is_empty()).map(|word| {
        let plain = word.chars().filter(char::is_ascii_alphanumeric);
        plain.enumerate().map(|(n, c)| if n == 0 { c.to_ascii_uppercase() } else { c }).collect::<String>()
    });
    words.collect::<Vec<_>>().join("-")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_name_has_letters_digits_and_hyphens_only() {
        assert_eq!(header_name("reason_text"), "Reason-Text");
        assert_eq!(header_name("__a:\r\nb-2"), "Ab-2");
    }
}
