//! What was said → words that can be compared: case, accents, apostrophes and punctuation no longer tell them apart.

/// Bytes of one utterance that are read; what is behind them is not.
pub const TEXT_MAX: usize = 4_096;

/// Words of one utterance that are read.
pub const WORDS_MAX: usize = 512;

/// One word, and where it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Word {
    /// As it is compared.
    pub text: String,
    /// First byte in the utterance.
    pub from: usize,
    /// The byte behind it.
    pub to: usize,
    /// Which clause it belongs to, from 0: punctuation ends one.
    pub clause: usize,
}

/// What follows an apostrophe and belongs to the word before it: `don't` is one word, `l'agent` are two.
const CONTRACTIONS: [&str; 7] = ["t", "s", "m", "re", "ve", "ll", "d"];

/// The words of an utterance.
pub fn words(text: &str) -> Vec<Word> {
    let mut words = Words { found: Vec::new(), open: None, clause: 0 };
    let text = bounded(text, TEXT_MAX);
    let mut before = ' ';
    for (at, c) in text.char_indices() {
        let after = text.get(at + c.len_utf8()..).unwrap_or_default();
        let next = after.chars().next().unwrap_or(' ');
        match c {
            '\'' | '’' | 'ʼ' | '`' if is_contraction(after) => {}
            '.' | ',' | ':' if before.is_ascii_digit() && next.is_ascii_digit() => {}
            c if is_mark(c) => {}
            c if c.is_alphanumeric() => words.push(at, c),
            '.' | ',' | ';' | ':' | '!' | '?' | '¡' | '¿' | '…' | '–' | '—' | '\n' | '。' | '、' | '？'
            | '！' => {
                words.close(at);
                words.clause += 1;
            }
            _ => words.close(at),
        }
        before = c;
        if words.found.len() == WORDS_MAX {
            return words.found;
        }
    }
    words.close(text.len());
    words.found
}

/// The longest start of `text` of at most so many bytes that ends between characters.
pub fn bounded(text: &str, bytes: usize) -> &str {
    text.get(..text.floor_char_boundary(bytes)).unwrap_or(text)
}

struct Words {
    found: Vec<Word>,
    open: Option<(usize, String)>,
    clause: usize,
}

impl Words {
    fn push(&mut self, at: usize, c: char) {
        let (_, text) = self.open.get_or_insert_with(|| (at, String::new()));
        for c in c.to_lowercase().filter(|c| !is_mark(*c)) {
            match plain(c) {
                Some(plain) => text.push_str(plain),
                None => push_composed(text, wide(c)),
            }
        }
    }

    fn close(&mut self, at: usize) {
        if let Some((from, text)) = self.open.take() {
            self.found.push(Word { text, from, to: at, clause: self.clause });
        }
    }
}

fn is_contraction(after: &str) -> bool {
    let end = after.find(|c: char| !c.is_alphabetic()).unwrap_or(after.len());
    after.get(..end).is_some_and(|part| CONTRACTIONS.iter().any(|c| part.eq_ignore_ascii_case(c)))
}

/// Combining diacritical marks: an accent written apart from its letter.
fn is_mark(c: char) -> bool {
    matches!(c, '\u{300}'..='\u{36F}')
}

/// A Latin letter without its accent.
fn plain(c: char) -> Option<&'static str> {
    Some(match c {
        'à' | 'á' | 'â' | 'ã' | 'ä' | 'å' | 'ā' | 'ă' | 'ą' => "a",
        'ç' | 'ć' | 'č' => "c",
        'ď' | 'đ' => "d",
        'è' | 'é' | 'ê' | 'ë' | 'ē' | 'ę' | 'ě' => "e",
        'ğ' => "g",
        'ì' | 'í' | 'î' | 'ï' | 'ī' | 'ı' => "i",
        'ł' => "l",
        'ñ' | 'ń' | 'ň' => "n",
        'ò' | 'ó' | 'ô' | 'õ' | 'ö' | 'ø' | 'ō' | 'ő' => "o",
        'ř' => "r",
        'ś' | 'š' | 'ş' | 'ș' => "s",
        'ß' => "ss",
        'ť' | 'ț' => "t",
        'ù' | 'ú' | 'û' | 'ü' | 'ū' | 'ů' | 'ű' => "u",
        'ý' | 'ÿ' => "y",
        'ź' | 'ż' | 'ž' => "z",
        'æ' => "ae",
        'œ' => "oe",
        _ => return None,
    })
}

/// A full-width letter or digit as the narrow one it stands for.
fn wide(c: char) -> char {
    match c {
        '\u{FF10}'..='\u{FF5A}' => char::from_u32(u32::from(c) - 0xFEE0).unwrap_or(c),
        c => c,
    }
}

/// Adds a character; Hangul written letter by letter becomes syllables (The Unicode Standard, section 3.12).
fn push_composed(text: &mut String, c: char) {
    const SYLLABLES: u32 = 0xAC00;
    let last = text.chars().next_back().map_or(0, u32::from);
    let composed = match (last, u32::from(c)) {
        (l @ 0x1100..=0x1112, v @ 0x1161..=0x1175) => SYLLABLES + ((l - 0x1100) * 21 + v - 0x1161) * 28,
        (lv @ 0xAC00..=0xD7A3, t @ 0x11A8..=0x11C2) if (lv - SYLLABLES).is_multiple_of(28) => lv + t - 0x11A7,
        _ => return text.push(c),
    };
    text.pop();
    text.extend(char::from_u32(composed));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: &str) {
        let mut clause = 0;
        let told: Vec<String> = words(text)
            .into_iter()
            .map(|word| {
                let bar = if std::mem::replace(&mut clause, word.clause) == word.clause { "" } else { "/ " };
                format!("{bar}{}", word.text)
            })
            .collect();
        assert_eq!(told.join(" "), expected, "{text}");
    }

    #[test]
    fn case_accents_and_apostrophes_tell_no_words_apart() {
        check("I DON'T want   an agent", "i dont want an agent");
        check("I don’t — stop! I've", "i dont / stop / ive");
        check("Können Sie mir HELFEN? Straße", "konnen sie mir helfen / strasse");
        check(
            "Je voudrais parler à l'humain, s'il vous plaît",
            "je voudrais parler a l humain / s il vous plait",
        );
        check("¿Señor? cafe\u{301}", "/ senor / cafe");
        check("İSTİYORUM ılık", "istiyorum ilik");
        check("\u{1109}\u{1161}\u{1105}\u{1161}\u{11B7}이랑", "사람이랑");
        check("it is 4.50, or 1,000 ４２", "it is 450 / or 1000 42");
        check("  ...  ", "");
    }

    #[test]
    fn a_word_knows_where_it_stood() {
        let text = "Señor, I don't!";
        let found: Vec<&str> = words(text).iter().map(|w| &text[w.from..w.to]).collect();
        assert_eq!(found, ["Señor", "I", "don't"]);
    }

    #[test]
    fn a_text_of_any_length_is_read_up_to_its_bound() {
        assert_eq!(words(&"a ".repeat(99_999)).len(), WORDS_MAX);
        assert_eq!(words(&"ä".repeat(99_999))[0].text.len(), TEXT_MAX / 2);
        assert_eq!(bounded("äöü", 3), "ä");
    }
}
