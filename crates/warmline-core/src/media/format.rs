//! How a track's payloads are written, and whose voice they carry.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::units::SampleRate;

/// Who speaks. Of the agent nothing is known but when, and the words the integrator told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Speaker {
    /// The person whose patience is watched.
    Caller,
    /// The person or machine they talk to.
    Agent,
}

/// Why audio does not come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum GapCause {
    /// It was sent and lost, or arrived too late to matter.
    Lost,
    /// The peer paused: it must not be heard.
    Paused,
    /// The peer had it and gave it up.
    Discarded,
    /// Nothing was sent because nobody spoke: discontinuous transmission.
    Dtx,
}

/// How a track's payloads are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Samples.
    Samples(TrackFormat),
    /// G.722 at 64 kbit/s (ITU-T G.722, RFC 3551 4.5.2): a byte holds two samples at 16 kHz.
    G722,
    /// Opus packets (RFC 6716, RFC 7587): decoded to one channel at 48 kHz, the rate of its clock.
    Opus,
}

impl Format {
    /// One channel of samples.
    pub fn mono(encoding: Encoding, rate: SampleRate) -> Self {
        Self::Samples(TrackFormat::mono(encoding, rate))
    }

    /// The rate at which places are counted.
    pub fn rate(self) -> SampleRate {
        match self {
            Self::Samples(format) => format.rate,
            Self::G722 => SampleRate(16_000),
            Self::Opus => SampleRate(48_000),
        }
    }

    /// Samples of each channel in a payload; of Opus as its table of contents says (RFC 6716 3.1), at 48 kHz.
    pub fn samples_in(self, payload: &[u8]) -> u64 {
        let len = payload.len() as u64;
        match self {
            Self::Samples(format) => len / (format.bytes_per_sample() as u64).max(1),
            Self::G722 => len * 2,
            Self::Opus => opus_samples(payload),
        }
    }
}

/// The duration of an Opus packet at 48 kHz (RFC 6716 3.1, 3.2); zero of one that is malformed.
///
/// ```text
///  0 1 2 3 4 5 6 7
/// +-+-+-+-+-+-+-+-+
/// | config  |s| c |     config: mode, bandwidth, frame size; c: number of frames
/// +-+-+-+-+-+-+-+-+
/// ```
fn opus_samples(packet: &[u8]) -> u64 {
    const MAX_OPUS_SAMPLES: u64 = 5_760; // 120 ms
    let Some((toc, rest)) = packet.split_first() else { return 0 };
    let config = toc >> 3;
    let frame = match (config, config & 3) {
        (0..=11, 0) => 480,
        (0..=11, 1) => 960,
        (0..=11, 2) => 1_920,
        (0..=11, _) => 2_880,
        (12..=15, n) => 480 << (n & 1),
        (_, n) => 120 << n,
    };
    let frames = match toc & 3 {
        0 => 1,
        1 | 2 => 2,
        _ => rest.first().map_or(0, |count| u64::from(count & 0x3F)),
    };
    let samples = frame * frames;
    if samples > MAX_OPUS_SAMPLES { 0 } else { samples }
}

/// How a track's payloads are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TrackFormat {
    /// How a sample is written.
    pub encoding: Encoding,
    /// Samples per second of each channel.
    pub rate: SampleRate,
    /// Interleaved channels of a payload.
    pub channels: u16,
    /// Which of them this track is, from 0.
    pub channel: u16,
}

impl TrackFormat {
    /// A payload that holds this track alone.
    pub fn mono(encoding: Encoding, rate: SampleRate) -> Self {
        Self { encoding, rate, channels: 1, channel: 0 }
    }

    /// Bytes of one sample of every channel.
    pub fn bytes_per_sample(&self) -> usize {
        self.encoding.bytes_per_sample() * usize::from(self.channels)
    }
}

/// The lowest sample rate of any source.
pub const MIN_RATE: SampleRate = SampleRate(8_000);

/// The highest sample rate of any source.
pub const MAX_RATE: SampleRate = SampleRate(48_000);

/// How the samples of a payload are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Encoding {
    /// G.711 µ-law, one byte a sample.
    Pcmu,
    /// G.711 A-law, one byte a sample.
    Pcma,
    /// Linear, 8 bit, unsigned: silence is 128.
    U8,
    /// Linear, 16 bit, little-endian.
    L16Le,
    /// Linear, 16 bit, big-endian: L16 of RTP (RFC 3551 4.5.11).
    L16Be,
    /// Linear, 24 bit, little-endian.
    L24Le,
    /// Linear, 32 bit, little-endian.
    L32Le,
    /// IEEE 754 single precision, little-endian; full scale is ±1.
    F32Le,
    /// IEEE 754 double precision, little-endian; full scale is ±1.
    F64Le,
}

impl Encoding {
    /// Bytes of one sample of one channel.
    pub fn bytes_per_sample(self) -> usize {
        match self {
            Self::Pcmu | Self::Pcma | Self::U8 => 1,
            Self::L16Le | Self::L16Be => 2,
            Self::L24Le => 3,
            Self::L32Le | Self::F32Le => 4,
            Self::F64Le => 8,
        }
    }
}

/// As a person writes it: "PCM 16 bit", "µ-law".
impl fmt::Display for Encoding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Pcmu => "µ-law",
            Self::Pcma => "A-law",
            Self::U8 => "PCM 8 bit",
            Self::L16Le | Self::L16Be => "PCM 16 bit",
            Self::L24Le => "PCM 24 bit",
            Self::L32Le => "PCM 32 bit",
            Self::F32Le => "float 32 bit",
            Self::F64Le => "float 64 bit",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_duration_of_an_opus_packet_is_in_its_table_of_contents() {
        let check =
            |packet: &[u8], ms: u64| assert_eq!(Format::Opus.samples_in(packet), ms * 48, "{packet:?}");
        check(&[0b0000_1000], 20); // SILK, narrowband, one frame
        check(&[0b0001_1000], 60);
        check(&[0b0110_1001], 40); // hybrid, 20 ms, two frames
        check(&[0b1111_1000], 20); // CELT, fullband
        check(&[0b1111_1011, 6], 120);
        check(&[0b1111_1011, 7], 0); // longer than a packet may be
        check(&[], 0);
    }
}
