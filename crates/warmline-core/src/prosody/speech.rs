//! Cues of the caller's frames → speech or not ([`SpeechDetector`]).
//! Absent here: whose speech it is; what is said.

use std::f32::consts::PI;

use super::MEL_BANDS;
use crate::media::activity::{Activity, EXIT_DB};

/// Tells the caller's speech from hold music, tones, DTMF, noise and silence, [`LATENCY_FRAMES`] behind the newest frame.
///
/// Two stages. [`Activity`] finds sound above the line's noise. Six statistics of about the last second of that sound, joined by a
/// logistic regression, tell whether it is speech: a voice glides where notes stand still, and changes between vowels and
/// consonants where tones, hum and noise stay what they are (Saunders, "Real-time discrimination of broadcast speech/music",
/// 1996; Scheirer & Slaney, "Construction and evaluation of a robust multifeature speech/music discriminator", 1997).
/// The gate opens at a log-odds of [`OPEN_LOGIT`] and closes below [`CLOSE_LOGIT`]. All is relative to the sound itself: a gain
/// changes nothing.
///
/// The look-ahead keeps onsets: a frame counts by what is known [`LATENCY_FRAMES`] after it. At the start of a call, and after a
/// long silence, those frames are all there is to go by: a first word is kept if the 0.3 s after its onset sound like speech, and
/// otherwise lost up to the frame 0.3 s before the gate opens. What was let go is not called back. When speech gives way to
/// something else without a pause, the gate closes once the statistics have turned: a few tenths of a second.
///
/// It needs a pitch: a whisper is noise to it. Laughing, crying and other people's voices are speech to it, and singing may be.
#[derive(Clone, Debug)]
pub struct SpeechDetector {
    activity: Activity,
    statistics: Statistics,
    gate_is_open: bool,
    /// Whether there was sound, newest frame in the lowest bit.
    sound: u64,
    frames: usize,
}

/// What the detector looks at in one frame.
#[derive(Clone, Copy, Debug)]
pub struct SpeechCues<'a> {
    /// Level, dB re full scale.
    pub level_dbfs: f32,
    /// Energy in each mel band, dB.
    pub mel_db: &'a [f32; MEL_BANDS],
    /// Strength of the normalised autocorrelation at the pitch period, 0..=1.
    pub voicing: f32,
    /// Fundamental frequency, Hz; 0 in an unvoiced frame.
    pub f0_hz: f32,
}

/// Frames between a frame and its decision: 300 ms.
pub const LATENCY_FRAMES: usize = 30;

/// Log-odds at which sound begins to count as speech.
pub const OPEN_LOGIT: f32 = -0.5;

/// Log-odds below which sound ceases to count as speech.
pub const CLOSE_LOGIT: f32 = -1.5;

/// No voice holds its pitch so still that fewer of its runs glide; DTMF between bursts of noise does.
/// Of the fitting data's clean speech 0.1 % lies below 0.13; the most that tones reach is about 0.05.
const LEAST_GLIDING: f32 = 0.08;

/// Frames before the onset of sound that belong to it: consonants are weaker than vowels. 50 ms.
const PRE_ROLL_FRAMES: usize = 5;

impl SpeechDetector {
    /// A detector that has heard nothing.
    pub fn new() -> Self {
        Self {
            activity: Activity::new(),
            statistics: Statistics::new(),
            gate_is_open: false,
            sound: 0,
            frames: 0,
        }
    }

    /// Whether the frame [`LATENCY_FRAMES`] before this one is speech: the n-th `Some` belongs to the n-th frame.
    pub fn observe(&mut self, cues: &SpeechCues<'_>) -> Option<bool> {
        let sound = self.activity.observe(cues.level_dbfs);
        let above_db = cues.level_dbfs - self.activity.noise_floor_dbfs();
        self.statistics.observe(cues, sound && above_db > EXIT_DB);
        self.sound = self.sound << 1 | u64::from(sound);

        let values = self.statistics.values();
        let threshold = if self.gate_is_open { CLOSE_LOGIT } else { OPEN_LOGIT };
        self.gate_is_open = values.gliding > LEAST_GLIDING && logit(&values) > threshold;

        self.frames += 1;
        let with_pre_roll =
            self.sound >> (LATENCY_FRAMES - PRE_ROLL_FRAMES) & ((1 << (PRE_ROLL_FRAMES + 1)) - 1);
        (self.frames > LATENCY_FRAMES).then_some(self.gate_is_open && with_pre_roll != 0)
    }

    /// Forgets the line: what follows does not follow what came before. The next [`LATENCY_FRAMES`] frames give no decision.
    pub fn reset(&mut self) {
        *self = Self::new();
    }
}

impl Default for SpeechDetector {
    fn default() -> Self {
        Self::new()
    }
}

/// What speech is told by, over the sound of about the last second.
#[derive(Clone, Copy, Debug)]
struct Values {
    /// Mean voicing.
    voicing: f32,
    /// Standard deviation of voicing: vowels and consonants take turns.
    voicing_sd: f32,
    /// Share of the voiced 30 ms runs whose pitch stands still, as that of notes and tones does.
    steady: f32,
    /// Share of the voiced 30 ms runs whose pitch glides, as that of voices does.
    gliding: f32,
    /// Standard deviation of the second cepstral coefficient, dB: the middle of the band rises and falls against its ends.
    c2_sd: f32,
    /// The strongest mel band over the mean of all, dB: tones stick out.
    crest_db: f32,
}

/// Log-odds of speech against everything else.
///
/// Logistic regression fitted by `models/train/fit_speech.py`: 4.3 h of telephone channels made of emotional speech in eight
/// languages with and without background, game and MIDI music, street and house noise, and the tones of a telephone network.
fn logit(v: &Values) -> f32 {
    -10.920 + 21.225 * v.voicing + 25.713 * v.voicing_sd - 12.539 * v.steady
        + 3.525 * v.gliding
        + 0.289 * v.c2_sd
        - 0.430 * v.crest_db
}

/// Leaky sums over the frames with sound in them; time goes on in the others.
#[derive(Clone, Debug)]
struct Statistics {
    sums: [f32; TERMS],
    /// Pitch of the last frames in semitones, newest first; `None` where unvoiced.
    semitones: [Option<f32>; 4],
    c2_cosine: [f32; MEL_BANDS],
}

const TERMS: usize = 9;

/// Time constant of the sums: 81 % of their weight is on the last second.
const MEMORY_FRAMES: f32 = 60.0;

/// A pitch that moves less over 30 ms stands still: 5 semitones a second.
const STEADY_SEMITONES: f32 = 0.15;

/// A pitch that moves more over 30 ms has jumped: a new note, or an octave error.
const JUMP_SEMITONES: f32 = 2.0;

/// Bands this far below the strongest count as that far: there is the codec's noise.
const BAND_RANGE_DB: f32 = 40.0;

/// Bands count as if between these two levels, dB re full scale.
const BAND_MIN_DB: f32 = -100.0;
const BAND_MAX_DB: f32 = 20.0;

/// Sums below count as this, so that quotients stay finite: 4 s of silence after sound.
const LEAST_SOUND: f32 = 1e-3;

/// Added to the sum of runs, so that a share of hardly any runs is small.
const LEAST_RUNS: f32 = 0.1;

impl Statistics {
    fn new() -> Self {
        Self { sums: [0.0; TERMS], semitones: [None; 4], c2_cosine: cosine(2) }
    }

    fn observe(&mut self, cues: &SpeechCues<'_>, is_sound: bool) {
        self.semitones.rotate_right(1);
        let [newest, ..] = &mut self.semitones;
        *newest = (cues.f0_hz > 0.0).then(|| 12.0 * cues.f0_hz.log2());
        let terms = if is_sound { self.terms(cues) } else { [0.0; TERMS] };
        for (sum, term) in self.sums.iter_mut().zip(terms) {
            *sum += (term - *sum) / MEMORY_FRAMES;
        }
    }

    /// What the newest frame adds to the sums, in the order of [`Self::values`].
    #[allow(clippy::cast_precision_loss, reason = "bands are few")]
    fn terms(&self, cues: &SpeechCues<'_>) -> [f32; TERMS] {
        let moved = match self.semitones {
            [Some(now), Some(_), Some(_), Some(then)] => Some((now - then).abs()),
            _ => None,
        };
        let share = |of: fn(f32) -> bool| f32::from(u8::from(moved.is_some_and(of)));
        let voicing = within(cues.voicing, 0.0, 1.0);

        let top = cues.mel_db.iter().copied().fold(BAND_MIN_DB, f32::max).min(BAND_MAX_DB);
        let bottom = (top - BAND_RANGE_DB).max(BAND_MIN_DB);
        let bands = cues.mel_db.map(|db| within(db, bottom, top));
        let mean = bands.iter().sum::<f32>() / MEL_BANDS as f32;
        let c2: f32 = bands.iter().zip(&self.c2_cosine).map(|(db, cosine)| db * cosine).sum();
        [
            1.0,
            voicing,
            voicing * voicing,
            share(|_| true),
            share(|moved| moved < STEADY_SEMITONES),
            share(|moved| (STEADY_SEMITONES..JUMP_SEMITONES).contains(&moved)),
            c2,
            c2 * c2,
            top - mean,
        ]
    }

    fn values(&self) -> Values {
        let [sound, voicing, voicing_squared, runs, steady, gliding, c2, c2_squared, crest] = self.sums;
        let mean = |sum: f32| sum / sound.max(LEAST_SOUND);
        let sd = |sum: f32, squares: f32| (mean(squares) - mean(sum) * mean(sum)).max(0.0).sqrt();
        Values {
            voicing: mean(voicing),
            voicing_sd: sd(voicing, voicing_squared),
            steady: steady / (runs + LEAST_RUNS),
            gliding: gliding / (runs + LEAST_RUNS),
            c2_sd: sd(c2, c2_squared),
            crest_db: mean(crest),
        }
    }
}

/// `x` clamped to `least..=most`; unlike [`f32::clamp`], a NaN is `least`.
#[allow(clippy::manual_clamp, reason = "clamp would keep a NaN")]
fn within(x: f32, least: f32, most: f32) -> f32 {
    x.max(least).min(most)
}

/// Row `k` of the orthonormal discrete cosine transform (II) over the mel bands.
#[allow(clippy::cast_precision_loss, reason = "bands are few")]
fn cosine(k: usize) -> [f32; MEL_BANDS] {
    let n = MEL_BANDS as f32;
    std::array::from_fn(|band| (2.0 / n).sqrt() * (PI * k as f32 * (band as f32 + 0.5) / n).cos())
}

#[cfg(test)]
mod tests {
    use std::f32::consts::TAU;

    use super::*;
    use crate::{
        media::{FRAME_LEN, FRAME_STEP},
        prosody::{pitch::PitchTracker, spectrum::SpectralAnalyser},
    };

    const RATE_HZ: f32 = 8_000.0;

    #[derive(Clone)]
    struct Cues {
        level_dbfs: f32,
        mel_db: [f32; MEL_BANDS],
        voicing: f32,
        f0_hz: f32,
    }

    /// The cues of every frame of a signal.
    fn cues(samples: &[f32]) -> Vec<Cues> {
        let (mut spectrum, mut pitch) = (SpectralAnalyser::new(), PitchTracker::new());
        let (mut spectral, mut pitches) = (Vec::new(), Vec::new());
        for frame in samples.windows(FRAME_LEN).step_by(FRAME_STEP) {
            let frame = frame.try_into().unwrap();
            spectral.push(spectrum.observe(frame));
            pitches.extend(pitch.observe(frame));
        }
        let together = spectral.into_iter().zip(pitches);
        together
            .map(|(s, p)| Cues {
                level_dbfs: s.level_dbfs,
                mel_db: s.mel_db,
                voicing: p.voicing,
                f0_hz: p.f0_hz.unwrap_or(0.0),
            })
            .collect()
    }

    /// The decision for each frame that has one; the n-th is the n-th frame's.
    fn decisions(cues: &[Cues], gain_db: f32) -> Vec<bool> {
        let mut detector = SpeechDetector::new();
        let observe = |c: &Cues| {
            detector.observe(&SpeechCues {
                level_dbfs: c.level_dbfs + gain_db,
                mel_db: &c.mel_db.map(|db| db + gain_db),
                voicing: c.voicing,
                f0_hz: c.f0_hz,
            })
        };
        cues.iter().filter_map(observe).collect()
    }

    #[allow(clippy::cast_precision_loss, reason = "a few seconds")]
    fn signal(seconds: f32, sample: impl FnMut(f32) -> f32) -> Vec<f32> {
        (0..count(seconds)).map(|n| n as f32 / RATE_HZ).map(sample).collect()
    }

    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a few seconds")]
    fn count(seconds: f32) -> usize {
        (seconds * RATE_HZ) as usize
    }

    /// White noise from a linear congruential generator (Numerical Recipes).
    #[allow(clippy::cast_precision_loss, reason = "noise")]
    fn noise() -> impl FnMut() -> f32 {
        let mut state = 1_u32;
        move || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 8) as f32 / 8_388_608.0 - 1.0
        }
    }

    /// A second of a line's noise at -51 dBFS, the sound, and the line again; under the sound as well unless the line is gated.
    fn on_a_line(sound: &[f32], gated: bool) -> Vec<f32> {
        let (mut line, second) = (noise(), vec![0.0; count(1.0)]);
        let under_sound = if gated { 0.0 } else { 1.0 };
        let mut add = |x: &[f32], share: f32| x.iter().map(|x| x + 5e-3 * share * line()).collect::<Vec<_>>();
        [add(&second, 1.0), add(sound, under_sound), add(&second, 1.0)].concat()
    }

    /// A voice by the source-filter model: pulses of a gliding pitch or hiss, through two formants that differ by syllable.
    fn voice(seconds: f32) -> Vec<f32> {
        const VOWELS: [(f32, f32); 4] =
            [(700.0, 1_200.0), (350.0, 2_200.0), (400.0, 900.0), (550.0, 1_800.0)];
        let (mut hiss, mut phase) = (noise(), 0.0_f32);
        let mut formants = [[0.0_f32; 2]; 2];
        signal(seconds, |t| {
            let in_syllable = (t / 0.25).fract();
            let syllable = (0..VOWELS.len()).cycle().nth(count(t / 0.25) / count(1.0)).unwrap();
            let f0_hz = 120.0 + 25.0 * (TAU * 0.7 * t).sin() + 30.0 * in_syllable;
            phase += f0_hz / RATE_HZ;
            let pulse = if phase >= 1.0 { 1.0 } else { 0.0 };
            phase = phase.fract();
            let h = hiss();
            if in_syllable < 0.25 {
                return 0.03 * h; // a fricative
            }
            let (f1, f2) = VOWELS[syllable];
            let mut x = pulse + 0.005 * h;
            for (y, (hz, bandwidth)) in formants.iter_mut().zip([(f1, 90.0), (f2, 120.0)]) {
                let r = (-std::f32::consts::PI * bandwidth / RATE_HZ).exp();
                x += 2.0 * r * (TAU * hz / RATE_HZ).cos() * y[0] - r * r * y[1];
                *y = [x, y[0]];
            }
            0.05 * x * (std::f32::consts::PI * (in_syllable - 0.25) / 0.75).sin()
        })
    }

    fn tones(seconds: f32, on: f32, off: f32, hz: &[f32]) -> Vec<f32> {
        signal(seconds, |t| {
            let is_on = t % (on + off) < on;
            if is_on { hz.iter().map(|hz| 0.15 * (TAU * hz * t).sin()).sum() } else { 0.0 }
        })
    }

    #[track_caller]
    fn assert_never_speech(name: &str, sound: &[f32]) {
        for gated in [false, true] {
            let speech = decisions(&cues(&on_a_line(sound, gated)), 0.0);
            let first = speech.iter().position(|&speech| speech);
            assert_eq!(
                first,
                None,
                "{name} (gated: {gated}) is speech at frame {first:?} of {}",
                speech.len()
            );
        }
    }

    #[test]
    fn a_voice_is_speech_from_its_onset_and_the_line_is_none() {
        let speech = decisions(&cues(&on_a_line(&voice(4.0), false)), 0.0);
        let (line, rest) = speech.split_at(90);
        assert!(line.iter().all(|&speech| !speech));
        let (talk, _) = rest.split_at(410);
        let heard = talk.iter().filter(|&&speech| speech).count();
        assert!(heard > 390, "{heard} of 400 frames heard");
        assert!(talk.iter().position(|&speech| speech).unwrap() < 20, "the onset is kept");
    }

    #[test]
    fn a_short_word_is_speech() {
        let speech = decisions(&cues(&on_a_line(&voice(0.5), false)), 0.0);
        let heard = speech.iter().filter(|&&speech| speech).count();
        assert!(heard >= 40, "{heard} frames heard");
    }

    #[test]
    fn the_tones_of_a_telephone_network_are_never_speech() {
        for (name, on, off, hz) in [
            ("dial", 6.0, 0.0, [350.0, 440.0]),
            ("ringback", 2.0, 4.0, [440.0, 480.0]),
            ("busy", 0.5, 0.5, [480.0, 620.0]),
            ("European dial", 6.0, 0.0, [425.0, 0.0]),
            ("fax calling", 0.5, 3.0, [1_100.0, 0.0]),
            ("fax answer", 6.0, 0.0, [2_100.0, 0.0]),
        ] {
            assert_never_speech(name, &tones(6.0, on, off, &hz));
        }
    }

    #[test]
    fn dtmf_is_never_speech() {
        for low in [697.0, 770.0, 852.0, 941.0] {
            for high in [1_209.0, 1_336.0, 1_477.0, 1_633.0] {
                assert_never_speech("DTMF", &tones(1.2, 0.1, 0.2, &[low, high]));
            }
        }
    }

    #[test]
    fn noise_hum_and_silence_are_never_speech() {
        let mut white = noise();
        assert_never_speech("white noise", &signal(4.0, |_| 0.1 * white()));
        let mut white = noise();
        assert_never_speech(
            "noise bursts",
            &signal(4.0, |t| if t % 0.6 < 0.3 { 0.1 * white() } else { 0.0 }),
        );
        assert_never_speech(
            "hum",
            &signal(4.0, |t| (1..8_u8).map(|k| 0.05 * (TAU * 50.0 * f32::from(k) * t).sin()).sum()),
        );
        assert_never_speech("digital silence", &vec![0.0; count(4.0)]);
        assert_never_speech("an offset", &vec![0.1; count(4.0)]);
    }

    #[test]
    fn a_melody_is_hardly_ever_speech() {
        let notes = [262.0, 330.0, 392.0, 523.0, 294.0, 349.0, 440.0, 392.0];
        let melody = signal(8.0, |t| {
            let at = t % 0.5;
            let hz = notes[count(t / 0.5) / count(1.0) % notes.len()];
            let partials: f32 = (1..7_u8).map(|k| (TAU * hz * f32::from(k) * at).sin() / f32::from(k)).sum();
            0.1 * partials * (-3.0 * at).exp() * (at / 0.01).min(1.0)
        });
        let speech = decisions(&cues(&on_a_line(&melody, false)), 0.0);
        let heard = speech.iter().filter(|&&speech| speech).count();
        assert!(heard < 40, "{heard} of 800 frames heard");
    }

    #[test]
    fn a_gain_changes_no_decision() {
        let talk = cues(&on_a_line(
            &[voice(2.0), tones(2.0, 0.1, 0.2, &[770.0, 1_336.0]), voice(1.0)].concat(),
            false,
        ));
        let expected = decisions(&talk, 0.0);
        assert!(expected.contains(&true));
        for gain_db in [-20.0, 20.0] {
            let differing = decisions(&talk, gain_db).iter().zip(&expected).filter(|(a, b)| a != b).count();
            assert_eq!(differing, 0, "at {gain_db} dB");
        }
    }

    #[test]
    fn a_clipped_voice_is_speech() {
        let clipped: Vec<f32> = voice(3.0).into_iter().map(|x| (30.0 * x).clamp(-1.0, 1.0)).collect();
        let speech = decisions(&cues(&on_a_line(&clipped, false)), 0.0);
        let heard = speech.iter().filter(|&&speech| speech).count();
        assert!(heard > 270, "{heard} of 300 frames heard");
    }

    #[test]
    fn cues_that_are_no_numbers_are_survived() {
        let talk = cues(&on_a_line(&voice(2.0), false));
        for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            let broken = Cues { level_dbfs: bad, mel_db: [bad; MEL_BANDS], voicing: bad, f0_hz: bad };
            let broken = vec![broken; 50];
            let speech = decisions(&[broken, talk.clone()].concat(), 0.0);
            assert!(speech.iter().skip(50).filter(|&&speech| speech).count() > 150, "{bad} deafens");
        }
    }

    #[test]
    fn a_decision_comes_for_every_frame_after_the_look_ahead_and_again_after_a_reset() {
        let talk = cues(&voice(1.5));
        let mut detector = SpeechDetector::new();
        for _ in 0..2 {
            for (n, c) in talk.iter().enumerate() {
                let decision = detector.observe(&SpeechCues {
                    level_dbfs: c.level_dbfs,
                    mel_db: &c.mel_db,
                    voicing: c.voicing,
                    f0_hz: c.f0_hz,
                });
                assert_eq!(decision.is_some(), n >= LATENCY_FRAMES, "frame {n}");
            }
            detector.reset();
        }
    }
}
