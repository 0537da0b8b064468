//! What must hold for any bytes whatever, shared by the fuzz target and the replay of its corpus.

use super::story::Story;
use warmline_wire::audiohook::Stream;

/// Plays `capture` as an AudioHook session, let in and not. What goes back is numbered without a hole, and nothing follows `closed`.
pub(crate) fn audiohook(capture: &[u8]) {
    for authorised in [true, false] {
        let story = Story::of(&mut Stream::new(authorised, None), capture);
        let said = story.lines.iter().filter_map(|line| line.strip_prefix("< {"));
        let mut closed = false;
        for (n, said) in (1..).zip(said) {
            let said: serde_json::Value = serde_json::from_str(&format!("{{{said}")).expect("JSON");
            assert_eq!(said["seq"], n);
            assert!(said["parameters"].is_object() && !closed);
            closed = said["type"] == "closed";
        }
    }
}
