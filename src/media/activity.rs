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

/// Nothing below this level counts: one step of G.711 in every sample is -72 dBFS.
pub const IDLE_DBFS: f32 = -75.0;

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
    pub fn observe(&mut self, level_dbfs: f32) -> bool {
        let level_db = level_dbfs.max(IDLE_DBFS);
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
}
