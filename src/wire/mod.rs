//! Bytes ⇄ typed messages, one file per protocol. Absent here: sockets, clocks, async.

pub mod wav;

use std::fmt;

use crate::units::SampleRate;

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
