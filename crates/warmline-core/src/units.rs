//! The quantities of the field as types: two clocks that cannot be mixed up, probabilities that are never NaN,
//! and personal data that does not print.

use std::{cmp::Ordering, fmt, ops};

use serde::{Deserialize, Serialize};

/// The sample rate of everything past `media/`: narrow-band telephony, 8 kHz.
pub const RATE: SampleRate = SampleRate(8_000);

/// Samples per second of one channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct SampleRate(pub u32);

impl SampleRate {
    /// Samples per second, as a float.
    pub fn hz(self) -> f64 {
        f64::from(self.0)
    }
}

/// A position in what was said: samples at 8 kHz since the call's first sample. Decisions are dated with it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct MediaTime(pub u64);

/// A length of what was said: samples at 8 kHz.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct MediaSpan(pub u64);

impl MediaTime {
    /// The first sample of the call.
    pub const ZERO: Self = Self(0);

    /// Seconds since the call's first sample.
    pub fn seconds(self) -> f64 {
        MediaSpan(self.0).seconds()
    }

    /// The span from `earlier` to here; zero if `earlier` is later.
    pub fn since(self, earlier: Self) -> MediaSpan {
        MediaSpan(self.0.saturating_sub(earlier.0))
    }
}

impl MediaSpan {
    /// No time at all.
    pub const ZERO: Self = Self(0);

    /// The span of `seconds`, rounded to a sample; negative and NaN become zero.
    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "clamped to zero and far below 2^53"
    )]
    pub fn from_seconds(seconds: f64) -> Self {
        Self((seconds.max(0.0) * RATE.hz()).round() as u64)
    }

    /// The length in seconds.
    #[allow(clippy::cast_precision_loss, reason = "exact below 2^53 samples, 35,000 years")]
    pub fn seconds(self) -> f64 {
        self.0 as f64 / RATE.hz()
    }
}

impl ops::Add<MediaSpan> for MediaTime {
    type Output = Self;
    fn add(self, span: MediaSpan) -> Self {
        Self(self.0.saturating_add(span.0))
    }
}

impl ops::Add for MediaSpan {
    type Output = Self;
    fn add(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }
}

impl ops::AddAssign for MediaSpan {
    fn add_assign(&mut self, other: Self) {
        *self = *self + other;
    }
}

/// `m:ss.s`, the way a person reads a position in a recording.
impl fmt::Display for MediaTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let tenths = self.0 / (u64::from(RATE.0) / 10);
        write!(f, "{}:{:02}.{}", tenths / 600, tenths / 10 % 60, tenths % 10)
    }
}

/// When something reached us: microseconds since the call's start on the arrival clock. Only stalls and deadlines use it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct CallTime(pub u64);

impl CallTime {
    /// The moment the call began.
    pub const ZERO: Self = Self(0);

    /// This moment, `micros` later.
    pub fn after_micros(self, micros: u64) -> Self {
        Self(self.0.saturating_add(micros))
    }
}

/// A number in 0..=1 that is never NaN.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "f64")]
pub struct Probability(f64);

impl Eq for Probability {}

impl PartialOrd for Probability {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Probability {
    fn cmp(&self, other: &Self) -> Ordering {
        self.0.total_cmp(&other.0)
    }
}

/// Why a number is no probability.
#[derive(Clone, Copy, Debug, PartialEq, thiserror::Error)]
#[error("{0} is not a probability: expected a number from 0 to 1")]
pub struct NotAProbability(pub f64);

impl Probability {
    /// `value` if it lies in 0..=1.
    pub fn new(value: f64) -> Result<Self, NotAProbability> {
        if (0.0..=1.0).contains(&value) { Ok(Self(value.abs())) } else { Err(NotAProbability(value)) }
    }

    /// The logistic function of a log-odds; a NaN has no probability.
    pub fn from_logit(logit: f64) -> Result<Self, NotAProbability> {
        Self::new(1.0 / (1.0 + (-logit).exp()))
    }

    /// The number in 0..=1.
    pub fn get(self) -> f64 {
        self.0
    }
}

impl TryFrom<f64> for Probability {
    type Error = NotAProbability;
    fn try_from(value: f64) -> Result<Self, NotAProbability> {
        Self::new(value)
    }
}

/// Personal data: it serialises where a receiver must have it, and never prints.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Pii<T>(T);

impl<T> Pii<T> {
    /// Marks a value as personal data.
    pub fn new(value: T) -> Self {
        Self(value)
    }

    /// The value, for the one place that must have it.
    pub fn expose(&self) -> &T {
        &self.0
    }
}

impl<T> fmt::Debug for Pii<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Pii(…)")
    }
}

impl<T> fmt::Display for Pii<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("…")
    }
}

/// Bytes as hexadecimal, two lower-case digits each.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
#[allow(clippy::float_cmp, reason = "the numbers are exact by construction")]
mod tests {
    use super::*;

    #[test]
    fn a_probability_is_never_nan_or_out_of_range() {
        for bad in [f64::NAN, -0.001, 1.001, f64::INFINITY] {
            assert!(Probability::new(bad).is_err(), "{bad} was accepted");
        }
        assert!(Probability::from_logit(f64::NAN).is_err());
        assert_eq!(Probability::from_logit(0.0).unwrap().get(), 0.5);
        assert_eq!(Probability::from_logit(f64::INFINITY).unwrap().get(), 1.0);
    }

    #[test]
    fn personal_data_does_not_print() {
        let number = Pii::new(String::from("+15550100"));
        assert!(!format!("{number:?} {number}").contains("555"));
        assert_eq!(serde_json::to_string(&number).unwrap(), "\"+15550100\"");
    }

    #[test]
    fn a_media_time_reads_as_minutes_and_seconds() {
        assert_eq!((MediaTime::ZERO + MediaSpan::from_seconds(65.45)).to_string(), "1:05.4");
        assert_eq!(MediaSpan::from_seconds(f64::NAN), MediaSpan::ZERO);
    }
}
