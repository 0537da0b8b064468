//! Judged calls → figures, each with a 95 % interval by resampling speakers.
//!
//! Calls of one speaker resemble each other, so speakers are drawn, with replacement, and each draw brings all of that
//! speaker's calls (the cluster bootstrap; Davison & Hinkley 1997, section 3.8). The interval runs from the 2.5th to the
//! 97.5th percentile of the figure over the draws. Draws in which a figure is undefined do not count for it. Where something was
//! never seen, or always, the rule of three says how far that can be trusted.

use std::collections::BTreeMap;

use serde::{Serialize, Serializer};

use super::verdict::{Judged, Outcome};
use warmline_core::packet::rounded;

/// Share of calls whose caller loses patience, at which precision is stated: a quiet, a usual and a bad day.
pub const BASE_RATES: [(&str, f64); 3] = [("0.004", 0.004), ("0.02", 0.02), ("0.1", 0.1)];

/// False-positive rate up to which the partial area is taken.
const FPR_MAX: f64 = 0.05;

/// Bins of the reliability diagram.
pub const BINS: usize = 10;

/// Figures of [`measure`].
const MEASURES: usize = 12;

/// A figure and its 95 % interval; not a number where the suite cannot say it, infinite where a delay never ends.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Figure {
    /// Over the whole suite.
    pub value: f64,
    /// 2.5th percentile over the draws.
    pub low: f64,
    /// 97.5th percentile.
    pub high: f64,
}

impl Figure {
    /// Whether the suite can say it.
    pub fn is_defined(&self) -> bool {
        !self.value.is_nan()
    }

    /// Of what was never seen in `n` tries, draws can only say "never"; its upper end is then 3/n, the rule of three
    /// (Hanley & Lippman-Hand 1983).
    fn widened(self, n: f64) -> Self {
        if self.value <= 0.0 { Self { high: self.high.max(3.0 / n), ..self } } else { self }
    }

    /// Likewise of what was seen in every one of `n` tries.
    fn widened_below(self, n: f64) -> Self {
        if self.value >= 1.0 { Self { low: self.low.min(1.0 - 3.0 / n).max(0.0), ..self } } else { self }
    }

    fn at_most_one(self) -> Self {
        Self { high: self.high.min(1.0), ..self }
    }
}

impl Serialize for Figure {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Rounded {
            value: f64,
            low: f64,
            high: f64,
        }
        let Self { value, low, high } = *self;
        // Adding zero turns −0, the sum of nothing, into 0.
        let [value, low, high] = [value, low, high].map(|v| rounded(v, 4) + 0.0);
        Rounded { value, low, high }.serialize(serializer)
    }
}

/// A median and a 90th percentile.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Percentiles {
    /// Half are at most this.
    pub p50: Figure,
    /// Nine of ten are at most this.
    pub p90: Figure,
}

/// One bin of the reliability diagram.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Bin {
    /// Lowest probability in it.
    pub from: f64,
    /// Where the next begins.
    pub to: f64,
    /// Scores in it.
    pub scores: usize,
    /// Their mean probability.
    pub mean_probability: Figure,
    /// Share of them that lie after the onset.
    pub after_onset: Figure,
}

/// How well a group of calls went.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Figures {
    /// How many calls.
    pub calls: usize,
    /// How many of them have an onset.
    pub escalating: usize,
    /// Independent draws the intervals rest on: speakers, or calls.
    pub speakers: usize,
    /// Their length, hours.
    pub hours: f64,
    /// Of it, the callers spoke, hours.
    pub caller_speech_hours: f64,
    /// Calls with a transfer in time after the onset.
    pub detected: usize,
    /// Calls with an onset and no transfer in time.
    pub missed: usize,
    /// Of the missed, those with a transfer that came too late.
    pub late: usize,
    /// Transfers before an onset; they are among the false alarms.
    pub early: usize,
    /// Transfers that nobody wanted.
    pub false_alarms: usize,
    /// Share of the calls with an onset that were detected.
    pub detection_rate: Figure,
    /// False alarms per hour of caller speech.
    pub false_alarms_per_hour: Figure,
    /// Share of the calm calls with at least one false alarm.
    pub calm_calls_alarmed: Figure,
    /// Seconds of media from the onset to the transfer; missed calls are infinite.
    pub delay_s: Percentiles,
    /// Seconds of caller speech, likewise.
    pub delay_speech_s: Percentiles,
    /// Share of the transferred calls that should have been, at a base rate: b·d / (b·d + (1 − b)·f) with the detection rate
    /// d and the share f of calm calls that were alarmed.
    pub precision_at: BTreeMap<&'static str, Figure>,
    /// Expected calibration error (Guo et al. 2017) over ten bins: how far, on average, the calibrated probability of a score
    /// lies from the share of such scores that come after the onset.
    pub ece: Figure,
    /// Partial area under the ROC curve of scores (after the onset against all others) up to a false-positive rate of 5 %,
    /// divided by 5 %: the mean recall in that range; 1 is perfect, 0.025 is chance.
    pub pauc_fpr5: Figure,
}

/// Speakers to be drawn from, and how often.
#[derive(Clone, Copy, Debug)]
pub struct Bootstrap {
    /// How many draws; none gives intervals of no width.
    pub resamples: usize,
    /// What the draws depend on.
    pub seed: u64,
}

impl Bootstrap {
    /// The figures of a group of calls.
    pub fn figures(self, calls: &[&Judged<'_>]) -> Figures {
        let sample = Sample::new(calls);
        let clusters = Clusters::new(calls);
        let figures = self.intervals(&clusters, |weights| sample.measure(weights));
        let [rate, per_hour, alarmed, p50, p90, speech_p50, speech_p90, low, usual, high, ece, pauc] =
            figures;
        let [rate, per_hour] = sample.widened([rate, per_hour]);
        let calm = calls.iter().filter(|call| call.row.label.onset().is_none()).count();
        let alarmed = alarmed.widened(calm as f64).at_most_one();
        let precisions = [low, usual, high].into_iter().zip(BASE_RATES).map(|(figure, (_, base))| {
            let least = precision(base, rate.low, alarmed.high);
            Figure { low: figure.low.min(least), ..figure }
        });
        let count = |wanted: Outcome| calls.iter().filter(|call| call.verdict.outcome == wanted).count();
        let alarms = |call: &&&Judged<'_>| call.verdict.false_alarms.len();
        let escalating = calls.iter().filter(|call| call.row.label.onset().is_some());
        let seconds = |of: &dyn Fn(&Judged<'_>) -> f64| calls.iter().map(|call| of(call)).sum::<f64>();
        Figures {
            calls: calls.len(),
            escalating: escalating.clone().count(),
            speakers: clusters.members.len(),
            hours: rounded(seconds(&|call| call.trace.duration.seconds()) / 3600.0, 4),
            caller_speech_hours: rounded(seconds(&|call| call.trace.speech.seconds()) / 3600.0, 4),
            detected: count(Outcome::Detected),
            missed: count(Outcome::Missed) + count(Outcome::Late),
            late: count(Outcome::Late),
            early: escalating.map(|call| call.verdict.false_alarms.len()).sum(),
            false_alarms: calls.iter().map(|call| alarms(&call)).sum(),
            detection_rate: rate,
            false_alarms_per_hour: per_hour,
            calm_calls_alarmed: alarmed,
            delay_s: Percentiles { p50, p90 },
            delay_speech_s: Percentiles { p50: speech_p50, p90: speech_p90 },
            precision_at: BASE_RATES.iter().map(|(name, _)| *name).zip(precisions).collect(),
            ece,
            pauc_fpr5: pauc,
        }
    }

    /// Detection rate, false alarms per hour and median delay in media seconds: what an operating point needs.
    pub fn point(self, calls: &[&Judged<'_>]) -> [Figure; 3] {
        let sample = Sample::new(calls);
        let [rate, per_hour, p50] = self.intervals(&Clusters::new(calls), |weights| sample.point(weights));
        let [rate, per_hour] = sample.widened([rate, per_hour]);
        [rate, per_hour, p50]
    }

    /// The reliability diagram: probability of a score against the share of such scores that come after the onset.
    pub fn reliability(self, calls: &[&Judged<'_>]) -> Vec<Bin> {
        let bins: Vec<[BinSum; BINS]> = calls.iter().map(|call| bins_of(call)).collect();
        let whole = add(&bins, &vec![1; calls.len()]);
        let figures: [Figure; 2 * BINS] = self.intervals(&Clusters::new(calls), |weights| {
            let sums = add(&bins, weights);
            let means = sums.iter().map(|bin| bin.probability / bin.scores);
            let mut values = [f64::NAN; 2 * BINS];
            let shares = sums.iter().map(|bin| bin.after / bin.scores);
            values.iter_mut().zip(means.chain(shares)).for_each(|(value, figure)| *value = figure);
            values
        });
        let (means, shares) = figures.split_at(BINS);
        (0_u32..)
            .zip(whole.iter().zip(means.iter().zip(shares)))
            .map(|(n, (sum, (mean, share)))| Bin {
                from: rounded(f64::from(n) / BINS as f64, 2),
                to: rounded(f64::from(n + 1) / BINS as f64, 2),
                scores: count(sum.scores),
                mean_probability: *mean,
                after_onset: *share,
            })
            .collect()
    }

    /// The values of `measure` over all calls (every weight one), and over draws of clusters (a call's weight is how often its cluster
    /// was drawn).
    fn intervals<const N: usize>(
        self,
        clusters: &Clusters,
        measure: impl Fn(&[u32]) -> [f64; N],
    ) -> [Figure; N] {
        // A sum of nothing is -0; nobody has alarmed minus none of the calls.
        let measure = |weights: &[u32]| measure(weights).map(|value| value + 0.0);
        let whole = measure(&vec![1; clusters.calls]);
        let mut draws: Vec<Vec<f64>> = vec![Vec::with_capacity(self.resamples); N];
        let mut random = SplitMix(self.seed);
        let mut weights = vec![0; clusters.calls];
        for _ in 0..self.resamples {
            clusters.draw(&mut random, &mut weights);
            let values = measure(&weights);
            let defined = draws.iter_mut().zip(values).filter(|(_, value)| !value.is_nan());
            defined.for_each(|(draws, value)| draws.push(value));
        }
        let mut figures = whole.map(|value| Figure { value, low: value, high: value });
        for (figure, draws) in figures.iter_mut().zip(&mut draws) {
            draws.sort_by(f64::total_cmp);
            if let (Some(low), Some(high)) = (nearest_rank(draws, 0.025), nearest_rank(draws, 0.975)) {
                (figure.low, figure.high) = (low, high);
            }
        }
        figures
    }
}

/// The value that a share `q` of the sorted values does not exceed: the nearest rank, so that infinities stay what they are.
#[allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a share of a length is no greater than it"
)]
fn nearest_rank(sorted: &[f64], q: f64) -> Option<f64> {
    let rank = (q * sorted.len() as f64).ceil().max(1.0) as usize;
    sorted.get(rank - 1).copied()
}

#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a sum of ones")]
fn count(ones: f64) -> usize {
    ones as usize
}

/// Which calls are drawn together.
struct Clusters {
    calls: usize,
    members: Vec<Vec<usize>>,
}

impl Clusters {
    /// Calls of one speaker belong together; a call whose speaker nobody names stands alone.
    fn new(calls: &[&Judged<'_>]) -> Self {
        let mut by_speaker: BTreeMap<(Option<&str>, usize), Vec<usize>> = BTreeMap::new();
        for (n, call) in calls.iter().enumerate() {
            let speaker = call.row.speaker.as_deref();
            by_speaker.entry((speaker, if speaker.is_some() { 0 } else { n })).or_default().push(n);
        }
        Self { calls: calls.len(), members: by_speaker.into_values().collect() }
    }

    fn draw(&self, random: &mut SplitMix, weights: &mut [u32]) {
        weights.fill(0);
        for _ in 0..self.members.len() {
            for &call in self.members.get(random.below(self.members.len())).into_iter().flatten() {
                if let Some(weight) = weights.get_mut(call) {
                    *weight += 1;
                }
            }
        }
    }
}

/// `SplitMix64` (Steele, Lea & Flood 2014).
pub(super) struct SplitMix(pub(super) u64);

impl SplitMix {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `n`, each as likely to within n / 2⁶⁴.
    #[allow(clippy::cast_possible_truncation, reason = "below n")]
    pub(super) fn below(&mut self, n: usize) -> usize {
        ((u128::from(self.next()) * n as u128) >> 64) as usize
    }
}

/// A group of calls, laid out so that a draw is measured in one pass.
struct Sample<'a> {
    calls: &'a [&'a Judged<'a>],
    /// Delays of the calls with an onset, sorted, each with its call: media, and speech.
    delays: [Vec<(f64, usize)>; 2],
    bins: Vec<[BinSum; BINS]>,
    /// Scores from the highest down: probability, whether it comes after the onset, call.
    scores: Vec<(f64, bool, usize)>,
}

impl<'a> Sample<'a> {
    fn new(calls: &'a [&'a Judged<'a>]) -> Self {
        let escalating = || calls.iter().enumerate().filter(|(_, call)| call.row.label.onset().is_some());
        let sorted = |mut delays: Vec<(f64, usize)>| {
            delays.sort_by(|a, b| a.0.total_cmp(&b.0));
            delays
        };
        let media = escalating().map(|(n, call)| (call.verdict.delay_s().0, n)).collect();
        let speech = escalating().map(|(n, call)| (call.verdict.delay_s().1, n)).collect();
        let mut scores: Vec<(f64, bool, usize)> = calls
            .iter()
            .enumerate()
            .flat_map(|(n, call)| moments(call).map(move |(probability, after)| (probability, after, n)))
            .collect();
        scores.sort_by(|a, b| b.0.total_cmp(&a.0));
        Self {
            calls,
            delays: [sorted(media), sorted(speech)],
            bins: calls.iter().map(|call| bins_of(call)).collect(),
            scores,
        }
    }

    fn measure(&self, weights: &[u32]) -> [f64; MEASURES] {
        let [rate, per_hour, p50] = self.point(weights);
        let alarmed = self.calm_calls_alarmed(weights);
        let [media, speech] = &self.delays;
        let [low, usual, high] = BASE_RATES.map(|(_, base)| precision(base, rate, alarmed));
        [
            rate,
            per_hour,
            alarmed,
            p50,
            weighted_percentile(media, weights, 0.9),
            weighted_percentile(speech, weights, 0.5),
            weighted_percentile(speech, weights, 0.9),
            low,
            usual,
            high,
            expected_calibration_error(&add(&self.bins, weights)),
            partial_area(&self.scores, weights),
        ]
    }

    fn point(&self, weights: &[u32]) -> [f64; 3] {
        let (mut escalating, mut detected, mut alarms, mut hours) = (0.0, 0.0, 0.0, 0.0);
        for (call, weight) in self.calls.iter().zip(weights) {
            let weight = f64::from(*weight);
            escalating += weight * f64::from(u8::from(call.row.label.onset().is_some()));
            detected += weight * f64::from(u8::from(call.verdict.is_detected()));
            alarms += weight * call.verdict.false_alarms.len() as f64;
            hours += weight * call.trace.speech.seconds() / 3600.0;
        }
        let [media, _] = &self.delays;
        [detected / escalating, alarms / hours, weighted_percentile(media, weights, 0.5)]
    }

    /// A detection rate and false alarms per hour, widened where draws can only say "always" or "never".
    fn widened(&self, [rate, per_hour]: [Figure; 2]) -> [Figure; 2] {
        let hours: f64 = self.calls.iter().map(|call| call.trace.speech.seconds() / 3600.0).sum();
        let [media, _] = &self.delays;
        let escalating = media.len() as f64;
        [rate.widened(escalating).at_most_one().widened_below(escalating), per_hour.widened(hours)]
    }

    fn calm_calls_alarmed(&self, weights: &[u32]) -> f64 {
        let weigh = |wanted: &[Outcome]| -> f64 {
            let calls = self.calls.iter().zip(weights);
            calls.filter(|(call, _)| wanted.contains(&call.verdict.outcome)).map(|(_, w)| f64::from(*w)).sum()
        };
        weigh(&[Outcome::FalseAlarm]) / weigh(&[Outcome::FalseAlarm, Outcome::Quiet])
    }
}

/// Of the transferred calls, the share that should have been, where a share `base` of all calls should be; not a number
/// where none is transferred.
fn precision(base: f64, detection_rate: f64, calm_calls_alarmed: f64) -> f64 {
    let (right, wrong) = (base * detection_rate, (1.0 - base) * calm_calls_alarmed);
    right / (right + wrong)
}

/// The smallest value that a share `q` of the weight does not exceed; not a number where nothing weighs.
fn weighted_percentile(sorted: &[(f64, usize)], weights: &[u32], q: f64) -> f64 {
    let weight = |call: usize| f64::from(weights.get(call).copied().unwrap_or_default());
    let all: f64 = sorted.iter().map(|(_, call)| weight(*call)).sum();
    let mut so_far = 0.0;
    for (value, call) in sorted {
        so_far += weight(*call);
        if so_far > 0.0 && so_far >= q * all - 1e-9 {
            return *value;
        }
    }
    f64::NAN
}

/// The scores of a call, each with whether it comes after the onset.
fn moments<'a>(call: &'a Judged<'_>) -> impl Iterator<Item = (f64, bool)> + 'a {
    let onset = call.row.label.onset();
    call.trace.scores.iter().map(move |s| (s.probability.get(), onset.is_some_and(|onset| s.at > onset)))
}

#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct BinSum {
    scores: f64,
    probability: f64,
    after: f64,
}

#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a probability times ten")]
fn bins_of(call: &Judged<'_>) -> [BinSum; BINS] {
    let mut bins = [BinSum::default(); BINS];
    for (probability, after) in moments(call) {
        let n = ((probability * BINS as f64) as usize).min(BINS - 1);
        if let Some(bin) = bins.get_mut(n) {
            bin.scores += 1.0;
            bin.probability += probability;
            bin.after += f64::from(u8::from(after));
        }
    }
    bins
}

fn add(calls: &[[BinSum; BINS]], weights: &[u32]) -> [BinSum; BINS] {
    let mut sums = [BinSum::default(); BINS];
    for (bins, weight) in calls.iter().zip(weights) {
        let weight = f64::from(*weight);
        for (sum, bin) in sums.iter_mut().zip(bins) {
            sum.scores += weight * bin.scores;
            sum.probability += weight * bin.probability;
            sum.after += weight * bin.after;
        }
    }
    sums
}

/// Σ n_b/N · |mean probability − share after the onset| over the bins.
fn expected_calibration_error(bins: &[BinSum; BINS]) -> f64 {
    let all: f64 = bins.iter().map(|bin| bin.scores).sum();
    bins.iter().map(|bin| (bin.probability - bin.after).abs()).sum::<f64>() / all
}

/// Area under the ROC curve up to [`FPR_MAX`], divided by it; scores from the highest down, ties are one step.
fn partial_area(scores: &[(f64, bool, usize)], weights: &[u32]) -> f64 {
    let weight = |call: usize| f64::from(weights.get(call).copied().unwrap_or_default());
    let (mut positives, mut negatives) = (0.0, 0.0);
    for (_, after, call) in scores {
        *(if *after { &mut positives } else { &mut negatives }) += weight(*call);
    }
    if positives == 0.0 || negatives == 0.0 {
        return f64::NAN;
    }
    let (mut tpr, mut fpr, mut area) = (0.0, 0.0, 0.0);
    for tied in scores.chunk_by(|a, b| a.0.total_cmp(&b.0).is_eq()) {
        let (mut up, mut right) = (0.0, 0.0);
        for (_, after, call) in tied {
            *(if *after { &mut up } else { &mut right }) += weight(*call);
        }
        let (next_tpr, next_fpr): (f64, f64) = (tpr + up / positives, fpr + right / negatives);
        let reached = next_fpr.min(FPR_MAX);
        if next_fpr > fpr {
            let share = (reached - fpr) / (next_fpr - fpr);
            area += (reached - fpr) * (tpr + share * (next_tpr - tpr) / 2.0);
        }
        (tpr, fpr) = (next_tpr, next_fpr);
        if fpr >= FPR_MAX {
            break;
        }
    }
    area / FPR_MAX
}
#[cfg(test)]
#[allow(clippy::float_cmp, reason = "the numbers are exact by construction")]
mod tests {
    use super::*;
    use crate::{
        suite::{Label, Row},
        trace::{Trace, tests::spoken},
    };
    use warmline_core::{
        policy::Policy,
        units::{MediaSpan, MediaTime},
    };

    const FEW: Bootstrap = Bootstrap { resamples: 200, seed: 7 };

    fn row(speaker: Option<&str>, onset: Option<f64>) -> Row {
        let label = onset
            .map_or(Label::Calm, |s| Label::Escalate { onset: MediaTime::ZERO + MediaSpan::from_seconds(s) });
        Row {
            models: Vec::new(),
            file: "a.wav".into(),
            path: "a.wav".into(),
            label,
            caller_channel: None,
            speaker: speaker.map(str::to_owned),
            groups: BTreeMap::new(),
        }
    }

    /// A minute of speech whose scores are 0.9 from `from` seconds on, and 0.1 before.
    fn rising(from: f64) -> Trace {
        let p = |t: f64| if t >= from { 0.9 } else { 0.1 };
        spoken(60.0, &(1..=120).map(|n| f64::from(n) / 2.0).map(|t| (t, p(t))).collect::<Vec<_>>())
    }

    /// Calls as (speaker, onset, where the score rises), under the built-in policy: a transfer two seconds after the rise.
    fn figures(calls: &[(Option<&str>, Option<f64>, f64)]) -> Figures {
        let rows: Vec<Row> = calls.iter().map(|(speaker, onset, _)| row(*speaker, *onset)).collect();
        let traces: Vec<Trace> = calls.iter().map(|(_, _, from)| rising(*from)).collect();
        let policy = Policy::parse("version = \"a\"\n[frustration]\nsustain_s = 2.0").unwrap();
        let judged = Judged::all(&rows, &traces, policy.rules_for(None, None), MediaSpan::from_seconds(10.0));
        FEW.figures(&judged.iter().collect::<Vec<_>>())
    }

    const NEVER: f64 = 99.0;

    #[test]
    fn a_suite_is_counted_by_hand() {
        let figures = figures(&[
            (Some("a"), Some(20.0), 20.0),  // found 2 s after the onset
            (Some("a"), Some(20.0), 24.0),  // found 6 s after it
            (Some("b"), Some(20.0), 35.0),  // 17 s after it: late
            (Some("b"), Some(20.0), NEVER), // missed
            (Some("c"), Some(44.0), 10.0), // false alarm at 12 s, and found at the onset when the cool-down is over
            (Some("c"), None, NEVER),      // quiet
            (Some("d"), None, 20.0),       // false alarms at 22 s and 54 s
        ]);
        let Figures { calls, escalating, speakers, detected, missed, late, early, false_alarms, .. } =
            figures;
        assert_eq!((calls, escalating, speakers), (7, 5, 4));
        assert_eq!((detected, missed, late, early, false_alarms), (3, 2, 1, 1, 3));
        assert_eq!(figures.detection_rate.value, 0.6);
        assert_eq!(figures.calm_calls_alarmed.value, 0.5);
        assert!((figures.caller_speech_hours - 7.0 / 60.0).abs() < 1e-4);
        assert!((figures.false_alarms_per_hour.value - 3.0 * 60.0 / 7.0).abs() < 1e-9);
        // 0, 2, 6, infinite, infinite: the third of five, and the fifth.
        assert_eq!((figures.delay_s.p50.value, figures.delay_s.p90.value), (6.0, f64::INFINITY));
        assert_eq!(figures.delay_speech_s.p50.value, 6.0);
        // b·d / (b·d + (1 − b)·f) = 0.1·0.6 / (0.06 + 0.9·0.5)
        assert!((figures.precision_at["0.1"].value - 0.06 / 0.51).abs() < 1e-12);
    }

    #[test]
    fn what_a_suite_cannot_say_is_not_a_number() {
        let calm = figures(&[(None, None, NEVER)]);
        assert!(
            calm.detection_rate.value.is_nan()
                && calm.delay_s.p50.value.is_nan()
                && calm.pauc_fpr5.value.is_nan()
        );
        assert_eq!(serde_json::to_value(calm.detection_rate).unwrap()["value"], serde_json::Value::Null);
        let one_sided = figures(&[(None, Some(20.0), 20.0)]);
        assert!(one_sided.calm_calls_alarmed.value.is_nan());
    }

    #[test]
    fn the_interval_of_a_constant_is_the_constant_and_that_of_a_mixture_is_not() {
        let clusters = Clusters { calls: 4, members: vec![vec![0, 1], vec![2], vec![3]] };
        let [constant, mean] = FEW.intervals(&clusters, |weights| {
            let values = weights.iter().zip([1.0, 1.0, 5.0, 9.0]);
            let all: f64 = weights.iter().map(|w| f64::from(*w)).sum();
            [3.0, values.map(|(w, v)| f64::from(*w) * v).sum::<f64>() / all]
        });
        assert_eq!((constant.low, constant.value, constant.high), (3.0, 3.0, 3.0));
        assert_eq!(mean.value, 4.0);
        assert_eq!((mean.low, mean.high), (1.0, 9.0), "all draws of one cluster are among two hundred");
    }

    #[test]
    fn calls_of_one_speaker_are_drawn_together_and_widen_the_interval() {
        let calls = |speaker: &dyn Fn(usize) -> String| {
            let names: Vec<String> = (0..40).map(speaker).collect();
            let calls: Vec<_> = names
                .iter()
                .enumerate()
                .map(|(n, name)| (Some(name.as_str()), Some(20.0), if n % 20 < 10 { 20.0 } else { NEVER }))
                .collect();
            let rate = figures(&calls).detection_rate;
            assert_eq!(rate.value, 0.5);
            rate.high - rate.low
        };
        assert!(calls(&|n| format!("{}", n / 10)) > 1.5 * calls(&|n| format!("{n}")));
    }

    #[test]
    fn what_was_never_seen_is_bounded_by_the_rule_of_three() {
        let calls: Vec<_> = (0..30).map(|_| (None, None, NEVER)).collect();
        let Figures { false_alarms_per_hour, calm_calls_alarmed, .. } = figures(&calls);
        assert_eq!((false_alarms_per_hour.value, false_alarms_per_hour.low), (0.0, 0.0));
        assert!((false_alarms_per_hour.high - 3.0 / 0.5).abs() < 1e-9, "three in half an hour");
        assert_eq!(calm_calls_alarmed.high, 0.1);
        let found: Vec<_> = (0..30).map(|_| (None, Some(20.0), 20.0)).collect();
        assert!((figures(&found).detection_rate.low - 0.9).abs() < 1e-12);
    }

    #[test]
    fn a_percentile_is_the_nearest_rank_of_the_weight() {
        let delays = [(1.0, 0), (2.0, 1), (3.0, 2), (f64::INFINITY, 3)];
        let of = |weights: &[u32], q| weighted_percentile(&delays, weights, q);
        assert_eq!(
            [of(&[1, 1, 1, 1], 0.5), of(&[1, 1, 1, 1], 0.75), of(&[1, 1, 1, 1], 0.9)],
            [2.0, 3.0, f64::INFINITY]
        );
        assert_eq!(
            [of(&[0, 0, 1, 0], 0.5), of(&[3, 0, 0, 3], 0.5), of(&[0, 2, 0, 3], 0.5)],
            [3.0, 1.0, f64::INFINITY]
        );
        assert!(of(&[0, 0, 0, 0], 0.5).is_nan());
        assert_eq!([nearest_rank(&[1.0, 2.0, 3.0, 4.0], 0.025), nearest_rank(&[], 0.5)], [Some(1.0), None]);
    }

    #[test]
    fn the_calibration_error_is_the_mean_distance_from_the_diagonal() {
        let mut bins = [BinSum::default(); BINS];
        bins[2] = BinSum { scores: 30.0, probability: 30.0 * 0.25, after: 3.0 }; // 0.25 said, 0.1 true
        bins[8] = BinSum { scores: 10.0, probability: 10.0 * 0.85, after: 9.0 }; // 0.85 said, 0.9 true
        assert!((expected_calibration_error(&bins) - (0.75 * 0.15 + 0.25 * 0.05)).abs() < 1e-12);
        assert!(expected_calibration_error(&[BinSum::default(); BINS]).is_nan());
    }

    #[test]
    fn the_partial_area_is_the_mean_recall_where_few_are_wrong() {
        let scores = |list: &[(f64, bool)]| list.iter().map(|(p, after)| (*p, *after, 0)).collect::<Vec<_>>();
        let negatives = |n: u32| (0..n).map(|i| (0.5 - f64::from(i) / 1000.0, false));
        // Every positive above every negative: recall is one everywhere.
        let perfect: Vec<_> = [(0.9, true), (0.8, true)].into_iter().chain(negatives(100)).collect();
        assert!((partial_area(&scores(&perfect), &[1]) - 1.0).abs() < 1e-12);
        // Half of the positives above all, half below all: recall is a half in the whole range.
        let half: Vec<_> = [(0.9, true)].into_iter().chain(negatives(100)).chain([(0.1, true)]).collect();
        assert!((partial_area(&scores(&half), &[1]) - 0.5).abs() < 1e-12);
        // All alike: the diagonal, whose mean recall up to 5 % is 2.5 %.
        assert!(
            (partial_area(&scores(&[(0.5, true), (0.5, false), (0.5, false)]), &[1]) - 0.025).abs() < 1e-12
        );
        // Two of a hundred negatives above the only positive: recall is 0 up to 2 %, and 1 from there to 5 %.
        let late: Vec<_> =
            [(0.9, false), (0.9, false), (0.8, true)].into_iter().chain(negatives(98)).collect();
        assert!((partial_area(&scores(&late), &[1]) - 0.6).abs() < 1e-12);
        // A weight of two is a call that was drawn twice.
        let (a, b) = (scores(&late), [(0.9, false, 0), (0.8, true, 1), (0.5, false, 2)]);
        let twice: Vec<_> = b.iter().chain(&b[..1]).copied().collect();
        let sorted = |mut v: Vec<(f64, bool, usize)>| {
            v.sort_by(|x, y| y.0.total_cmp(&x.0));
            v
        };
        assert_eq!(partial_area(&b, &[2, 1, 5]), partial_area(&sorted(twice), &[1, 1, 5]));
        assert!(partial_area(&a, &[0]).is_nan());
    }

    #[test]
    fn numbers_drawn_below_n_are_even_and_the_seed_decides_them() {
        let draw = |seed| {
            let mut random = SplitMix(seed);
            (0..7_000).map(|_| random.below(7)).collect::<Vec<_>>()
        };
        let counts = (0..7).map(|n| draw(3).iter().filter(|d| **d == n).count());
        assert!(
            counts.clone().all(|count| (880..1_120).contains(&count)),
            "{:?}",
            counts.collect::<Vec<_>>()
        );
        assert_eq!(draw(3), draw(3));
        assert_ne!(draw(3), draw(4));
    }
}
