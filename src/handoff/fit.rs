//! The packet cut to what a receiver takes: parts go, the least needed first, and what is left is a whole packet.

use serde_json::{Value, json};

use crate::packet::ContextPacket;

/// What is emptied in turn: the series, then turns from the oldest, then the moments and the rest of the conversation.
const LISTS: [&[&str]; 5] = [
    &["full", "trend", "scores"],
    &["full", "conversation", "turns"],
    &["full", "conversation", "key_presses"],
    &["full", "evidence"],
    &["full", "call", "metadata"],
];

/// The packet in at most `bytes_max` bytes of JSON. Lists are halved, the oldest first out, and emptied, one after the other; if that is not
/// enough, `ref` and `brief` are left, and at last `ref` alone. What was cut is named in `cut`, which is absent where nothing was.
pub fn fit(packet: &ContextPacket, bytes_max: usize) -> Value {
    let mut said = serde_json::to_value(packet).unwrap_or_default();
    let mut cut: Vec<String> = Vec::new();
    for path in LISTS {
        while size(&said, &cut) > bytes_max {
            let Some(list) = path.iter().try_fold(&mut said, |value, key| value.get_mut(*key)) else { break };
            match list {
                Value::Array(values) if !values.is_empty() => {
                    let gone = values.len().div_ceil(2);
                    // Moments are sorted by strength, and the weakest goes; all else is sorted by time.
                    if path.last() == Some(&"evidence") {
                        values.truncate(values.len() - gone);
                    } else {
                        values.drain(..gone);
                    }
                    if path.last() == Some(&"scores") {
                        // A series that begins later says so; rather than that, all of it goes.
                        values.clear();
                    }
                }
                Value::Object(map) if !map.is_empty() => map.clear(),
                Value::Array(_)
                | Value::Object(_)
                | Value::Null
                | Value::Bool(_)
                | Value::Number(_)
                | Value::String(_) => break,
            }
            let name = path.join(".");
            if cut.last() != Some(&name) {
                cut.push(name);
            }
        }
    }
    for tier in ["full", "brief"] {
        if size(&said, &cut) > bytes_max
            && let Some(map) = said.as_object_mut()
        {
            map.remove(tier);
            cut = vec![tier.into()];
        }
    }
    if let Some(map) = said.as_object_mut()
        && !cut.is_empty()
    {
        map.insert("cut".into(), json!(cut));
    }
    said
}

fn size(said: &Value, cut: &[String]) -> usize {
    let names: usize = cut.iter().map(|name| name.len() + 3).sum();
    said.to_string().len() + if cut.is_empty() { 0 } else { names + 10 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::packet::{Full, Speaker, Turn};

    #[test]
    fn a_packet_that_fits_is_left_alone() {
        let packet = packet(3);
        assert_eq!(fit(&packet, 20_000), serde_json::to_value(&packet).unwrap());
    }

    #[test]
    fn what_does_not_fit_loses_its_oldest_turns_and_says_so() {
        let packet = packet(400);
        let said = fit(&packet, 20_000);
        assert!(said.to_string().len() <= 20_000);
        assert_eq!(said["cut"], json!(["full.trend.scores", "full.conversation.turns"]));
        let turns = said["full"]["conversation"]["turns"].as_array().unwrap();
        assert!(!turns.is_empty() && turns.last().unwrap()["from_s"] == 399.0);
        assert!(serde_json::from_value::<ContextPacket>(said).is_ok(), "what is left is a packet");
    }

    #[test]
    fn whatever_the_limit_what_is_sent_is_within_it_down_to_the_reference() {
        let packet = packet(60);
        for limit in (250..12_000).step_by(130) {
            let said = fit(&packet, limit).to_string();
            assert!(said.len() <= limit, "{} bytes for {limit}: {said}", said.len());
        }
    }

    fn packet(turns: usize) -> ContextPacket {
        let golden = include_str!("../../tests/golden/context-packet.json");
        let packet: ContextPacket = serde_json::from_str(golden).unwrap();
        let mut full: Full = packet.full;
        full.trend.scores = vec![Some(0.5); 20];
        full.conversation.turns = (0..turns)
            .map(|n| Turn { speaker: Speaker::Caller, from_s: n as f64, to_s: n as f64 + 0.5 })
            .collect();
        ContextPacket::new(&packet.reference.transfer, full)
    }
}
