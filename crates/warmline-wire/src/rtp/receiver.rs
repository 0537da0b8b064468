//! Datagrams of one RTP stream → one track's messages, in the vocabulary of every protocol. Absent here: sockets, clocks.

use super::jitter::{Arrival, Counts, JitterBuffer, Ordered};
use crate::{
    Message,
    rtp::{self, Datagram, Keys, Latch, Packet, Payload, PayloadTypes, Report},
};
use warmline_core::media::{Decoder, TrackFormat};
use warmline_core::{media::Speaker, units::CallTime};

/// One RTP stream: whose datagrams are taken, in which order, and what they hold. `A` is a sender's address with its port.
///
/// What comes out is linear samples of one channel, little-endian, at the rate of the first payload, whatever payload types come.
/// It tells no [`Message::Started`]: RTP does not say which call this is; [`Receiver::format`] is known with the first audio.
pub struct Receiver<A> {
    role: Speaker,
    types: PayloadTypes,
    latch: Latch<A>,
    keys: Keys,
    track: Option<Playing>,
    /// What was told once: a payload type nobody declared, one of another rate, a datagram that is no RTP.
    told: [bool; 3],
    stopped: bool,
}

/// A track whose format is known.
struct Playing {
    buffer: JitterBuffer,
    clock: u32,
    decoders: Decoders,
}

/// A decoder for each payload type that came, of the same rate all.
struct Decoders {
    format: TrackFormat,
    of: Vec<(u8, Decoder)>,
}

impl<A: Copy + PartialEq> Receiver<A> {
    /// A stream that carries this role's voice.
    pub fn new(role: Speaker, types: PayloadTypes) -> Self {
        Self {
            role,
            types,
            latch: Latch::new(),
            keys: Keys::default(),
            track: None,
            told: [false; 3],
            stopped: false,
        }
    }

    /// How the samples that come out are written, once the first audio has come.
    pub fn format(&self) -> Option<TrackFormat> {
        self.track.as_ref().map(|track| track.decoders.format)
    }

    /// What became of the packets, and how many came from somebody else.
    pub fn counts(&self) -> (Counts, u64) {
        (self.track.as_ref().map(|track| track.buffer.counts()).unwrap_or_default(), self.latch.refused())
    }

    /// Takes a datagram; `now` is its arrival since the call's start.
    pub fn handle_datagram(
        &mut self,
        now: CallTime,
        from: A,
        datagram: &[u8],
        told: &mut dyn FnMut(Message<'_>),
    ) {
        if self.stopped {
            return;
        }
        match rtp::parse(datagram) {
            // Garbage latches nobody.
            Err(error) => self.tell_once(2, told, || error.to_string()),
            Ok(Datagram::Rtp(_)) if !self.latch.admits(from) => {}
            Ok(Datagram::Rtp(packet)) => self.packet(now, &packet, told),
            // Nor do reports, which come first and may come from a port of their own (ffmpeg).
            Ok(Datagram::Rtcp(_)) if self.latch.peer() != Some(from) => {}
            Ok(Datagram::Rtcp(mut reports)) => {
                let ours = self.track.as_ref().and_then(|track| track.buffer.ssrc());
                if reports.any(|report| matches!(report, Report::Bye { ssrc } if Some(ssrc) == ours)) {
                    self.stop("bye", told);
                }
            }
        }
    }

    /// The moment that [`Receiver::poll_timeout`] named has come.
    pub fn handle_timeout(&mut self, now: CallTime, told: &mut dyn FnMut(Message<'_>)) {
        let track = self.role;
        if let Some(Playing { buffer, decoders, .. }) = &mut self.track {
            buffer.handle_timeout(now, &mut |ordered| decoders.tell(track, ordered, told));
        }
    }

    /// When to come back at the latest.
    pub fn poll_timeout(&self) -> Option<CallTime> {
        self.track.as_ref().filter(|_| !self.stopped)?.buffer.poll_timeout()
    }

    /// The call is over, or nothing has come for too long.
    pub fn stop(&mut self, cause: &'static str, told: &mut dyn FnMut(Message<'_>)) {
        let track = self.role;
        if std::mem::replace(&mut self.stopped, true) {
            return;
        }
        if let Some(Playing { buffer, decoders, .. }) = &mut self.track {
            buffer.flush(&mut |ordered| decoders.tell(track, ordered, told));
        }
        told(Message::Stopped(cause.into()));
    }

    fn packet(&mut self, now: CallTime, packet: &Packet<'_>, told: &mut dyn FnMut(Message<'_>)) {
        let track = self.role;
        let Some(payload) = self.types.get(packet.payload_type) else {
            let payload_type = packet.payload_type;
            return self.tell_once(0, told, || {
                format!("payload type {payload_type} is not declared: its packets are left out")
            });
        };
        if payload == Payload::TelephoneEvent
            && let Some(key) = self.keys.observe(packet)
        {
            told(Message::Dtmf(key));
        }
        if self.track.is_none() && !self.begin(packet.payload_type, payload) {
            return;
        }
        let Some(Playing { buffer, clock, decoders }) = &mut self.track else { return };
        let known = !matches!(payload, Payload::Audio(_)) || decoders.know(packet.payload_type, payload);
        let fits = known && (payload.clock().0 == *clock || !matches!(payload, Payload::Audio(_)));
        let arrival = Arrival {
            ssrc: packet.ssrc,
            sequence: packet.sequence,
            timestamp: packet.timestamp,
            ticks: if fits { payload.ticks(packet.payload) } else { 0 },
            payload_type: packet.payload_type,
            payload: packet.payload,
        };
        buffer.push(now, &arrival, &mut |ordered| decoders.tell(track, ordered, told));
        if !fits {
            let payload_type = packet.payload_type;
            self.tell_once(1, told, || {
                format!(
                    "payload type {payload_type} is of another rate than the first: its packets are left out"
                )
            });
        }
    }

    /// Fixes what comes out by the first audio.
    fn begin(&mut self, payload_type: u8, payload: Payload) -> bool {
        let Payload::Audio(format) = payload else { return false };
        let Ok(decoder) = Decoder::linear(format) else { return false };
        let buffer = JitterBuffer::new(payload.clock(), format.rate());
        let decoders = Decoders { format: decoder.format(), of: vec![(payload_type, decoder)] };
        self.track = Some(Playing { buffer, clock: payload.clock().0, decoders });
        true
    }

    fn tell_once(
        &mut self,
        what: usize,
        told: &mut dyn FnMut(Message<'_>),
        problem: impl FnOnce() -> String,
    ) {
        if let Some(told_of @ false) = self.told.get_mut(what) {
            *told_of = true;
            told(Message::Problem(problem().into()));
        }
    }
}

impl Decoders {
    /// Whether a payload type can be decoded to what comes out.
    fn know(&mut self, payload_type: u8, payload: Payload) -> bool {
        if self.of.iter().any(|(known, _)| *known == payload_type) {
            return true;
        }
        let Payload::Audio(format) = payload else { return false };
        match Decoder::linear(format) {
            Ok(decoder) if decoder.format() == self.format => {
                self.of.push((payload_type, decoder));
                true
            }
            _ => false,
        }
    }

    fn tell(&mut self, track: Speaker, ordered: Ordered<'_>, told: &mut dyn FnMut(Message<'_>)) {
        match ordered {
            Ordered::Gap { cause, from, to } => told(Message::Gap { track, cause, from, to }),
            Ordered::Media { position, payload_type, payload } => {
                let decoder = self.of.iter_mut().find(|(known, _)| *known == payload_type);
                match decoder.map(|(_, decoder)| decoder.decode(payload)) {
                    Some(Ok(payload)) if !payload.is_empty() => {
                        told(Message::Media { track, position, payload })
                    }
                    Some(Err(error)) => told(Message::Problem(error.to_string().into())),
                    Some(Ok(_)) | None => {}
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::line;
    use warmline_core::{media::Encoding, units::SampleRate};

    #[test]
    fn a_stream_is_told_as_linear_samples() {
        let mut story = Story::new();
        story.packets(0, &[0, 1, 2]);
        assert_eq!(story.lines, ["caller 0 +320", "caller 160 +320", "caller 320 +320"]);
        let linear = TrackFormat::mono(Encoding::L16Le, SampleRate(8_000));
        assert_eq!(story.receiver.format(), Some(linear));
    }

    #[test]
    fn a_payload_type_may_change_within_a_call() {
        let mut story = Story::new();
        story.packets(0, &[0, 1]);
        story.packets(8, &[2, 3]);
        assert_eq!(story.lines.len(), 4);
        story.packets(9, &[4]); // 16 kHz
        story.packets(0, &[5]);
        assert_eq!(
            story.lines[4..],
            [
                "problem payload type 9 is of another rate than the first: its packets are left out",
                "caller dtx 640..800",
                "caller 800 +320"
            ]
        );
    }

    #[test]
    fn who_injects_packets_is_not_heard() {
        let mut story = Story::new();
        story.packets(0, &[0, 1]);
        story.from = 9;
        story.packets(0, &[2, 3, 4]);
        story.from = 1;
        story.packets(0, &[2]);
        assert_eq!(story.lines, ["caller 0 +320", "caller 160 +320", "caller 320 +320"]);
        assert_eq!(story.receiver.counts().1, 3);
    }

    #[test]
    fn reports_from_another_port_latch_nobody_and_end_nothing() {
        let mut story = Story::new();
        story.from = 2;
        story.datagram(0, &[0x80, 200, 0, 6, 0, 0, 0, 7]);
        story.from = 1;
        story.packets(0, &[0, 1]);
        story.from = 2;
        story.datagram(1, &[0x81, 203, 0, 1, 0, 0, 0, 7]);
        assert_eq!(story.lines, ["caller 0 +320", "caller 160 +320"]);
    }

    #[test]
    fn garbage_latches_nobody_and_is_told_once() {
        let mut story = Story::new();
        story.from = 9;
        story.datagram(0, b"GET / HTTP/1.1");
        story.datagram(0, b"GET / HTTP/1.1");
        story.from = 1;
        story.packets(0, &[0, 1]);
        assert_eq!(story.lines.len(), 3, "{:?}", story.lines);
    }

    #[test]
    fn a_key_is_told_at_its_first_packet() {
        let mut story = Story::new();
        story.packets(0, &[0, 1]);
        for n in 2..6u8 {
            let head = [0x80, 101, 0, n, 0, 0, 1, 64, 0, 0, 0, 7];
            story.datagram(n, &[&head[..], &[11, 10, 0, 160]].concat());
        }
        story.packets(0, &[6]);
        assert_eq!(story.lines[2..], ["key #", "caller dtx 320..960", "caller 960 +320"]);
    }

    #[test]
    fn the_sources_own_bye_is_the_end() {
        let mut story = Story::new();
        story.packets(0, &[0, 1, 3]);
        story.datagram(4, &[0x81, 203, 0, 1, 0, 0, 0, 8]); // another source's
        story.datagram(4, &[0x81, 203, 0, 1, 0, 0, 0, 7]);
        story.packets(0, &[4]);
        assert_eq!(story.lines[2..], ["caller lost 320..480", "caller 480 +320", "stopped bye"]);
        assert_eq!(story.receiver.poll_timeout(), None);
    }

    #[test]
    fn a_type_nobody_declared_is_told_once() {
        let mut story = Story::new();
        story.packets(18, &[0, 1, 2]);
        assert_eq!(story.lines, ["problem payload type 18 is not declared: its packets are left out"]);
    }

    struct Story {
        receiver: Receiver<u8>,
        from: u8,
        lines: Vec<String>,
    }

    impl Story {
        fn new() -> Self {
            Self { receiver: Receiver::new(Speaker::Caller, PayloadTypes::new()), from: 1, lines: Vec::new() }
        }

        fn packets(&mut self, payload_type: u8, numbers: &[u8]) {
            for n in numbers {
                let [.., t0, t1] = (160 * u32::from(*n)).to_be_bytes();
                let head = [0x80, payload_type, 0, *n, 0, 0, t0, t1, 0, 0, 0, 7];
                self.datagram(*n, &[&head[..], &[0x55; 160]].concat());
            }
        }

        fn datagram(&mut self, n: u8, datagram: &[u8]) {
            let lines = &mut self.lines;
            let now = CallTime(u64::from(n) * 20_000);
            self.receiver
                .handle_datagram(now, self.from, datagram, &mut |message| lines.push(line(&message)));
        }
    }
}
