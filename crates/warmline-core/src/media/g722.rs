//! G.722 (ITU-T, 09/2012) at 64 kbit/s → 16 kHz. Names of blocks and variables are the Recommendation's.

/// One channel's decoder.
#[derive(Clone, Debug)]
pub struct Decoder {
    lower: Band,
    higher: Band,
    /// Delay line of the receive QMF: sums and differences of the bands, the newest last.
    x: [i32; 24],
}

impl Decoder {
    /// A decoder that has heard nothing.
    pub fn new() -> Self {
        Self { lower: Band::new(32), higher: Band::new(8), x: [0; 24] }
    }

    /// Decodes a payload and appends two samples a byte.
    pub fn decode(&mut self, payload: &[u8], out: &mut Vec<i16>) {
        for code in payload {
            let [first, second] = self.octet(*code);
            out.push(first);
            out.push(second);
        }
    }

    /// One octet: two bits of the higher band, six of the lower (clause 1.4.4).
    fn octet(&mut self, code: u8) -> [i16; 2] {
        let (ih, ilr) = (usize::from(code >> 6), usize::from(code & 0x3F));

        // Lower band: INVQBL for the output, then INVQAL, LOGSCL, SCALEL on the four most significant bits.
        let band = &mut self.lower;
        let dl = (band.det * at(&QM6, ilr)) >> 15;
        let rl = (band.s + dl).clamp(-16_384, 16_383); // LIMIT
        let ril = ilr >> 2;
        let dlt = (band.det * at(&QM4, ril)) >> 15;
        band.nb = (((band.nb * 127) >> 7) + at(&WL, ril)).clamp(0, 18_432);
        band.det = scale(band.nb, 8);
        band.adapt(dlt);

        // Higher band.
        let band = &mut self.higher;
        let dh = (band.det * at(&QM2, ih)) >> 15;
        let rh = (band.s + dh).clamp(-16_384, 16_383);
        band.nb = (((band.nb * 127) >> 7) + at(&WH, ih)).clamp(0, 22_528);
        band.det = scale(band.nb, 10);
        band.adapt(dh);

        // RECA, RECB, ACCUMC, ACCUMD.
        self.x.copy_within(2.., 0);
        let [.., sum, difference] = &mut self.x;
        (*sum, *difference) = (rl + rh, rl - rh);
        let (pairs, _) = self.x.as_chunks::<2>();
        let xout1: i32 = pairs.iter().zip(QMF.iter().rev()).map(|([_, odd], h)| odd * h).sum();
        let xout2: i32 = pairs.iter().zip(QMF).map(|([even, _], h)| even * h).sum();
        [i16_of(xout1 >> 11), i16_of(xout2 >> 11)]
    }
}

impl Default for Decoder {
    fn default() -> Self {
        Self::new()
    }
}

/// The adaptive predictor of one band. What is numbered from 1 in the Recommendation is past: the latest first.
#[derive(Clone, Debug)]
struct Band {
    /// Prediction.
    s: i32,
    /// Its part by zeros.
    sz: i32,
    /// Reconstructed signal.
    r: [i32; 2],
    /// Coefficients of the poles.
    a: [i32; 2],
    /// Partially reconstructed signal.
    p: [i32; 2],
    /// Quantised differences.
    d: [i32; 6],
    /// Coefficients of the zeros.
    b: [i32; 6],
    /// Logarithmic scale factor.
    nb: i32,
    /// Scale factor.
    det: i32,
}

impl Band {
    fn new(det: i32) -> Self {
        Self { s: 0, sz: 0, r: [0; 2], a: [0; 2], p: [0; 2], d: [0; 6], b: [0; 6], nb: 0, det }
    }

    /// Block 4: from a quantised difference to the next prediction.
    fn adapt(&mut self, d: i32) {
        let r0 = sat(self.s + d); // RECONS
        let p0 = sat(self.sz + d); // PARREC
        let ([r1, _], [p1, p2], [a1, a2]) = (self.r, self.p, self.a);
        let same_sign = |a: i32, b: i32| (a < 0) == (b < 0);

        // UPPOL2
        let wd1 = sat(a1 << 2);
        let wd2 = if same_sign(p0, p1) { -wd1 } else { wd1 }.min(32_767);
        let wd3 = (if same_sign(p0, p2) { 128 } else { -128 }) + (wd2 >> 7) + ((a2 * 32_512) >> 15);
        let apl2 = wd3.clamp(-12_288, 12_288);

        // UPPOL1
        let wd1 = if same_sign(p0, p1) { 192 } else { -192 };
        let limit = sat(15_360 - apl2);
        let apl1 = sat(wd1 + ((a1 * 32_640) >> 15)).clamp(-limit, limit);

        // UPZERO
        let wd1 = if d == 0 { 0 } else { 128 };
        for (b, past) in self.b.iter_mut().zip(self.d) {
            let wd2 = if same_sign(past, d) { wd1 } else { -wd1 };
            *b = sat(wd2 + ((*b * 32_640) >> 15));
        }

        // DELAYA
        let [d1, d2, d3, d4, d5, _] = self.d;
        self.d = [d, d1, d2, d3, d4, d5];
        (self.r, self.p, self.a) = ([r0, r1], [p0, p1], [apl1, apl2]);

        // FILTEP, FILTEZ, PREDIC
        let term = |coefficient: i32, past: i32| (coefficient * sat(past + past)) >> 15;
        let sp = sat(term(apl1, r0) + term(apl2, r1));
        self.sz = sat(self.b.iter().zip(self.d).map(|(b, d)| term(*b, d)).sum());
        self.s = sat(sp + self.sz);
    }
}

/// SCALEL, SCALEH: the scale factor from its logarithm.
fn scale(nb: i32, shift: i32) -> i32 {
    let wd1 = at(&ILB, usize::try_from((nb >> 6) & 31).unwrap_or(0));
    let wd2 = shift - (nb >> 11);
    (if wd2 < 0 { wd1 << -wd2 } else { wd1 >> wd2 }) << 2
}

/// An entry of a table; the index comes from that many bits.
fn at<const N: usize>(table: &[i32; N], index: usize) -> i32 {
    table.get(index).copied().unwrap_or(0)
}

/// Saturation to 16 bit.
fn sat(value: i32) -> i32 {
    value.clamp(-32_768, 32_767)
}

fn i16_of(value: i32) -> i16 {
    i16::try_from(sat(value)).unwrap_or(0)
}

/// Output of the lower band's inverse quantiser, six bits (table 10).
const QM6: [i32; 64] = [
    -136, -136, -136, -136, -24_808, -21_904, -19_008, -16_704, -14_984, -13_512, -12_280, -11_192, -10_232,
    -9_360, -8_576, -7_856, -7_192, -6_576, -6_000, -5_456, -4_944, -4_464, -4_008, -3_576, -3_168, -2_776,
    -2_400, -2_032, -1_688, -1_360, -1_040, -728, 24_808, 21_904, 19_008, 16_704, 14_984, 13_512, 12_280,
    11_192, 10_232, 9_360, 8_576, 7_856, 7_192, 6_576, 6_000, 5_456, 4_944, 4_464, 4_008, 3_576, 3_168,
    2_776, 2_400, 2_032, 1_688, 1_360, 1_040, 728, 432, 136, -432, -136,
];

/// The same, four bits: what the predictor hears.
const QM4: [i32; 16] = [
    0, -20_456, -12_896, -8_968, -6_288, -4_240, -2_584, -1_200, 20_456, 12_896, 8_968, 6_288, 4_240, 2_584,
    1_200, 0,
];

/// Output of the higher band's inverse quantiser.
const QM2: [i32; 4] = [-7_408, -1_616, 7_408, 1_616];

/// Logarithmic multipliers of the lower band by its four bits: WL of RL42.
const WL: [i32; 16] = [-60, 3_042, 1_198, 538, 334, 172, 58, -30, 3_042, 1_198, 538, 334, 172, 58, -30, -60];

/// Those of the higher band by its two bits: WH of RH2.
const WH: [i32; 4] = [798, -214, 798, -214];

/// Antilogarithm (table 14).
const ILB: [i32; 32] = [
    2_048, 2_093, 2_139, 2_186, 2_233, 2_282, 2_332, 2_383, 2_435, 2_489, 2_543, 2_599, 2_656, 2_714, 2_774,
    2_834, 2_896, 2_960, 3_025, 3_091, 3_158, 3_228, 3_298, 3_371, 3_444, 3_520, 3_597, 3_676, 3_756, 3_838,
    3_922, 4_008,
];

/// Half of the quadrature mirror filter's coefficients (table 11), every second one.
const QMF: [i32; 12] = [3, -11, 12, 32, -210, 951, 3_876, -805, 362, -156, 53, -11];

#[cfg(test)]
mod tests {
    use super::*;

    /// `fixtures/wire/rtp/` has what ffmpeg coded, and what it makes of that again.
    #[test]
    fn a_call_is_decoded_sample_by_sample_as_ffmpeg_does() {
        let coded = include_bytes!("../../../../fixtures/wire/rtp/speech.g722");
        let expected = include_bytes!("../../../../fixtures/wire/rtp/speech.g722.s16");
        let (expected, _) = expected.as_chunks::<2>();
        let expected: Vec<i16> = expected.iter().map(|bytes| i16::from_le_bytes(*bytes)).collect();
        let mut decoded = Vec::new();
        let mut decoder = Decoder::new();
        for packet in coded.chunks(160) {
            decoder.decode(packet, &mut decoded);
        }
        assert_eq!(decoded.len(), expected.len());
        let worst = decoded.iter().zip(&expected).position(|(a, b)| a != b);
        assert_eq!(worst, None, "the first sample that differs");
        assert!(decoded.iter().any(|sample| sample.unsigned_abs() > 1_000), "there is speech");
    }

    #[test]
    fn how_a_payload_is_cut_changes_nothing() {
        let coded: Vec<u8> = (0..4_000u32).map(|n| ((n * n) >> 3).to_le_bytes()[0]).collect();
        let (mut whole, mut cut) = (Vec::new(), Vec::new());
        Decoder::new().decode(&coded, &mut whole);
        let mut decoder = Decoder::new();
        coded.chunks(37).for_each(|piece| decoder.decode(piece, &mut cut));
        assert!(whole == cut);
    }

    /// Any octets at all: nothing overflows, which a build with checks would say.
    #[test]
    fn any_octets_are_decoded() {
        for octet in 0..=u8::MAX {
            let mut out = Vec::new();
            let mut decoder = Decoder::new();
            decoder.decode(&[octet; 2_000], &mut out);
            decoder.decode(&[!octet; 2_000], &mut out);
            assert_eq!(out.len(), 8_000);
        }
    }
}
