//! Synthetic audio for the examples.

/// Syllables of a buzz whose pitch glides about 140 Hz, over a faint noise: enough to be taken for speech.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "far below the limits of 16 bits")]
pub(crate) fn voice(seconds: f64) -> impl Iterator<Item = i16> {
    let (mut phase, mut noise) = (0.0_f64, 1_u32);
    (0..(seconds * 8_000.0) as u32).map(move |n| {
        let t = f64::from(n) / 8_000.0;
        let f0_hz = 140.0 + 20.0 * (std::f64::consts::TAU * 0.6 * t).sin();
        phase += std::f64::consts::TAU * f0_hz / 8_000.0;
        let harmonic = |k: i32| {
            let hz = f64::from(k) * f0_hz;
            let formant = |centre: f64| 1.0 / (1.0 + ((hz - centre) / 120.0).powi(2));
            (f64::from(k) * phase).sin() * (formant(600.0) + 0.5 * formant(1_500.0) + 0.02)
        };
        let buzz: f64 = (1..=20).map(harmonic).sum();
        noise = noise.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let hiss = f64::from(noise >> 16) / 65_536.0 - 0.5;
        let syllable = (std::f64::consts::PI * 4.0 * t).sin().abs();
        let phrase = if t % 3.0 < 2.4 { 1.0 } else { 0.0 };
        (5_000.0 * phrase * syllable * buzz + 20.0 * hiss) as i16
    })
}
