//! RTP packets as they arrive → audio in its order, with its place in the call. Absent here: sockets, clocks.

use std::collections::BTreeMap;

use crate::MAX_LEAP_S;
use warmline_core::{
    media::GapCause,
    units::{CallTime, SampleRate},
};

/// How long what is missing is waited for, once something behind it has come.
pub const REORDER_WAIT_US: u64 = 60_000;

/// Packets that may wait behind one that is missing; beyond, it counts as lost.
pub const MAX_HELD: usize = 32;

/// Bytes of the longest payload that is taken: what fits into a packet of Ethernet and then some.
pub const MAX_PAYLOAD: usize = 8_192;

/// A leap forward of more packets than this is no loss but another counting (RFC 3550 A.1).
const MAX_DROPOUT: u16 = 3_000;

/// A packet later than this many is no straggler but another counting (RFC 3550 A.1).
const MAX_MISORDER: u16 = 100;

/// A packet as it arrived.
#[derive(Clone, Copy, Debug)]
pub struct Arrival<'a> {
    /// The source.
    pub ssrc: u32,
    /// Its number, modulo 2^16.
    pub sequence: u16,
    /// The clock at its first sample, modulo 2^32.
    pub timestamp: u32,
    /// How many ticks of the clock its audio lasts; 0 of what is no audio (keys, comfort noise): its number counts, no more.
    pub ticks: u32,
    /// What the audio is; it may change from packet to packet.
    pub payload_type: u8,
    /// The audio.
    pub payload: &'a [u8],
}

/// What comes out, in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ordered<'a> {
    /// Audio.
    Media {
        /// Place of its first sample since the call's start, at the track's rate.
        position: u64,
        /// What it is.
        payload_type: u8,
        /// The audio.
        payload: &'a [u8],
    },
    /// What does not come: lost, or never sent because nobody spoke.
    Gap {
        /// Why.
        cause: GapCause,
        /// Place of the first sample missing.
        from: u64,
        /// Place of the first sample behind it.
        to: u64,
    },
}

/// What became of the packets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Given on.
    pub played: u64,
    /// Never came, or too late.
    pub lost: u64,
    /// Came when given up, or again when given on.
    pub late: u64,
    /// Came again while waiting.
    pub repeated: u64,
    /// Came before one that was sent before.
    pub reordered: u64,
    /// Were of no source: strays.
    pub stray: u64,
    /// New sources, the first among them.
    pub sources: u64,
}

/// Puts one track's packets in order.
///
/// Nothing is played here, so nothing waits for a clock: a packet in its turn goes on at once, one that came too early waits
/// for those before it, at most [`REORDER_WAIT_US`] and [`MAX_HELD`]. Places come from the sender's timestamps, so neither network
/// jitter nor a sender whose clock is fast or slow adds delay. Where packets are missing there is a gap and never a sound. A
/// source (RFC 3550 SSRC) is believed from its second packet in order on; where it begins in the call, its first one's arrival
/// says.
#[derive(Debug)]
pub struct JitterBuffer {
    clock: SampleRate,
    /// Samples a tick.
    scale: u64,
    source: Option<Source>,
    candidate: Option<Candidate>,
    held: BTreeMap<u64, Held>,
    spare: Vec<Vec<u8>>,
    /// The place expected next, ticks since the call's start.
    next: u64,
    counts: Counts,
    /// RFC 3550 A.8, in sixteenths of a tick.
    network_jitter: u64,
    transit: Option<i64>,
}

/// The source in use.
#[derive(Clone, Copy, Debug)]
struct Source {
    ssrc: u32,
    /// Extended number expected next.
    next: u64,
    /// The timestamp expected next.
    timestamp: u32,
    /// Whether numbers are missing since the last audio.
    hole: bool,
    /// A packet that fits no counting was the one before this number (RFC 3550 A.1 `bad_seq`).
    bad: Option<u16>,
}

/// A source that is not believed yet.
#[derive(Debug)]
struct Candidate {
    ssrc: u32,
    sequence: u16,
    held: Held,
}

#[derive(Debug)]
struct Held {
    timestamp: u32,
    ticks: u32,
    payload_type: u8,
    arrived: CallTime,
    payload: Vec<u8>,
}

impl JitterBuffer {
    /// A buffer for payload of that clock whose track has that rate (G.722: 8 kHz and 16 kHz).
    pub fn new(clock: SampleRate, rate: SampleRate) -> Self {
        Self {
            clock,
            scale: u64::from(rate.0 / clock.0.max(1)).max(1),
            source: None,
            candidate: None,
            held: BTreeMap::new(),
            spare: Vec::new(),
            next: 0,
            counts: Counts::default(),
            network_jitter: 0,
            transit: None,
        }
    }

    /// The source in use.
    pub fn ssrc(&self) -> Option<u32> {
        self.source.map(|source| source.ssrc)
    }

    /// What became of the packets so far.
    pub fn counts(&self) -> Counts {
        self.counts
    }

    /// The mean deviation of the packets' spacing on the network (RFC 3550 6.4.1), microseconds.
    pub fn network_jitter_us(&self) -> u64 {
        self.network_jitter * 1_000_000 / 16 / u64::from(self.clock.0.max(1))
    }

    /// Takes a packet; `now` is its arrival since the call's start.
    pub fn push(&mut self, now: CallTime, packet: &Arrival<'_>, told: &mut dyn FnMut(Ordered<'_>)) {
        if packet.payload.len() > MAX_PAYLOAD {
            self.counts.stray += 1;
            return;
        }
        match self.source {
            Some(source) if source.ssrc == packet.ssrc => {
                self.candidate = None;
                self.take(now, source, packet, told);
            }
            _ => self.consider(now, packet, told),
        }
        self.expire(now, told);
    }

    /// The moment that [`JitterBuffer::poll_timeout`] named has come.
    pub fn handle_timeout(&mut self, now: CallTime, told: &mut dyn FnMut(Ordered<'_>)) {
        self.expire(now, told);
    }

    /// When what is missing counts as lost.
    pub fn poll_timeout(&self) -> Option<CallTime> {
        self.held.values().map(|held| held.arrived.after_micros(REORDER_WAIT_US)).min()
    }

    /// Gives everything that still waits: at the call's end.
    pub fn flush(&mut self, told: &mut dyn FnMut(Ordered<'_>)) {
        if let (None, Some(only)) = (self.source, self.candidate.take()) {
            self.begin(only.ssrc, only.sequence, &only.held, told);
            self.next_in_turn(only.held, told);
        }
        while let Some((number, held)) = self.held.pop_first() {
            self.skip_to(number);
            self.next_in_turn(held, told);
        }
    }

    /// A packet of another source than the one in use.
    fn consider(&mut self, now: CallTime, packet: &Arrival<'_>, told: &mut dyn FnMut(Ordered<'_>)) {
        let follows = self.candidate.take_if(|candidate| {
            candidate.ssrc == packet.ssrc && candidate.sequence.wrapping_add(1) == packet.sequence
        });
        match follows {
            Some(first) => {
                self.flush(told);
                self.begin(first.ssrc, first.sequence, &first.held, told);
                self.next_in_turn(first.held, told);
                if let Some(source) = self.source {
                    self.take(now, source, packet, told);
                }
            }
            None => {
                let held = self.hold(now, packet);
                let stray =
                    self.candidate.replace(Candidate { ssrc: packet.ssrc, sequence: packet.sequence, held });
                self.counts.stray += u64::from(stray.is_some());
            }
        }
    }

    /// Believes a source: it begins where its first packet arrived, or right behind what was there before. The call's first
    /// source begins with the call if its first packet is no later than the network's own jitter.
    fn begin(&mut self, ssrc: u32, sequence: u16, first: &Held, told: &mut dyn FnMut(Ordered<'_>)) {
        let is_prompt = self.counts.sources == 0 && first.arrived.0 <= REORDER_WAIT_US;
        let arrived = first.arrived.0.saturating_mul(u64::from(self.clock.0)) / 1_000_000;
        if arrived > self.next && !is_prompt {
            if self.counts.sources > 0 {
                let (from, to) = (self.next * self.scale, arrived * self.scale);
                told(Ordered::Gap { cause: GapCause::Lost, from, to });
            }
            self.next = arrived;
        }
        self.counts.sources += 1;
        self.transit = None;
        // One cycle ahead, so that a packet from before the first one has a number too.
        let next = (1 << 16) + u64::from(sequence);
        self.source = Some(Source { ssrc, next, timestamp: first.timestamp, hole: false, bad: None });
    }

    /// A packet of the source in use (RFC 3550 A.1).
    fn take(
        &mut self,
        now: CallTime,
        source: Source,
        packet: &Arrival<'_>,
        told: &mut dyn FnMut(Ordered<'_>),
    ) {
        let ahead = packet.sequence.wrapping_sub(low_16(source.next));
        if ahead < MAX_DROPOUT {
            self.fit();
            self.observe_spacing(now, packet.timestamp);
        }
        if ahead == 0 {
            self.counts.reordered += u64::from(!self.held.is_empty());
            self.give(packet, told);
            self.advance(told);
        } else if ahead < MAX_DROPOUT {
            self.keep(now, source.next + u64::from(ahead), packet, told);
        } else if ahead > u16::MAX - MAX_MISORDER {
            self.counts.late += 1; // given up, or a repetition
        } else if source.bad == Some(packet.sequence) {
            // The second in a row of another counting: the sender began anew.
            self.flush(told);
            let held = self.hold(now, packet);
            self.begin(source.ssrc, packet.sequence, &held, told);
            self.next_in_turn(held, told);
        } else {
            self.counts.stray += 1;
            if let Some(source) = &mut self.source {
                source.bad = Some(packet.sequence.wrapping_add(1));
            }
        }
    }

    /// A packet fits the counting: one that did not was a stray.
    fn fit(&mut self) {
        if let Some(source) = &mut self.source {
            source.bad = None;
        }
    }

    /// Keeps a packet that came before its turn.
    fn keep(&mut self, now: CallTime, number: u64, packet: &Arrival<'_>, told: &mut dyn FnMut(Ordered<'_>)) {
        if self.held.contains_key(&number) {
            self.counts.repeated += 1;
            return;
        }
        if self.held.last_key_value().is_some_and(|(last, _)| number < *last) {
            self.counts.reordered += 1;
        }
        let held = self.hold(now, packet);
        self.held.insert(number, held);
        if self.held.len() > MAX_HELD {
            self.give_up(told);
        }
    }

    /// Gives up what has been waited for long enough.
    fn expire(&mut self, now: CallTime, told: &mut dyn FnMut(Ordered<'_>)) {
        while self.poll_timeout().is_some_and(|at| at <= now) {
            self.give_up(told);
        }
    }

    /// Counts what is missing before the first packet that waits as lost, and goes on with that one.
    fn give_up(&mut self, told: &mut dyn FnMut(Ordered<'_>)) {
        if let Some((number, held)) = self.held.pop_first() {
            self.skip_to(number);
            self.next_in_turn(held, told);
            self.advance(told);
        }
    }

    /// Goes on with what waited for its turn.
    fn advance(&mut self, told: &mut dyn FnMut(Ordered<'_>)) {
        while let Some(held) = self.source.and_then(|source| self.held.remove(&source.next)) {
            self.next_in_turn(held, told);
        }
    }

    /// Makes a number the next, whatever is missing before it.
    fn skip_to(&mut self, number: u64) {
        if let Some(source) = &mut self.source {
            self.counts.lost += number.saturating_sub(source.next);
            source.hole |= number > source.next;
            source.next = number;
        }
    }

    fn next_in_turn(&mut self, held: Held, told: &mut dyn FnMut(Ordered<'_>)) {
        let packet = Arrival {
            ssrc: 0,
            sequence: 0,
            timestamp: held.timestamp,
            ticks: held.ticks,
            payload_type: held.payload_type,
            payload: &held.payload,
        };
        self.give(&packet, told);
        if self.spare.len() < MAX_HELD {
            self.spare.push(held.payload);
        }
    }

    /// Gives a packet whose turn it is. Behind a hole in the numbers, a leap of the clock is loss; without one, silence.
    fn give(&mut self, packet: &Arrival<'_>, told: &mut dyn FnMut(Ordered<'_>)) {
        let Arrival { timestamp, ticks, payload_type, payload, .. } = *packet;
        let Some(source) = &mut self.source else { return };
        source.next += 1;
        if ticks == 0 {
            return;
        }
        let leap = u64::from(timestamp.wrapping_sub(source.timestamp));
        source.timestamp = timestamp.wrapping_add(ticks);
        let cause = if std::mem::take(&mut source.hole) { GapCause::Lost } else { GapCause::Dtx };
        // A clock set back, or out of all time, counts anew: the audio follows what was before.
        let leap = if leap <= MAX_LEAP_S * u64::from(self.clock.0) { leap } else { 0 };
        let from = self.next;
        let to = from + leap;
        self.next = to + u64::from(ticks);
        self.counts.played += 1;
        if leap > 0 {
            told(Ordered::Gap { cause, from: from * self.scale, to: to * self.scale });
        }
        told(Ordered::Media { position: to * self.scale, payload_type, payload });
    }

    fn hold(&mut self, now: CallTime, packet: &Arrival<'_>) -> Held {
        let mut payload = self.spare.pop().unwrap_or_default();
        payload.clear();
        payload.extend_from_slice(packet.payload);
        Held {
            timestamp: packet.timestamp,
            ticks: packet.ticks,
            payload_type: packet.payload_type,
            arrived: now,
            payload,
        }
    }

    /// RFC 3550 A.8: `J += (|d| - J) / 16`, in sixteenths.
    #[allow(
        clippy::cast_possible_wrap,
        reason = "arrival in ticks stays far below 2^63, and only a difference counts"
    )]
    fn observe_spacing(&mut self, now: CallTime, timestamp: u32) {
        let arrival = (now.0.saturating_mul(u64::from(self.clock.0)) / 1_000_000) as i64;
        let transit = arrival - i64::from(timestamp);
        if let Some(before) = self.transit.replace(transit) {
            let d = (transit - before).unsigned_abs();
            if d < u64::from(self.clock.0) {
                self.network_jitter =
                    (self.network_jitter + d).saturating_sub((self.network_jitter + 8) >> 4);
            }
        }
    }
}

#[allow(clippy::cast_possible_truncation, reason = "a number modulo 2^16 is what the wire has")]
fn low_16(number: u64) -> u16 {
    number as u16
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const STEP: u32 = 160;

    #[test]
    fn packets_in_order_go_on_at_once() {
        let mut story = Story::new();
        story.all(0..3);
        assert_eq!(story.lines, ["0: 0", "160: 1", "320: 2"]);
        assert_eq!(story.buffer.poll_timeout(), None);
    }

    #[test]
    fn packets_out_of_order_are_put_in_order() {
        let mut story = Story::new();
        story.all([0, 1, 4, 3, 2, 5]);
        assert_eq!(story.lines, ["0: 0", "160: 1", "320: 2", "480: 3", "640: 4", "800: 5"]);
        assert_eq!(story.buffer.counts().reordered, 2);
    }

    #[test]
    fn loss_is_a_gap_after_the_bound_and_never_a_click() {
        let mut story = Story::new();
        story.all([0, 1, 4, 5]);
        assert_eq!(story.lines, ["0: 0", "160: 1"]);
        let at = story.buffer.poll_timeout().unwrap();
        story.timeout(at);
        assert_eq!(story.lines[2..], ["lost 320..640", "640: 4", "800: 5"]);
        story.all([2, 6]); // too late for 2
        assert_eq!(story.lines[5..], ["960: 6"]);
        let counts = story.buffer.counts();
        assert_eq!((counts.lost, counts.late, counts.played), (2, 1, 5));
    }

    #[test]
    fn no_more_than_a_bound_waits() {
        let bound = u32::try_from(MAX_HELD).unwrap();
        let mut story = Story::new();
        story.now = Some(CallTime(1_000)); // time stands still
        story.all([0, 1]);
        story.all(3..3 + bound);
        assert_eq!(story.lines.len(), 2);
        story.all([3 + bound]);
        assert_eq!(story.lines.len(), 2 + 1 + MAX_HELD + 1);
    }

    #[test]
    fn sequence_and_timestamp_wrap() {
        let mut story = Story::new();
        story.sequence = 65_533;
        story.timestamp = u32::MAX - 3 * STEP + 1;
        story.all([0, 1, 2, 4, 3, 5, 6]);
        let expected: Vec<_> = (0..7).map(|n| format!("{}: {n}", n * STEP)).collect();
        assert_eq!(story.lines, expected);
        assert_eq!(story.buffer.counts().lost, 0);
    }

    #[test]
    fn a_day_of_packets_wraps_many_times() {
        let mut story = Story::new();
        story.timestamp = u32::MAX - 1_000;
        for n in 0..300_000 {
            story.lines.clear();
            story.all([n]);
        }
        assert_eq!(story.lines, [format!("{}: {}", 299_999u64 * 160, 299_999u32 % 256)]);
        assert_eq!(story.buffer.counts().lost, 0);
    }

    #[test]
    fn silence_that_is_not_sent_is_dtx_and_not_loss() {
        let mut story = Story::new();
        story.all([0, 1]);
        story.timestamp += 8_000; // a second of silence, no number missing
        story.all([2]);
        assert_eq!(story.lines[2..], ["dtx 320..8320", "8320: 2"]);
        assert_eq!(story.buffer.counts().lost, 0);
    }

    #[test]
    fn keys_take_numbers_and_no_audio() {
        let mut story = Story::new();
        story.all([0, 1]);
        for n in 2..8 {
            story.push(n, 0, &[]);
        }
        story.all([8]);
        assert_eq!(story.lines[2..], ["dtx 320..1280", "1280: 8"]);
    }

    #[test]
    fn a_new_source_keeps_the_calls_clock() {
        let mut story = Story::new();
        story.all(0..5);
        story.ssrc = 2;
        story.sequence = 40_000;
        story.timestamp = 123_456;
        story.all(25..28); // half a second of ringing later
        assert_eq!(story.lines[5..], ["lost 800..4000", "4000: 25", "4160: 26", "4320: 27"]);
        assert_eq!(story.buffer.counts().sources, 2);
    }

    #[test]
    fn a_stray_packet_of_another_source_changes_nothing() {
        let mut story = Story::new();
        story.all(0..3);
        story.ssrc = 9;
        story.all([77]);
        story.ssrc = 1;
        story.all(3..5);
        assert_eq!(story.lines.len(), 5);
        assert_eq!(story.buffer.counts().sources, 1);
    }

    #[test]
    fn a_sender_that_counts_anew_is_followed_from_its_second_packet() {
        let mut story = Story::new();
        story.all(0..3);
        story.sequence = 30_000;
        story.timestamp = 5_000_000;
        story.all(3..6);
        assert_eq!(story.lines[3..], ["lost 480..640", "640: 4", "800: 5"]);
    }

    #[test]
    fn a_packet_that_comes_twice_is_given_once() {
        let mut story = Story::new();
        story.all([0, 0, 1, 1, 3, 3, 2, 2, 3]);
        assert_eq!(story.lines, ["0: 0", "160: 1", "320: 2", "480: 3"]);
    }

    #[test]
    fn a_clock_that_drifts_adds_no_delay_and_no_gap() {
        for ppm in [-300i64, 300] {
            let mut story = Story::new();
            for n in 0..180_000u64 {
                let us = i64::try_from(n * 20_000).unwrap();
                story.now = Some(CallTime(u64::try_from(us + us * ppm / 1_000_000).unwrap()));
                story.lines.clear();
                story.all([u32::try_from(n).unwrap()]);
                assert!(story.buffer.held.is_empty());
            }
            assert_eq!(
                story.lines,
                [format!("{}: {}", 179_999u64 * 160, 179_999u32 % 256)],
                "an hour at {ppm} ppm"
            );
        }
    }

    #[test]
    fn the_clock_of_g722_counts_every_second_sample() {
        let mut buffer = JitterBuffer::new(SampleRate(8_000), SampleRate(16_000));
        let mut positions = Vec::new();
        for n in 0..3u16 {
            let packet = Arrival {
                ssrc: 1,
                sequence: n,
                timestamp: u32::from(n) * 160,
                ticks: 160,
                payload_type: 9,
                payload: &[0; 160],
            };
            buffer.push(CallTime::ZERO, &packet, &mut |ordered| {
                if let Ordered::Media { position, .. } = ordered {
                    positions.push(position);
                }
            });
        }
        assert_eq!(positions, [0, 320, 640]);
    }

    #[test]
    fn network_jitter_is_the_rfcs() {
        let mut story = Story::new();
        let mut j = 0.0f64;
        for n in 0..400u64 {
            let late = if n % 2 == 0 { 0 } else { 4_000 }; // every second packet 4 ms late
            story.now = Some(CallTime(n * 20_000 + late));
            story.all([u32::try_from(n).unwrap()]);
            if n >= 2 {
                j += (32.0 - j) / 16.0; // 4 ms are 32 ticks
            }
        }
        let us = story.buffer.network_jitter_us() as f64;
        assert!((us - j / 8_000.0 * 1e6).abs() < 150.0, "{us}");
    }

    #[test]
    fn what_waits_comes_at_the_end() {
        let mut story = Story::new();
        story.all([0, 1, 5]);
        let lines = &mut story.lines;
        story.buffer.flush(&mut |ordered| lines.push(line(&ordered)));
        assert_eq!(story.lines[2..], ["lost 320..800", "800: 5"]);
        let mut story = Story::new();
        story.all([0]);
        let lines = &mut story.lines;
        story.buffer.flush(&mut |ordered| lines.push(line(&ordered)));
        assert_eq!(story.lines, ["0: 0"]);
    }

    proptest! {
        #[test]
        fn however_packets_are_shuffled_places_rise_and_audio_stands_where_it_was_sent(
            jumble in prop::collection::vec((0u32..60, 0u64..30_000), 1..200),
        ) {
            let mut story = Story::new();
            let mut now = 0;
            let mut next = 0;
            for (n, us) in jumble {
                now += us;
                story.now = Some(CallTime(now));
                story.all([n]);
            }
            let lines = &mut story.lines;
            story.buffer.flush(&mut |ordered| lines.push(line(&ordered)));
            let mut first = None;
            for line in &story.lines {
                let Some((position, n)) = line.split_once(": ") else { continue };
                let (position, n): (u64, u64) = (position.parse().unwrap(), n.parse().unwrap());
                let at = *first.get_or_insert(position.wrapping_sub(n * 160));
                prop_assert!(position >= next, "{line}");
                prop_assert_eq!(position.wrapping_sub(n * 160), at);
                next = position + 160;
            }
            prop_assert!(story.buffer.held.is_empty() && story.buffer.spare.len() <= MAX_HELD);
        }
    }

    struct Story {
        buffer: JitterBuffer,
        lines: Vec<String>,
        ssrc: u32,
        sequence: u16,
        timestamp: u32,
        /// Arrival, if not when sent.
        now: Option<CallTime>,
    }

    impl Story {
        fn new() -> Self {
            Self {
                buffer: JitterBuffer::new(SampleRate(8_000), SampleRate(8_000)),
                lines: Vec::new(),
                ssrc: 1,
                sequence: 0,
                timestamp: 0,
                now: None,
            }
        }

        fn all(&mut self, packets: impl IntoIterator<Item = u32>) {
            for n in packets {
                self.push(n, STEP, &[n.to_le_bytes()[0]; STEP as usize]);
            }
        }

        fn push(&mut self, n: u32, ticks: u32, payload: &[u8]) {
            let packet = Arrival {
                ssrc: self.ssrc,
                sequence: self.sequence.wrapping_add(low_16(n.into())),
                timestamp: self.timestamp.wrapping_add(n.wrapping_mul(STEP)),
                ticks,
                payload_type: 0,
                payload,
            };
            let now = self.now.unwrap_or(CallTime(u64::from(n) * 20_000));
            let lines = &mut self.lines;
            self.buffer.push(now, &packet, &mut |ordered| lines.push(line(&ordered)));
        }

        fn timeout(&mut self, now: CallTime) {
            let lines = &mut self.lines;
            self.buffer.handle_timeout(now, &mut |ordered| lines.push(line(&ordered)));
        }
    }

    fn line(ordered: &Ordered<'_>) -> String {
        match ordered {
            Ordered::Media { position, payload, .. } => format!("{position}: {}", payload[0]),
            Ordered::Gap { cause, from, to } => {
                format!("{} {from}..{to}", format!("{cause:?}").to_lowercase())
            }
        }
    }
}
