//! Frame levels → sound above the line's own noise ([`Activity`]): talkspurts, whoever or whatever makes them.
//! Absent here: any spectrum; whether the sound is speech.

/// Finds sound above an adaptive noise floor, frame by frame (10 ms each), from levels alone.
///
/// The floor is the minimum of the smoothed level over the last [`FLOOR_FRAMES`], searched in sub-windows (minimum statistics:
/// Martin, "Noise power spectral density estimation based on optimal smoothing and minimum statistics", 2001), since even
/// continuous speech falls back to the noise between its words. Sound starts [`ONSET_FRAMES`] above the floor by [`ENTER_DB`] and
/// ends [`HANGOVER_FRAMES`] after the last frame above it by [`EXIT_DB`]. Levels are compared with each other alone, so a gain
/// changes nothing, but for [`IDLE_DBFS`].
///
/// The first frames of a call are their own floor: sound that is there from the first sample on counts from its first dip.
/// A noise that starts during a call is sound until the floor has risen to it, [`FLOOR_FRAMES`] later.
#[derive(Clone, Debug)]
pub struct Activity {
    smoothed_db: Option<f32>,
    floor: MinimumStatistics,
    state: State,
}

/// Nothing below this level counts: digital silence, and rounding.
pub const IDLE_DBFS: f32 = -100.0;

/// No signal lies above this level.
const LOUDEST_DBFS: f32 = 20.0;

/// Sound begins this far above the noise floor, dB.
pub const ENTER_DB: f32 = 5.0;

/// Sound goes on down to this far above the noise floor, dB.
pub const EXIT_DB: f32 = 3.0;

/// Frames that must follow each other above the entry level: clicks are shorter. 30 ms.
pub const ONSET_FRAMES: u8 = 3;

/// Frames of quiet that sound survives: the hangover of ITU-T P.56, 200 ms.
pub const HANGOVER_FRAMES: u8 = 20;

/// Frames whose minimum is the noise floor: 2.4 s.
pub const FLOOR_FRAMES: usize = SUB_WINDOWS * SUB_WINDOW_FRAMES;

const SUB_WINDOWS: usize = 8;
const SUB_WINDOW_FRAMES: usize = 30;

/// Weight of the newest level in the smoothed one: a time constant of about 5 frames.
const SMOOTHING: f32 = 0.2;

/// The minimum of a fluctuating level lies below its mean by about this much, dB.
const BIAS_DB: f32 = 1.5;

#[derive(Clone, Copy, Debug, PartialEq)]
enum State {
    Quiet { above: u8 },
    Sound { quiet: u8 },
}

impl Activity {
    /// A line nothing is known of.
    pub fn new() -> Self {
        Self { smoothed_db: None, floor: MinimumStatistics::new(), state: State::Quiet { above: 0 } }
    }

    /// Whether there is sound in the next frame, whose level is `level_dbfs`; anything below [`IDLE_DBFS`], and NaN, is that.
    #[allow(clippy::manual_clamp, reason = "clamp would keep a NaN")]
    pub fn observe(&mut self, level_dbfs: f32) -> bool {
        let level_db = level_dbfs.max(IDLE_DBFS).min(LOUDEST_DBFS);
        let smoothed_db = self.smoothed_db.map_or(level_db, |last| last + SMOOTHING * (level_db - last));
        self.smoothed_db = Some(smoothed_db);
        self.floor.observe(smoothed_db);
        let above_db = level_db - self.noise_floor_dbfs();
        self.state = match self.state {
            State::Quiet { above } if above_db < ENTER_DB => State::Quiet { above: above.saturating_sub(1) },
            State::Quiet { above } if above + 1 < ONSET_FRAMES => State::Quiet { above: above + 1 },
            State::Quiet { .. } => State::Sound { quiet: 0 },
            State::Sound { .. } if above_db >= EXIT_DB => State::Sound { quiet: 0 },
            State::Sound { quiet } if quiet < HANGOVER_FRAMES => State::Sound { quiet: quiet + 1 },
            State::Sound { .. } => State::Quiet { above: 0 },
        };
        matches!(self.state, State::Sound { .. })
    }

    /// The level of the line's own noise, dB re full scale; [`IDLE_DBFS`] at least.
    pub fn noise_floor_dbfs(&self) -> f32 {
        self.floor.minimum.map_or(IDLE_DBFS, |minimum| (minimum + BIAS_DB).max(IDLE_DBFS))
    }

    /// Forgets the line: what follows does not follow what came before.
    pub fn reset(&mut self) {
        *self = Self::new();
    }
}

impl Default for Activity {
    fn default() -> Self {
        Self::new()
    }
}

/// The running minimum over the last [`SUB_WINDOWS`] sub-windows and the one under way.
#[derive(Clone, Debug)]
struct MinimumStatistics {
    minimum: Option<f32>,
    current: f32,
    frames: usize,
    past: [f32; SUB_WINDOWS],
    next: usize,
}

impl MinimumStatistics {
    fn new() -> Self {
        Self { minimum: None, current: f32::INFINITY, frames: 0, past: [f32::INFINITY; SUB_WINDOWS], next: 0 }
    }

    fn observe(&mut self, level_db: f32) {
        self.current = self.current.min(level_db);
        self.minimum = Some(self.minimum.map_or(level_db, |minimum| minimum.min(level_db)));
        self.frames += 1;
        if self.frames == SUB_WINDOW_FRAMES {
            if let Some(oldest) = self.past.get_mut(self.next) {
                *oldest = self.current;
            }
            self.next = (self.next + 1) % SUB_WINDOWS;
            self.minimum = Some(self.past.iter().copied().fold(f32::INFINITY, f32::min));
            self.current = f32::INFINITY;
            self.frames = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One line a stretch: seconds, level in dBFS, and what is expected at its end.
    #[track_caller]
    fn check(gain_db: f32, story: &[(f32, f32, bool)]) {
        let mut activity = Activity::new();
        for &(seconds, level_dbfs, expected) in story {
            let mut sound = false;
            for _ in 0..frames(seconds) {
                sound = activity.observe(level_dbfs + gain_db);
            }
            assert_eq!(sound, expected, "after {seconds} s at {level_dbfs} dBFS, gain {gain_db} dB");
        }
    }

    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "seconds of a test")]
    fn frames(seconds: f32) -> usize {
        (seconds * 100.0).round() as usize
    }

    const A_TALKSPURT: &[(f32, f32, bool)] = &[
        (1.00, -50.0, false), // the line
        (0.02, -30.0, false), // too short for an onset
        (0.01, -30.0, true),
        (0.50, -30.0, true),
        (0.20, -50.0, true), // hangover
        (0.01, -50.0, false),
        (0.50, -44.0, false), // below the entry level: the floor is taken 1.5 dB above the level's minimum
        (0.50, -43.0, true),
        (0.50, -45.0, true), // above the exit level
        (0.50, -46.0, false),
    ];

    #[test]
    fn sound_starts_after_onset_and_ends_after_hangover() {
        check(0.0, A_TALKSPURT);
    }

    #[test]
    fn a_gain_changes_nothing() {
        check(20.0, A_TALKSPURT);
        check(-20.0, A_TALKSPURT);
    }

    #[test]
    fn a_noise_that_stays_becomes_the_floor() {
        check(0.0, &[(2.0, -60.0, false), (1.5, -40.0, true), (1.6, -40.0, false), (0.1, -30.0, true)]);
    }

    #[test]
    fn talk_longer_than_the_floors_memory_stays_sound_by_its_pauses() {
        let mut activity = Activity::new();
        let mut heard = 0;
        for frame in 0..1_000 {
            let level_dbfs = if frame < 100 || frame % 150 < 12 { -60.0 } else { -30.0 };
            heard += u32::from(activity.observe(level_dbfs));
        }
        assert_eq!(heard, 900 - 2, "all but the onset");
    }

    #[test]
    fn a_call_that_begins_with_sound_is_heard_from_its_first_dip() {
        check(0.0, &[(0.5, -30.0, false), (0.15, -60.0, false), (0.1, -30.0, true)]);
    }

    #[test]
    fn silence_and_no_numbers_are_quiet() {
        check(
            0.0,
            &[
                (5.0, f32::NEG_INFINITY, false),
                (5.0, f32::NAN, false),
                (5.0, -80.0, false),
                (0.1, -40.0, true),
            ],
        );
        let mut activity = Activity::new();
        activity.observe(f32::NAN);
        assert!(activity.noise_floor_dbfs() >= IDLE_DBFS);
    }

    #[test]
    fn the_floor_of_noise_is_its_level() {
        let mut activity = Activity::new();
        for frame in 0_u16..500 {
            let ripple_db = 2.0 * (f32::from(frame) * 2.399).sin(); // a level that fluctuates
            assert!(!activity.observe(-40.0 + ripple_db));
        }
        assert!((activity.noise_floor_dbfs() + 40.0).abs() < 1.5, "{}", activity.noise_floor_dbfs());
    }

    #[test]
    fn a_reset_forgets_the_line() {
        let mut activity = Activity::new();
        for _ in 0..300 {
            activity.observe(-60.0);
        }
        activity.reset();
        for _ in 0..30 {
            assert!(!activity.observe(-30.0));
        }
    }
}
