//! An evaluation for a person at a terminal: the figures that decide first, then the sweep, the groups, the changes.

use std::io::{self, Write};

use warmline_eval::{
    clock,
    difference::{Change, Difference},
    evaluation::{Against, Evaluation, OperatingPoint},
    figures::{Figure, Figures},
    tune::Tuned,
};

use super::timeline::{BOLD, CYAN, DIM, GREEN, RED, YELLOW, paint};

/// Columns of a bar.
const BAR_WIDTH: usize = 20;
const EIGHTHS: [char; 8] = [' ', '▏', '▎', '▍', '▌', '▋', '▊', '▉'];
/// Changes that are listed of each kind.
const CHANGES_SHOWN: usize = 6;
/// Names of groups are cut to this.
const NAME_WIDTH: usize = 14;

/// Writes summaries, in colour or not.
pub(super) struct Summary<'a> {
    pub(super) style: bool,
    pub(super) out: &'a mut dyn Write,
}

impl Summary<'_> {
    /// Everything a terminal shows of an evaluation.
    pub(super) fn evaluation(&mut self, suite: &str, evaluation: &Evaluation) -> io::Result<()> {
        self.head(suite, evaluation)?;
        writeln!(self.out)?;
        self.figures(&evaluation.figures, evaluation)?;
        writeln!(self.out)?;
        self.sweep(evaluation)?;
        self.slices(evaluation)?;
        if let Some(against) = &evaluation.against {
            writeln!(self.out)?;
            self.against(against, evaluation)?;
        }
        self.left_out(evaluation)
    }

    /// What tuning chose, and what it is worth.
    pub(super) fn tuned(
        &mut self,
        tuned: &Tuned,
        present: &Figures,
        evaluation: &Evaluation,
    ) -> io::Result<()> {
        writeln!(self.out, "{}  {}", self.bold("tuned"), self.dim(&format!("for {}", tuned.goal)))?;
        writeln!(self.out)?;
        let head = format!("{:>20}  {:>10}  {:>10}", "", "now", "tuned");
        writeln!(self.out, "{}", self.dim(&head))?;
        let before =
            evaluation.against.as_ref().map_or(evaluation.policy.thresholds, |a| a.policy.thresholds);
        let after = tuned.thresholds;
        for (name, before, after, unit) in [
            ("enter", before.enter, after.enter, ""),
            ("exit", before.exit, after.exit, ""),
            ("sustain", before.sustain_s, after.sustain_s, " s"),
            ("warm-up", before.warm_up_s, after.warm_up_s, " s"),
        ] {
            let places = if unit.is_empty() { 2 } else { 1 };
            let [before, after] = [before, after].map(|v| format!("{v:.places$}{unit}"));
            let after = format!("{after:>10}");
            let after = if before == after.trim() { self.dim(&after) } else { self.bold(&after) };
            writeln!(self.out, "{name:>20}  {before:>10}  {after}")?;
        }
        writeln!(self.out)?;
        let head = format!("{:>20}  {:16}  {:24}  median delay", "", "found", "false alarms per hour");
        writeln!(self.out, "{}", self.dim(&head))?;
        let honest = tuned.cross_validated.as_ref().map(|c| ("unseen callers", &c.figures));
        for (name, figures) in
            [("now", present), ("tuned, same calls", &tuned.in_sample)].into_iter().chain(honest)
        {
            let rate = pad(&with_interval(&figures.detection_rate, share), 16);
            let alarms = pad(&with_interval(&figures.false_alarms_per_hour, rate_of), 24);
            let delay = with_interval(&figures.delay_s.p50, seconds);
            writeln!(self.out, "{name:>20}  {rate}  {alarms}  {delay}")?;
        }
        let advice = match &tuned.cross_validated {
            Some(c) => format!(
                "unseen callers: each fifth of the speakers ({} parts) judged by thresholds chosen without them; expect this, not the line above it",
                c.folds
            ),
            None => "one speaker: nothing says how far this holds for others".to_owned(),
        };
        writeln!(self.out, "{:>20}  {}", "", self.dim(&advice))
    }

    fn head(&mut self, suite: &str, evaluation: &Evaluation) -> io::Result<()> {
        let Figures { calls, speakers, hours, caller_speech_hours, .. } = &evaluation.figures;
        let model = evaluation.model_names();
        let who = if evaluation.intervals.over == "speakers" {
            format!("{speakers} speakers")
        } else {
            "no speakers named".into()
        };
        let words = format!(
            "{calls} calls · {who} · {} h, {} h of caller speech · policy {} · model {model}",
            brief(*hours),
            brief(*caller_speech_hours),
            evaluation.policy.name
        );
        writeln!(self.out, "{}  {}", self.bold(suite), self.dim(&words))
    }

    fn figures(&mut self, figures: &Figures, evaluation: &Evaluation) -> io::Result<()> {
        let Figures { escalating, detected, late, early, false_alarms, caller_speech_hours, .. } = figures;
        let within = evaluation.within_s;
        let late = if *late > 0 { format!(", {late} more too late") } else { String::new() };
        let early = if *early > 0 { format!(", {early} of them before the onset") } else { String::new() };
        let calm = figures.calls - escalating;
        let colour = |good: bool| if good { GREEN } else { YELLOW };
        let rows = [
            (
                "callers found",
                Some((&figures.detection_rate, share as fn(f64) -> String)),
                colour(figures.detection_rate.value >= 0.85),
                format!(
                    "{detected} of {escalating} within {within} s of caller speech after the onset{late}"
                ),
            ),
            (
                "false alarms/h",
                Some((&figures.false_alarms_per_hour, rate_of)),
                colour(figures.false_alarms_per_hour.value <= 4.0),
                format!("{false_alarms} in {} h of caller speech{early}", brief(*caller_speech_hours)),
            ),
            ("calm calls alarmed", Some((&figures.calm_calls_alarmed, share)), CYAN, format!("of {calm}")),
            (
                "median delay",
                Some((&figures.delay_s.p50, seconds)),
                CYAN,
                format!(
                    "after the onset, in caller speech {}; nine of ten: {} (missed callers are never)",
                    seconds(figures.delay_speech_s.p50.value),
                    seconds(figures.delay_s.p90.value)
                ),
            ),
            ("", None, DIM, String::new()),
            (
                "precision at 2 %",
                figures.precision_at.get("0.02").map(|f| (f, share as fn(f64) -> String)),
                CYAN,
                format!(
                    "of transfers, where 2 % of callers lose patience; at 0.4 %: {}, at 10 %: {}",
                    figures.precision_at.get("0.004").map_or_else(String::new, |f| share(f.value)),
                    figures.precision_at.get("0.1").map_or_else(String::new, |f| share(f.value))
                ),
            ),
            (
                "calibration error",
                Some((&figures.ece, three)),
                CYAN,
                "ECE: mean distance of a score's probability from the truth".into(),
            ),
            (
                "recall at ≤5 % FPR",
                Some((&figures.pauc_fpr5, three)),
                CYAN,
                "of single scores: normalised partial area under the ROC curve".into(),
            ),
        ];
        for (name, figure, colour, words) in rows {
            let Some((figure, show)) = figure else {
                writeln!(self.out)?;
                continue;
            };
            let value = self.paint(colour, &format!("{:>7}", show(figure.value)));
            let interval = self.dim(&format!("{:15}", interval(figure, show)));
            writeln!(self.out, "{name:>20}  {value}  {interval}  {words}")?;
        }
        Ok(())
    }

    fn sweep(&mut self, evaluation: &Evaluation) -> io::Result<()> {
        let head = format!(
            "{:>20}  {:>7}  {:15}  {:BAR_WIDTH$}  {:>8}  {:15}  {:>7}",
            "enter", "found", "", "", "alarms/h", "", "delay"
        );
        writeln!(self.out, "{}", self.dim(&head))?;
        let present = evaluation.policy.thresholds.enter;
        let worth = |point: &&OperatingPoint| (0.3..0.951).contains(&point.enter);
        for point in evaluation.operating_points.iter().filter(worth) {
            let OperatingPoint {
                enter, detection_rate: rate, false_alarms_per_hour: alarms, delay_p50, ..
            } = point;
            let here = (enter - present).abs() < 1e-9;
            let mark = if here { "▸ " } else { "" };
            let name = format!("{:>20}", format!("{mark}{enter:.2}"));
            let name = if here { self.bold(&name) } else { name };
            writeln!(
                self.out,
                "{name}  {:>7}  {}  {}  {:>8}  {}  {:>7}",
                share(rate.value),
                self.dim(&format!("{:15}", interval(rate, share))),
                self.paint(GREEN, &bar(rate.value)),
                rate_of(alarms.value),
                self.dim(&format!("{:15}", interval(alarms, rate_of))),
                seconds(delay_p50.value)
            )?;
        }
        Ok(())
    }

    fn slices(&mut self, evaluation: &Evaluation) -> io::Result<()> {
        for (dimension, groups) in evaluation.slices() {
            writeln!(self.out)?;
            let head = format!(
                "{dimension:>20}  {:>7}  {:15}  {:BAR_WIDTH$}  {:>8}  {:15}  {:>7}",
                "found", "", "", "alarms/h", "", "calls"
            );
            writeln!(self.out, "{}", self.dim(&head))?;
            for (name, figures) in groups {
                let Figures { detection_rate: rate, false_alarms_per_hour: alarms, calls, .. } = figures;
                let name: String = name.chars().filter(|c| !c.is_control()).take(NAME_WIDTH).collect();
                writeln!(
                    self.out,
                    "{name:>20}  {:>7}  {}  {}  {:>8}  {}  {calls:>7}",
                    share(rate.value),
                    self.dim(&format!("{:15}", interval(rate, share))),
                    self.paint(GREEN, &bar(rate.value)),
                    rate_of(alarms.value),
                    self.dim(&format!("{:15}", interval(alarms, rate_of))),
                )?;
            }
        }
        Ok(())
    }

    /// What the evaluated policy does that the other does not.
    pub(super) fn against(&mut self, against: &Against, evaluation: &Evaluation) -> io::Result<()> {
        let title = format!("{} instead of {}", evaluation.policy.name, against.policy.name);
        let [was, is] = [&against.figures, &evaluation.figures].map(|f| {
            format!(
                "{} found, {} false alarms/h",
                share(f.detection_rate.value),
                rate_of(f.false_alarms_per_hour.value)
            )
        });
        writeln!(self.out, "{}  {}", self.bold(&title), self.dim(&format!("{is} instead of {was}")))?;
        if against.changes.is_empty() {
            return writeln!(self.out, "{:>20}  no call goes differently", "");
        }
        for change in Change::ALL {
            let of_kind: Vec<&Difference> = against.changes.iter().filter(|d| d.change == change).collect();
            let good = matches!(change, Change::Gained | Change::Earlier | Change::Avoided);
            for (n, difference) in of_kind.iter().take(CHANGES_SHOWN).enumerate() {
                let name =
                    if n == 0 { format!("{} {}", of_kind.len(), change.words()) } else { String::new() };
                let name = self.paint(if good { GREEN } else { RED }, &format!("{name:>20}"));
                let moves = self.dim(&format!(
                    "{} → {}",
                    moments(&difference.before_s),
                    moments(&difference.after_s)
                ));
                writeln!(self.out, "{name}  {}  {moves}", plain(&difference.file))?;
            }
            if of_kind.len() > CHANGES_SHOWN {
                let more = format!("and {} more; --json names them", of_kind.len() - CHANGES_SHOWN);
                writeln!(self.out, "{:>20}  {}", "", self.dim(&more))?;
            }
        }
        Ok(())
    }

    fn left_out(&mut self, evaluation: &Evaluation) -> io::Result<()> {
        let Evaluation { intervals, columns_ignored, scores_failed, .. } = evaluation;
        writeln!(self.out)?;
        let mut words = Vec::new();
        if intervals.resamples > 0 {
            words.push(format!("intervals hold 95 % of {} draws of {}", intervals.resamples, intervals.over));
        }
        if *scores_failed > 0 {
            words.push(format!("{scores_failed} scores failed"));
        }
        if !columns_ignored.is_empty() {
            words.push(format!("columns not used: {}", plain(&columns_ignored.join(", "))));
        }
        writeln!(self.out, "{:>20}  {}", "", self.dim(&words.join(" · ")))
    }

    fn paint(&self, code: &str, text: &str) -> String {
        paint(self.style, code, text)
    }

    fn bold(&self, text: &str) -> String {
        self.paint(BOLD, text)
    }

    fn dim(&self, text: &str) -> String {
        self.paint(DIM, text)
    }
}

/// What a user gave, without what moves a terminal's cursor.
fn plain(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).collect()
}

fn moments(seconds: &[f64]) -> String {
    if seconds.is_empty() {
        return "no transfer".into();
    }
    seconds.iter().map(|s| clock(*s)).collect::<Vec<_>>().join(", ")
}

fn interval(figure: &Figure, show: fn(f64) -> String) -> String {
    if figure.is_defined() && figure.low.total_cmp(&figure.high).is_ne() {
        let low = show(figure.low);
        let low = low.strip_suffix(" %").or(low.strip_suffix(" s")).unwrap_or(&low).to_owned();
        format!("{low} to {}", show(figure.high))
    } else {
        String::new()
    }
}

fn with_interval(figure: &Figure, show: fn(f64) -> String) -> String {
    match interval(figure, show) {
        words if words.is_empty() => show(figure.value),
        words => format!("{}, {words}", show(figure.value)),
    }
}

fn pad(text: &str, width: usize) -> String {
    format!("{text:width$}")
}

fn share(value: f64) -> String {
    if value.is_nan() { "–".into() } else { format!("{:.0} %", 100.0 * value) }
}

fn rate_of(value: f64) -> String {
    match value {
        v if v.is_nan() => "–".into(),
        v if v >= 99.5 => format!("{v:.0}"),
        v => format!("{v:.1}"),
    }
}

fn seconds(value: f64) -> String {
    match value {
        v if v.is_nan() => "–".into(),
        v if v.is_infinite() => "never".into(),
        v => format!("{v:.1} s"),
    }
}

fn three(value: f64) -> String {
    if value.is_nan() { "–".into() } else { format!("{value:.3}") }
}

/// Hours to the places that say something.
fn brief(hours: f64) -> String {
    if hours >= 10.0 { format!("{hours:.0}") } else { format!("{hours:.2}") }
}

#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a share of the bar's width")]
fn bar(share: f64) -> String {
    let eighths = (share.clamp(0.0, 1.0) * 8.0 * BAR_WIDTH as f64).round() as usize;
    let mut bar = "█".repeat(eighths / 8);
    if !eighths.is_multiple_of(8) {
        bar.extend(EIGHTHS.get(eighths % 8));
    }
    format!("{bar:BAR_WIDTH$}")
}
