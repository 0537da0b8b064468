//! Payloads of any format → samples that a track reads.

use super::{g711, g722};
use crate::{
    media::{Encoding, Format, TrackFormat},
    units::SampleRate,
};

/// Samples of the longest Opus packet at 48 kHz: 120 ms (RFC 6716 2.1.4).
const MAX_OPUS_SAMPLES: usize = 5_760;

/// Decodes one track's payloads: samples pass as they are, G.722 and Opus become linear samples at their own rate.
pub struct Decoder {
    coder: Coder,
    samples: Vec<i16>,
    bytes: Vec<u8>,
}

enum Coder {
    None(TrackFormat),
    /// One channel of these samples becomes linear.
    Linear(Encoding, SampleRate),
    G722(Box<g722::Decoder>),
    Opus(Box<ropus::Decoder>),
}

/// Why a payload is left out.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// Samples that no telephone sends.
    #[error("{0} of {1} channels is not made linear: expected µ-law, A-law or 16 bit of one channel")]
    Linear(Encoding, u16),
    /// No Opus packet.
    #[error("an Opus packet of {len} bytes cannot be decoded: {why}")]
    Opus {
        /// Its length.
        len: usize,
        /// What the decoder says.
        why: String,
    },
}

impl Decoder {
    /// A decoder that has heard nothing.
    ///
    /// # Errors
    /// When the Opus decoder cannot be made.
    pub fn new(format: Format) -> Result<Self, DecodeError> {
        let coder = match format {
            Format::Samples(format) => Coder::None(format),
            Format::G722 => Coder::G722(Box::default()),
            Format::Opus => {
                let decoder = ropus::Decoder::new(format.rate().0, ropus::Channels::Mono);
                Coder::Opus(Box::new(
                    decoder.map_err(|error| DecodeError::Opus { len: 0, why: error.to_string() })?,
                ))
            }
        };
        Ok(Self { coder, samples: Vec::new(), bytes: Vec::new() })
    }

    /// A decoder that gives linear samples of one channel, little-endian, whatever comes: for a stream whose payload type changes.
    ///
    /// # Errors
    /// When the Opus decoder cannot be made, or for samples other than G.711 and 16 bit of one channel.
    pub fn linear(format: Format) -> Result<Self, DecodeError> {
        use Encoding::{L16Be, L16Le, Pcma, Pcmu};
        let mut decoder = Self::new(format)?;
        if let Format::Samples(TrackFormat { encoding, rate, channels, .. }) = format {
            if channels != 1 || !matches!(encoding, Pcmu | Pcma | L16Be | L16Le) {
                return Err(DecodeError::Linear(encoding, channels));
            }
            decoder.coder = Coder::Linear(encoding, rate);
        }
        Ok(decoder)
    }

    /// What [`Decoder::decode`] gives.
    pub fn format(&self) -> TrackFormat {
        match &self.coder {
            Coder::None(format) => *format,
            Coder::Linear(_, rate) => TrackFormat::mono(Encoding::L16Le, *rate),
            Coder::G722(_) => TrackFormat::mono(Encoding::L16Le, SampleRate(16_000)),
            Coder::Opus(_) => TrackFormat::mono(Encoding::L16Le, SampleRate(48_000)),
        }
    }

    /// Decodes a payload; after the first few nothing is allocated. A stereo Opus packet becomes one channel.
    ///
    /// # Errors
    /// When it cannot be decoded; the next one may.
    pub fn decode<'a>(&'a mut self, payload: &'a [u8]) -> Result<&'a [u8], DecodeError> {
        self.samples.clear();
        match &mut self.coder {
            Coder::None(_) | Coder::Linear(Encoding::L16Le, _) => return Ok(payload),
            Coder::Linear(Encoding::Pcmu, _) => {
                self.samples.extend(payload.iter().map(|code| g711::decode_mu(*code)))
            }
            Coder::Linear(Encoding::Pcma, _) => {
                self.samples.extend(payload.iter().map(|code| g711::decode_a(*code)))
            }
            Coder::Linear(..) => {
                self.samples
                    .extend(payload.as_chunks::<2>().0.iter().map(|bytes| i16::from_be_bytes(*bytes)));
            }
            Coder::G722(decoder) => decoder.decode(payload, &mut self.samples),
            Coder::Opus(_) if payload.is_empty() => {}
            Coder::Opus(decoder) => {
                self.samples.resize(MAX_OPUS_SAMPLES, 0);
                let decoded = decoder.decode(payload, &mut self.samples, ropus::DecodeMode::Normal);
                let len = payload.len();
                let decoded = decoded.map_err(|error| DecodeError::Opus { len, why: error.to_string() })?;
                self.samples.truncate(decoded);
            }
        }
        self.bytes.clear();
        self.bytes.extend(self.samples.iter().flat_map(|sample| sample.to_le_bytes()));
        Ok(&self.bytes)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn samples_pass_as_they_are() {
        let mut decoder = Decoder::new(Format::mono(Encoding::Pcmu, SampleRate(8_000))).unwrap();
        assert_eq!(decoder.decode(&[1, 2, 3]), Ok(&[1, 2, 3][..]));
        assert_eq!(decoder.format(), TrackFormat::mono(Encoding::Pcmu, SampleRate(8_000)));
    }

    #[test]
    fn samples_become_linear_where_that_is_asked_for() {
        let check = |encoding, payload: &[u8], expected: &[i16]| {
            let mut decoder = Decoder::linear(Format::mono(encoding, SampleRate(8_000))).unwrap();
            let expected: Vec<u8> = expected.iter().flat_map(|sample| sample.to_le_bytes()).collect();
            assert_eq!(decoder.decode(payload), Ok(expected.as_slice()), "{encoding}");
            assert_eq!(decoder.format(), TrackFormat::mono(Encoding::L16Le, SampleRate(8_000)));
        };
        check(Encoding::Pcmu, &[0x00, 0xFF], &[-32_124, 0]);
        check(Encoding::Pcma, &[0x2A, 0xD5], &[-32_256, 8]);
        check(Encoding::L16Be, &[0x12, 0x34], &[0x1234]);
        check(Encoding::L16Le, &[0x34, 0x12], &[0x1234]);
        assert!(Decoder::linear(Format::mono(Encoding::F32Le, SampleRate(8_000))).is_err());
    }

    #[test]
    fn g722_becomes_linear_at_16_khz() {
        let mut decoder = Decoder::new(Format::G722).unwrap();
        let payload = [0xFA; 160];
        assert_eq!(decoder.decode(&payload).unwrap().len(), 2 * 320);
        assert_eq!(Format::G722.samples_in(&payload), 320);
    }

    /// `fixtures/wire/rtp/speech.opus` is packets of libopus, each after its length; `.s16` is what libopus makes of them.
    #[test]
    fn opus_is_decoded_as_libopus_does() {
        let mut rest = &include_bytes!("../../../../fixtures/wire/rtp/speech.opus")[..];
        let expected = include_bytes!("../../../../fixtures/wire/rtp/speech.opus.s16");
        let mut decoder = Decoder::new(Format::Opus).unwrap();
        let mut decoded = Vec::new();
        while let Some((len, after)) = rest.split_first_chunk() {
            let (packet, after) = after.split_at(usize::from(u16::from_be_bytes(*len)));
            let samples = decoder.decode(packet).unwrap();
            assert_eq!(samples.len() as u64 / 2, Format::Opus.samples_in(packet));
            decoded.extend_from_slice(samples);
            rest = after;
        }
        let samples = |bytes: &[u8]| -> Vec<f64> {
            bytes.as_chunks::<2>().0.iter().map(|bytes| f64::from(i16::from_le_bytes(*bytes))).collect()
        };
        let (decoded, expected) = (samples(&decoded), samples(expected));
        assert_eq!(decoded.len(), expected.len());
        let power = |values: &mut dyn Iterator<Item = f64>| values.map(|v| v * v).sum::<f64>().max(1e-9);
        let error = power(&mut decoded.iter().zip(&expected).map(|(a, b)| a - b));
        let snr_db = 10.0 * (power(&mut expected.iter().copied()) / error).log10();
        assert!(snr_db > 60.0, "{snr_db} dB");
    }

    #[test]
    fn a_packet_that_is_none_is_an_error_and_the_next_is_decoded() {
        let mut decoder = Decoder::new(Format::Opus).unwrap();
        assert!(decoder.decode(&[0xFF, 0xFF, 0xFF]).is_err());
        assert_eq!(decoder.decode(&[]), Ok(&[][..]));
        assert_eq!(decoder.decode(&[0b1111_1000]).map(<[u8]>::len), Ok(2 * 960)); // one empty frame
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn any_bytes_as_opus_are_survived(
            packets in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..300), 1..6),
        ) {
            let mut decoder = Decoder::new(Format::Opus).unwrap();
            for packet in packets {
                if let Ok(samples) = decoder.decode(&packet) {
                    prop_assert!(samples.len() <= 2 * MAX_OPUS_SAMPLES);
                }
            }
        }

        #[test]
        fn opus_with_bits_wrong_is_survived(
            wrong in prop::collection::vec((any::<prop::sample::Index>(), 0..8u8), 1..40),
        ) {
            let mut coded = include_bytes!("../../../../fixtures/wire/rtp/speech.opus").to_vec();
            for (at, bit) in wrong {
                let at = at.index(coded.len());
                coded[at] ^= 1 << bit;
            }
            let mut decoder = Decoder::new(Format::Opus).unwrap();
            let mut rest = coded.as_slice();
            while let Some((len, after)) = rest.split_first_chunk() {
                let (packet, after) = after.split_at(usize::from(u16::from_be_bytes(*len)).min(after.len()));
                _ = decoder.decode(packet);
                rest = after;
            }
        }
    }
}
