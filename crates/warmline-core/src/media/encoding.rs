//! Payload bytes → samples in -1..=1.

use super::g711;
use crate::media::Encoding;

/// Decodes one channel of a payload into `out`, whose old content is dropped and whose capacity is kept.
///
/// `payload` holds `channels` interleaved channels, of which the one numbered `channel` (from 0) is read; bytes after the
/// last whole sample of all channels are left. Integers are divided by their full scale; a float beyond ±1 is clipped to
/// it. Returns how many samples were NaN or infinite; they become 0.
pub fn decode(encoding: Encoding, channels: u16, channel: u16, payload: &[u8], out: &mut Vec<f32>) -> usize {
    out.clear();
    let lane = Lane { channels: usize::from(channels), channel: usize::from(channel) };
    let mut non_finite = 0;
    match encoding {
        Encoding::Pcmu => {
            out.extend(lane.samples(payload).map(|[code]| from_i16(g711::decode_mu(*code))));
        }
        Encoding::Pcma => {
            out.extend(lane.samples(payload).map(|[code]| from_i16(g711::decode_a(*code))));
        }
        Encoding::U8 => {
            out.extend(lane.samples(payload).map(|[byte]| (f32::from(*byte) - 128.0) / 128.0));
        }
        Encoding::L16Le => {
            out.extend(lane.samples(payload).map(|bytes| from_i16(i16::from_le_bytes(*bytes))));
        }
        Encoding::L16Be => {
            out.extend(lane.samples(payload).map(|bytes| from_i16(i16::from_be_bytes(*bytes))));
        }
        Encoding::L24Le => {
            out.extend(lane.samples(payload).map(|[a, b, c]| from_i32(i32::from_le_bytes([0, *a, *b, *c]))));
        }
        Encoding::L32Le => {
            out.extend(lane.samples(payload).map(|bytes| from_i32(i32::from_le_bytes(*bytes))));
        }
        Encoding::F32Le => {
            let floats = lane.samples(payload).map(|bytes| f32::from_le_bytes(*bytes));
            out.extend(floats.map(|float| from_float(float, &mut non_finite)));
        }
        Encoding::F64Le => {
            #[allow(clippy::cast_possible_truncation, reason = "rounds to the nearest single")]
            let floats = lane.samples(payload).map(|bytes| f64::from_le_bytes(*bytes) as f32);
            out.extend(floats.map(|float| from_float(float, &mut non_finite)));
        }
    }
    non_finite
}

/// One of several interleaved channels.
struct Lane {
    channels: usize,
    channel: usize,
}

impl Lane {
    /// The channel's samples of `N` bytes each.
    fn samples<'a, const N: usize>(&self, payload: &'a [u8]) -> impl Iterator<Item = &'a [u8; N]> {
        let (samples, _) = payload.as_chunks::<N>();
        let of_all_channels = samples.len() / self.channels.max(1);
        samples.iter().skip(self.channel).step_by(self.channels.max(1)).take(of_all_channels)
    }
}

fn from_i16(sample: i16) -> f32 {
    f32::from(sample) / 32_768.0
}

#[allow(clippy::cast_precision_loss, reason = "rounds to the 24 bit a single holds")]
fn from_i32(sample: i32) -> f32 {
    sample as f32 / 2_147_483_648.0
}

fn from_float(sample: f32, non_finite: &mut usize) -> f32 {
    if sample.is_finite() {
        sample.clamp(-1.0, 1.0)
    } else {
        *non_finite += 1;
        0.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mono(encoding: Encoding, payload: &[u8]) -> Vec<f32> {
        let mut out = vec![9.0];
        assert_eq!(decode(encoding, 1, 0, payload, &mut out), 0);
        out
    }

    #[test]
    fn every_encoding_reads_its_full_scale_and_its_half() {
        let check = |encoding, payload: &[u8], expected: &[f32]| {
            assert_eq!(mono(encoding, payload), expected, "{encoding:?}");
        };
        check(Encoding::U8, &[0, 128, 192], &[-1.0, 0.0, 0.5]);
        check(Encoding::L16Le, &[0x00, 0x80, 0, 0, 0x00, 0x40], &[-1.0, 0.0, 0.5]);
        check(Encoding::L16Be, &[0x80, 0x00, 0, 0, 0x40, 0x00], &[-1.0, 0.0, 0.5]);
        check(Encoding::L24Le, &[0, 0, 0x80, 0, 0, 0, 0, 0, 0x40], &[-1.0, 0.0, 0.5]);
        check(Encoding::L32Le, &[0, 0, 0, 0x80, 0, 0, 0, 0x40], &[-1.0, 0.5]);
        check(Encoding::F32Le, &[-1.0f32, 0.5].map(f32::to_le_bytes).concat(), &[-1.0, 0.5]);
        check(Encoding::F64Le, &[-1.0f64, 0.5].map(f64::to_le_bytes).concat(), &[-1.0, 0.5]);
        check(Encoding::Pcmu, &[0x00, 0xFF, 0x80], &[-32_124.0 / 32_768.0, 0.0, 32_124.0 / 32_768.0]);
        check(
            Encoding::Pcma,
            &[0x2A, 0xD5, 0xAA],
            &[-32_256.0 / 32_768.0, 8.0 / 32_768.0, 32_256.0 / 32_768.0],
        );
    }

    #[test]
    fn what_is_no_number_becomes_silence_and_is_counted() {
        let payload = [f32::NAN, f32::INFINITY, -f32::INFINITY, 1e30, 0.25].map(f32::to_le_bytes).concat();
        let mut out = Vec::new();
        assert_eq!(decode(Encoding::F32Le, 1, 0, &payload, &mut out), 3);
        assert_eq!(out, [0.0, 0.0, 0.0, 1.0, 0.25]);
    }

    #[test]
    fn a_channel_is_read_out_of_two() {
        let stereo = [[1i16, -1], [2, -2], [3, -3]].concat();
        let mut payload: Vec<u8> = stereo.into_iter().flat_map(i16::to_le_bytes).collect();
        payload.extend([4, 0]); // the left half of a fourth
        let (mut left, mut right) = (Vec::new(), Vec::new());
        decode(Encoding::L16Le, 2, 0, &payload, &mut left);
        decode(Encoding::L16Le, 2, 1, &payload, &mut right);
        assert_eq!(left, [1.0, 2.0, 3.0].map(|s: f32| s / 32_768.0));
        assert_eq!(right, left.iter().map(|s| -s).collect::<Vec<_>>());
    }
}
