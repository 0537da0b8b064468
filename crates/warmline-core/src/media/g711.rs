//! G.711 (ITU-T, 11/1988), bit-exact to the reference software of ITU-T G.191.

use audio_codec_algorithms::{decode_alaw, decode_ulaw, encode_alaw, encode_ulaw};

/// The µ-law byte of silence; a zero byte is a click at full scale.
pub const MU_SILENCE: u8 = 0xFF;

/// The A-law byte of silence; A-law has no zero, this is the smallest step (+8).
pub const A_SILENCE: u8 = 0xD5;

/// µ-law byte → linear 16-bit sample.
pub fn decode_mu(code: u8) -> i16 {
    decode_ulaw(code)
}

/// A-law byte → linear 16-bit sample.
pub fn decode_a(code: u8) -> i16 {
    decode_alaw(code)
}

/// Linear 16-bit sample → µ-law byte.
pub fn encode_mu(sample: i16) -> u8 {
    encode_ulaw(sample)
}

/// Linear 16-bit sample → A-law byte.
pub fn encode_a(sample: i16) -> u8 {
    encode_alaw(sample)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// CRC-32s that ITU-T G.191 publishes for its ramp of all 16-bit samples, each value stored as 16 bit little-endian.
    #[test]
    fn every_sample_is_coded_as_the_itu_reference_does() {
        let check = |name, values: Vec<i16>, expected: u32| {
            let bytes: Vec<u8> = values.into_iter().flat_map(i16::to_le_bytes).collect();
            assert_eq!(format!("{:08X}", crc32(&bytes)), format!("{expected:08X}"), "{name}");
        };
        let ramp = || i16::MIN..=i16::MAX;
        check("ramp", ramp().collect(), 0xC8BA_7682);
        check("µ-law codes", ramp().map(|s| i16::from(encode_mu(s))).collect(), 0xCD17_0E15);
        check("µ-law decoded", ramp().map(|s| decode_mu(encode_mu(s))).collect(), 0x6364_1C01);
        check("A-law codes", ramp().map(|s| i16::from(encode_a(s))).collect(), 0x7471_9FE4);
        check("A-law decoded", ramp().map(|s| decode_a(encode_a(s))).collect(), 0xABCE_AA69);
        check("µ-law table", (0..=u8::MAX).map(decode_mu).collect(), 0x0C84_7A9F);
        check("A-law table", (0..=u8::MAX).map(decode_a).collect(), 0x9D76_4657);
    }

    #[test]
    fn silence_is_silent() {
        assert_eq!(decode_mu(MU_SILENCE), 0);
        assert_eq!(decode_a(A_SILENCE), 8);
        assert_eq!((encode_mu(0), encode_a(0)), (MU_SILENCE, A_SILENCE));
    }

    /// CRC-32 of ISO 3309, bit by bit.
    fn crc32(bytes: &[u8]) -> u32 {
        !bytes.iter().fold(u32::MAX, |crc, byte| {
            (0..8).fold(crc ^ u32::from(*byte), |crc, _| (crc >> 1) ^ (0xEDB8_8320 * (crc & 1)))
        })
    }
}
