//! Log-odds of a model → a probability that means what it says, moved towards this caller.

use serde::{Deserialize, Serialize};

use super::ScoreError;
use crate::prosody::median;
use crate::units::{MediaSpan, Probability};

/// Scores of the opening that are kept: more than a minute's worth.
const OPENING_MAX: usize = 128;

/// Platt's calibration (Platt 1999): probability = σ(slope · logit + intercept), fitted on held-out speakers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Calibration {
    /// Factor on the logit; positive.
    pub slope: f64,
    /// Added to the scaled logit.
    pub intercept: f64,
    /// How far the caller's own opening moves the score.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub caller: Option<CallerCalibration>,
}

/// People differ: a part of what a caller's calm opening scores is taken off everything they score later.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CallerCalibration {
    /// Share of the opening's deviation that is subtracted, 0..=1.
    pub weight: f64,
    /// Median logit of calm speech over all speakers: an opening like this moves nothing.
    pub reference: f64,
    /// Seconds of caller speech that make the opening.
    pub opening_s: f64,
}

/// The scores of one caller.
#[derive(Clone, Debug)]
pub struct CallerScores {
    calibration: Calibration,
    opening: Vec<f32>,
    offset: f64,
}

impl CallerScores {
    /// A caller of whom nothing is known.
    pub fn new(calibration: Calibration) -> Self {
        Self { calibration, opening: Vec::new(), offset: 0.0 }
    }

    /// The calibrated probability of a logit that was scored when the caller had spoken for `speech`.
    pub fn observe(&mut self, logit: f32, speech: MediaSpan) -> Result<Probability, ScoreError> {
        if !logit.is_finite() {
            return Err(ScoreError::NotFinite);
        }
        if let Some(caller) = &self.calibration.caller
            && speech.seconds() <= caller.opening_s
            && self.opening.len() < OPENING_MAX
        {
            self.opening.push(logit);
            self.offset = caller.weight * (f64::from(median(&mut self.opening.clone())) - caller.reference);
        }
        let Calibration { slope, intercept, .. } = self.calibration;
        Probability::from_logit(slope * (f64::from(logit) - self.offset) + intercept)
            .map_err(|_| ScoreError::NotFinite)
    }
}

#[cfg(test)]
#[allow(clippy::float_cmp, reason = "the numbers are exact by construction")]
mod tests {
    use super::*;

    fn caller(weight: f64) -> CallerScores {
        let caller = Some(CallerCalibration { weight, reference: -2.0, opening_s: 5.0 });
        CallerScores::new(Calibration { slope: 2.0, intercept: 1.0, caller })
    }

    #[test]
    fn a_probability_is_the_logistic_of_the_scaled_logit() {
        let calibration = Calibration { slope: 2.0, intercept: 1.0, caller: None };
        let mut plain = CallerScores::new(calibration);
        let p = plain.observe(0.5, MediaSpan::from_seconds(1.0)).unwrap().get();
        assert!((p - 1.0 / (1.0 + (-2.0_f64).exp())).abs() < 1e-12);
        assert_eq!(plain.observe(f32::NAN, MediaSpan::ZERO), Err(ScoreError::NotFinite));
    }

    #[test]
    fn a_caller_who_opens_high_is_scored_lower_later_and_the_opening_ends() {
        let (mut high, mut average, mut untouched) = (caller(0.5), caller(0.5), caller(0.0));
        for second in 1..=5 {
            let speech = MediaSpan::from_seconds(f64::from(second));
            high.observe(1.0, speech).unwrap();
            average.observe(-2.0, speech).unwrap();
            untouched.observe(1.0, speech).unwrap();
        }
        let later = MediaSpan::from_seconds(9.0);
        let of = |caller: &mut CallerScores| caller.observe(2.0, later).unwrap().get();
        assert_eq!(of(&mut average), of(&mut untouched));
        assert!(of(&mut high) < of(&mut average));
        let settled = of(&mut high);
        (0..50).for_each(|_| assert_eq!(of(&mut high), settled));
    }

    #[test]
    fn a_median_is_the_middle_value() {
        assert_eq!(median(&mut []), 0.0);
        assert_eq!(median(&mut [3.0]), 3.0);
        assert_eq!(median(&mut [4.0, 1.0, 2.0, 3.0]), 2.5);
        assert_eq!(median(&mut [9.0, 1.0, 5.0]), 5.0);
    }
}
