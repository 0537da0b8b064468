//! Judged calls → figures, each with a 95 % interval by resampling speakers.
//!
//! Calls of one speaker resemble each other, so speakers are drawn, with replacement, and each draw brings all of that
//! speaker's calls (the cluster bootstrap; Davison & Hinkley 1997, section 3.8). The interval runs from the 2.5th to the
//! 97.5th percentile of the figure over the draws. Draws in which a figure is undefined do not count for it.

use std::collections::BTreeMap;

use serde::{Serialize, Serializer};

use super::verdict::{Judged, Outcome};
use crate::packet::rounded;

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
            precision_at: BASE_RATES.iter().map(|(name, _)| *name).zip([low, usual, high]).collect(),
            ece,
            pauc_fpr5: pauc,
        }
    }

    /// Detection rate, false alarms per hour and median delay in media seconds: what an operating point needs.
    pub fn point(self, calls: &[&Judged<'_>]) -> [Figure; 3] {
        let sample = Sample::new(calls);
        self.intervals(&Clusters::new(calls), |weights| sample.point(weights))
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
