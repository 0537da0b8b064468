//! An evaluation as one page: no script, no request, light and dark, everything drawn as SVG in it.

mod plot;
mod timeline;

use std::fmt::Write as _;

use plot::{Axis, Plot, whisker};
use timeline::timeline;

use super::{
    difference::{Change, Difference},
    evaluation::{Evaluation, OperatingPoint},
    figures::{Figure, Figures},
    junit::escaped,
    suite::{Row, Suite},
    trace::Trace,
    tune::Tuned,
    verdict::{Outcome, Verdict},
};
use warmline_core::{policy::Rules, units::MediaSpan};

use super::clock;

/// Calls drawn of each kind of mistake, the worst.
const DRAWN_MAX: usize = 8;
/// Changes listed of each kind.
const CHANGES_MAX: usize = 20;
/// False alarms per hour beyond which nobody operates, and nothing is drawn.
const ALARMS_DRAWN_MAX: f64 = 60.0;

const STYLE: &str = include_str!("report.css");

const PLOT_WIDTH: f64 = 500.0;
const PLOT_HEIGHT: f64 = 330.0;

/// The page; `name` is what the suite is called.
pub fn report(
    name: &str,
    suite: &Suite,
    traces: &[Trace],
    rules: &Rules,
    evaluation: &Evaluation,
    tuned: Option<&Tuned>,
) -> String {
    let mut page = Page { html: String::new(), evaluation };
    page.head(name);
    page.headline();
    if let Some(tuned) = tuned {
        page.tuned(tuned);
    }
    page.curves();
    page.slices();
    page.against();
    let within = MediaSpan::from_seconds(evaluation.within_s);
    let calls: Vec<(&Row, &Trace, Verdict)> = suite
        .rows
        .iter()
        .zip(traces)
        .map(|(row, trace)| (row, trace, Verdict::of(trace, row.label, rules, within)))
        .collect();
    page.legend();
    page.false_alarms(&calls, rules);
    page.misses(&calls, rules);
    page.points();
    page.left_out();
    page.html.push_str("</main>\n</body>\n</html>\n");
    page.html
}

struct Page<'a> {
    html: String,
    evaluation: &'a Evaluation,
}

impl Page<'_> {
    fn add(&mut self, html: &str) {
        self.html.push_str(html);
        self.html.push('\n');
    }

    fn head(&mut self, name: &str) {
        let Evaluation { policy, figures, intervals, software, .. } = self.evaluation;
        let model = self.evaluation.model_names();
        let speakers = if intervals.over == "speakers" {
            format!("{} speakers", figures.speakers)
        } else {
            "speakers not named".into()
        };
        let title = escaped(name);
        let _ = write!(
            self.html,
            "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
             <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
             <meta name=\"color-scheme\" content=\"light dark\">\n<title>{title} · Warmline evaluation</title>\n\
             <style>\n{STYLE}</style>\n</head>\n<body>\n\
             <svg class=\"defs\" aria-hidden=\"true\"><defs><pattern id=\"hatch\" width=\"6\" height=\"6\" \
             patternUnits=\"userSpaceOnUse\" patternTransform=\"rotate(45)\"><path class=\"hatch\" d=\"M0 0V6\"/></pattern></defs></svg>\n\
             <main>\n<header>\n<p class=\"kind\">Warmline evaluation</p>\n<h1>{title}</h1>\n\
             <p class=\"facts\">{} calls · {speakers} · {} h of audio, {} h of caller speech · policy <b>{}</b> · model <b>{}</b> · {}</p>\n</header>\n",
            figures.calls,
            hours(figures.hours),
            hours(figures.caller_speech_hours),
            escaped(&policy.name),
            escaped(&model),
            escaped(software),
        );
    }

    fn headline(&mut self) {
        let Evaluation { figures, within_s, .. } = self.evaluation;
        let precision = figures.precision_at.get("0.02").copied();
        let late =
            if figures.late > 0 { format!("; {} more came too late", figures.late) } else { String::new() };
        let cards = [
            (
                "Callers found in time",
                Some(figures.detection_rate),
                share as fn(f64) -> String,
                format!(
                    "{} of {} who lose patience, within {within_s} s of their own speech after the onset{late}",
                    figures.detected, figures.escalating
                ),
            ),
            (
                "False alarms per hour",
                Some(figures.false_alarms_per_hour),
                rate,
                format!(
                    "{} in {} h of caller speech; {} of the calm calls had one",
                    figures.false_alarms,
                    hours(figures.caller_speech_hours),
                    share(figures.calm_calls_alarmed.value)
                ),
            ),
            (
                "Median delay",
                Some(figures.delay_s.p50),
                seconds,
                format!(
                    "after the onset, {} of caller speech; a missed caller waits for ever",
                    seconds(figures.delay_speech_s.p50.value)
                ),
            ),
            (
                "Right transfers",
                precision,
                share,
                format!(
                    "where 2 % of callers lose patience (precision); {} at 0.4 %, {} at 10 %",
                    figures.precision_at.get("0.004").map_or_else(String::new, |f| share(f.value)),
                    figures.precision_at.get("0.1").map_or_else(String::new, |f| share(f.value))
                ),
            ),
        ];
        self.add("<section class=\"cards\">");
        for (name, figure, show, words) in cards {
            let Some(figure) = figure else { continue };
            let _ = writeln!(
                self.html,
                "<div class=\"card\"><h2>{name}</h2><p class=\"value\">{}</p><p class=\"range\">{}</p><p>{}</p></div>",
                show(figure.value),
                interval(&figure, show),
                escaped(&words)
            );
        }
        self.add("</section>");
        self.add(
            "<p class=\"note\">The score is a probability that a stretch of speech sounds frustrated. It says what was heard, \
             not what someone is, and may only ever give a caller a human sooner.</p>",
        );
    }

    fn tuned(&mut self, tuned: &Tuned) {
        let _ = writeln!(
            self.html,
            "<section><h2>Tuned</h2><p>For {}. {} combinations of thresholds were decided on the scores of one replay.</p>",
            escaped(&tuned.goal.to_string()),
            tuned.tried
        );
        self.add("<div class=\"wide\"><table><thead><tr><th></th><th class=\"n\">found</th><th></th><th class=\"n\">false alarms per hour</th><th></th><th class=\"n\">median delay</th></tr></thead><tbody>");
        let now = self.evaluation.against.as_ref().map(|a| ("before", &a.figures));
        let honest = tuned
            .cross_validated
            .as_ref()
            .map(|c| ("tuned, on callers who had no part in the choice", &c.figures));
        for (name, figures) in
            now.into_iter().chain([("tuned, on the calls that chose it", &tuned.in_sample)]).chain(honest)
        {
            let _ = writeln!(
                self.html,
                "<tr><td>{name}</td><td class=\"n\">{}</td><td class=\"range\">{}</td><td class=\"n\">{}</td><td class=\"range\">{}</td><td class=\"n\">{}</td></tr>",
                share(figures.detection_rate.value),
                interval(&figures.detection_rate, share),
                rate(figures.false_alarms_per_hour.value),
                interval(&figures.false_alarms_per_hour, rate),
                seconds(figures.delay_s.p50.value)
            );
        }
        self.add("</tbody></table></div><p class=\"note\">What is best on the calls that chose it flatters itself: expect the last line.</p></section>");
    }

    fn curves(&mut self) {
        self.add("<section class=\"plots\">");
        let costs = self.evaluation.cost_curve.costs;
        let costs = format!(
            "Per hundred calls of this suite, over <i>enter</i>. <i class=\"b too-much\"></i> too much: a transfer that nobody wanted \
             costs {}. <i class=\"b too-little\"></i> too little: a caller who got no human in time costs {}.",
            costs.false_alarm, costs.missed
        );
        let figures = [
            (
                "Too little against too much",
                "Callers missed over false alarms per hour of caller speech, as <i>enter</i> moves. Lower left is better. \
                 The red point is this policy, a red ring the one it is set against.",
                self.det(),
            ),
            (
                "How soon",
                "Median delay after the onset over false alarms. Open points at the top: fewer than half of the callers are \
                 found at all.",
                self.delays(),
            ),
            ("What mistakes cost", &costs, self.costs()),
            (
                "Does the probability mean what it says",
                "Share of scores that come after the onset, over their probability. On the diagonal it does. The larger a dot, \
                 the more scores it stands for.",
                self.reliability(),
            ),
        ];
        for (title, words, plot) in figures {
            let _ = writeln!(
                self.html,
                "<figure><h2>{title}</h2>{plot}<figcaption>{words}</figcaption></figure>"
            );
        }
        self.add("</section>");
    }

    /// The points where somebody might operate.
    fn drawn(&self) -> Vec<&OperatingPoint> {
        let worth = |p: &&OperatingPoint| {
            p.false_alarms_per_hour.value <= ALARMS_DRAWN_MAX && p.detection_rate.is_defined()
        };
        self.evaluation.operating_points.iter().filter(worth).collect()
    }

    fn alarms_axis(&self) -> Axis {
        let drawn = self.drawn();
        let most = drawn.iter().map(|p| p.false_alarms_per_hour.value).fold(0.0, f64::max);
        let own = self.evaluation.figures.false_alarms_per_hour;
        let most = most.max(own.value).max(own.high.min(2.0 * ALARMS_DRAWN_MAX)).max(1.0);
        Axis::root("false alarms per hour of caller speech", most * 1.05, |v| format!("{v}"))
    }

    fn det(&self) -> String {
        let y = Axis::linear("callers missed", 1.0, share);
        let mut plot =
            Plot::new(PLOT_WIDTH, PLOT_HEIGHT, self.alarms_axis(), y, "missed callers over false alarms");
        let drawn = self.drawn();
        let place = |p: &OperatingPoint| (p.false_alarms_per_hour.value, 1.0 - p.detection_rate.value);
        for p in &drawn {
            let rate = p.detection_rate;
            plot.upwards("faint-interval", p.false_alarms_per_hour.value, (1.0 - rate.high, 1.0 - rate.low));
        }
        plot.line("curve", &drawn.iter().map(|p| place(p)).collect::<Vec<_>>());
        for p in &drawn {
            plot.dot("dot", place(p), 3.0, &format!("enter {:.2}", p.enter));
        }
        label_some(&mut plot, &drawn, place);
        let own = |f: &Figures| (f.false_alarms_per_hour.value, 1.0 - f.detection_rate.value);
        if let Some(against) = &self.evaluation.against {
            plot.dot("other", own(&against.figures), 6.0, &against.policy.name);
        }
        let figures = &self.evaluation.figures;
        if figures.detection_rate.is_defined() {
            let (rate, alarms) = (figures.detection_rate, figures.false_alarms_per_hour);
            plot.upwards("own-interval", alarms.value, (1.0 - rate.high, 1.0 - rate.low));
            plot.across("own-interval", 1.0 - rate.value, (alarms.low, alarms.high));
            plot.dot("own", own(figures), 6.5, &self.evaluation.policy.name);
        }
        plot.finish()
    }

    fn delays(&self) -> String {
        let drawn = self.drawn();
        let finite = drawn.iter().map(|p| p.delay_p50.value).filter(|d| d.is_finite());
        let top = finite.fold(5.0, f64::max) * 1.3;
        let y = Axis::linear("median delay, s", top, |v| format!("{v}"));
        let mut plot =
            Plot::new(PLOT_WIDTH, PLOT_HEIGHT, self.alarms_axis(), y, "median delay over false alarms");
        let place = |p: &OperatingPoint| (p.false_alarms_per_hour.value, p.delay_p50.value.min(top));
        let reached: Vec<&OperatingPoint> =
            drawn.iter().copied().filter(|p| p.delay_p50.value.is_finite()).collect();
        for p in &reached {
            plot.upwards(
                "faint-interval",
                p.false_alarms_per_hour.value,
                (p.delay_p50.low, p.delay_p50.high.min(top)),
            );
        }
        plot.line("curve", &reached.iter().map(|p| place(p)).collect::<Vec<_>>());
        for p in &drawn {
            let class = if p.delay_p50.value.is_finite() { "dot" } else { "never" };
            plot.dot(class, place(p), 3.0, &format!("enter {:.2}: {}", p.enter, seconds(p.delay_p50.value)));
        }
        label_some(&mut plot, &reached, place);
        let Figures { delay_s, false_alarms_per_hour: alarms, .. } = &self.evaluation.figures;
        if delay_s.p50.is_defined() {
            plot.dot("own", (alarms.value, delay_s.p50.value.min(top)), 6.5, &self.evaluation.policy.name);
        }
        plot.finish()
    }

    fn costs(&self) -> String {
        let curve = &self.evaluation.cost_curve;
        let top = curve.points.iter().map(|p| p.cost).fold(0.0, f64::max).max(1e-6) * 1.1;
        let x = Axis::linear("enter", 1.0, |v| format!("{v:.1}"));
        let y = Axis::linear("cost per hundred calls", top, |v| format!("{v}"));
        let mut plot = Plot::new(PLOT_WIDTH, PLOT_HEIGHT, x, y, "cost of mistakes over the threshold");
        let along = |of: fn(&super::evaluation::CostPoint) -> f64| -> Vec<(f64, f64)> {
            curve.points.iter().map(|p| (p.enter, of(p))).collect()
        };
        plot.area("too-little", &along(|_| 0.0), &along(|p| p.too_little));
        plot.area("too-much", &along(|p| p.too_little), &along(|p| p.cost));
        plot.line("curve", &along(|p| p.cost));
        let present = self.evaluation.policy.thresholds.enter;
        plot.upwards("present", present, (0.0, top));
        plot.label("tick", (present, top), (5.0, 10.0), "start", "now");
        if let Some(least) = curve.points.iter().min_by(|a, b| a.cost.total_cmp(&b.cost)) {
            let place = (least.enter, least.cost);
            plot.dot("own", place, 5.0, &format!("least at {:.2}", least.enter));
            plot.label("strong", place, (0.0, -10.0), "middle", &format!("least at {:.2}", least.enter));
        }
        plot.finish()
    }

    fn reliability(&self) -> String {
        let x = Axis::linear("probability of the score", 1.0, |v| format!("{v:.1}"));
        let y = Axis::linear("share after the onset", 1.0, share);
        let mut plot = Plot::new(PLOT_WIDTH, PLOT_HEIGHT, x, y, "reliability diagram");
        plot.line("diagonal", &[(0.0, 0.0), (1.0, 1.0)]);
        let bins = self.evaluation.reliability.iter().filter(|bin| bin.scores > 0);
        let most = bins.clone().map(|bin| bin.scores).max().unwrap_or(1) as f64;
        let place = |bin: &super::figures::Bin| (bin.mean_probability.value, bin.after_onset.value);
        plot.line("curve", &bins.clone().map(place).collect::<Vec<_>>());
        for bin in bins {
            plot.upwards(
                "bin-interval",
                bin.mean_probability.value,
                (bin.after_onset.low, bin.after_onset.high),
            );
            let radius = 3.0 + 6.0 * (bin.scores as f64 / most).sqrt();
            plot.dot("dot", place(bin), radius, &format!("{} scores", bin.scores));
        }
        let ece = self.evaluation.figures.ece;
        if ece.is_defined() {
            let words = format!("ECE {:.3} ({})", ece.value, interval(&ece, |v| format!("{v:.3}")));
            plot.label("strong", (1.0, 0.0), (-8.0, -10.0), "end", &words);
        }
        plot.finish()
    }

    fn slices(&mut self) {
        let Evaluation { slices, figures, .. } = self.evaluation;
        if slices.is_empty() {
            return;
        }
        let most = slices
            .values()
            .flat_map(|groups| groups.values())
            .map(|f| f.false_alarms_per_hour.value)
            .fold(figures.false_alarms_per_hour.value, |a, b| if b.is_finite() { a.max(b) } else { a });
        let alarms_to = (most * 2.0).max(4.0);
        self.add("<section><h2>By group</h2><p class=\"note\">Dot: the group; line: its 95 % interval; vertical line: the whole suite. A wide interval means that there are too few calls to say.</p>");
        self.add("<div class=\"wide\"><table><thead><tr><th></th><th class=\"n\">calls</th><th class=\"n\">found</th><th></th><th></th><th class=\"n\">false alarms per hour</th><th></th><th></th><th class=\"n\">median delay</th></tr></thead>");
        for (dimension, groups) in slices {
            let _ =
                writeln!(self.html, "<tbody><tr class=\"dimension\"><th colspan=\"9\">{dimension}</th></tr>");
            for (name, group) in groups {
                let (found, alarms) = (group.detection_rate, group.false_alarms_per_hour);
                let _ = writeln!(
                    self.html,
                    "<tr><td>{}</td><td class=\"n\">{}</td><td class=\"n\">{}</td><td>{}</td><td class=\"range\">{}</td><td class=\"n\">{}</td><td>{}</td><td class=\"range\">{}</td><td class=\"n\">{}</td></tr>",
                    escaped(name),
                    group.calls,
                    share(found.value),
                    if found.is_defined() {
                        whisker(found.value, (found.low, found.high), figures.detection_rate.value, 1.0)
                    } else {
                        String::new()
                    },
                    interval(&found, share),
                    rate(alarms.value),
                    whisker(
                        alarms.value,
                        (alarms.low, alarms.high),
                        figures.false_alarms_per_hour.value,
                        alarms_to
                    ),
                    interval(&alarms, rate),
                    seconds(group.delay_s.p50.value),
                );
            }
            self.add("</tbody>");
        }
        self.add("</table></div></section>");
    }

    fn against(&mut self) {
        let Some(against) = &self.evaluation.against else { return };
        let _ = writeln!(
            self.html,
            "<section><h2>Instead of policy {}</h2><p>{} found and {} false alarms per hour, instead of {} and {}.</p>",
            escaped(&against.policy.name),
            share(self.evaluation.figures.detection_rate.value),
            rate(self.evaluation.figures.false_alarms_per_hour.value),
            share(against.figures.detection_rate.value),
            rate(against.figures.false_alarms_per_hour.value)
        );
        if against.changes.is_empty() {
            self.add("<p>No call goes differently.</p>");
        }
        self.add("<table><tbody>");
        for change in Change::ALL {
            let of_kind: Vec<&Difference> = against.changes.iter().filter(|d| d.change == change).collect();
            if of_kind.is_empty() {
                continue;
            }
            let _ = writeln!(
                self.html,
                "<tr class=\"dimension\"><th colspan=\"3\">{}: {}</th></tr>",
                change.words(),
                of_kind.len()
            );
            for difference in of_kind.iter().take(CHANGES_MAX) {
                let _ = writeln!(
                    self.html,
                    "<tr><td>{}</td><td>{}</td><td>→ {}</td></tr>",
                    escaped(&difference.file),
                    moments(&difference.before_s),
                    moments(&difference.after_s)
                );
            }
            if of_kind.len() > CHANGES_MAX {
                let _ = writeln!(
                    self.html,
                    "<tr><td colspan=\"3\" class=\"range\">and {} more; --json names them</td></tr>",
                    of_kind.len() - CHANGES_MAX
                );
            }
        }
        self.add("</tbody></table></section>");
    }

    fn legend(&mut self) {
        self.add(
            "<section><h2>Call by call</h2><p class=\"legend\">\
             <span><i class=\"k watch\"></i>score, watch</span><span><i class=\"k confirm\"></i>score, confirm</span>\
             <span><i class=\"k enter\"></i>enter</span><span><i class=\"k exit\"></i>exit</span>\
             <span><i class=\"b insufficient\"></i>not enough evidence</span><span><i class=\"b calm\"></i>calm</span>\
             <span><i class=\"b rising\"></i>rising</span><span><i class=\"b escalated\"></i>transferred</span>\
             <span><i class=\"b cooldown\"></i>cool-down</span></p></section>",
        );
    }

    fn false_alarms(&mut self, calls: &[(&Row, &Trace, Verdict)], rules: &Rules) {
        let mut wrong: Vec<&(&Row, &Trace, Verdict)> =
            calls.iter().filter(|(_, _, verdict)| !verdict.false_alarms.is_empty()).collect();
        wrong.sort_by(|a, b| {
            let key = |call: &(&Row, &Trace, Verdict)| (call.2.false_alarms.len(), call.1.peak());
            key(b).cmp(&key(a))
        });
        self.calls(
            "Worst false alarms",
            "Most of them first, then the highest score. No false alarm in this suite.",
            &wrong,
            rules,
            |(row, trace, verdict)| {
                let n = verdict.false_alarms.len();
                let kind = match row.label.onset() {
                    Some(_) => "before the onset",
                    None => "in a calm call",
                };
                let plural = if n == 1 { "" } else { "s" };
                format!("{n} unwanted transfer{plural} {kind}, highest score {}", peak(trace))
            },
        );
    }

    fn misses(&mut self, calls: &[(&Row, &Trace, Verdict)], rules: &Rules) {
        let alone = |(row, trace, verdict): &(&Row, &Trace, Verdict)| {
            let heard = row.label.onset().map_or(MediaSpan::ZERO, |onset| trace.spoken_by(onset));
            let until = verdict.transfer.map_or(trace.speech, |alarm| alarm.speech);
            MediaSpan(until.0.saturating_sub(heard.0))
        };
        let mut missed: Vec<&(&Row, &Trace, Verdict)> =
            calls.iter().filter(|(_, _, v)| matches!(v.outcome, Outcome::Missed | Outcome::Late)).collect();
        missed.sort_by_key(|call| (call.2.outcome == Outcome::Late, std::cmp::Reverse(alone(call))));
        self.calls(
            "Worst misses",
            "Those who spoke longest after the onset without a human first. Nobody was missed in this suite.",
            &missed,
            rules,
            |call| {
                let spoke = alone(call).seconds();
                match call.2.transfer {
                    None => format!(
                        "no transfer in {spoke:.1} s of speech after the onset, highest score {}",
                        peak(call.1)
                    ),
                    Some(_) => format!("transferred after {spoke:.1} s of speech: too late"),
                }
            },
        );
    }

    /// `words` are a sentence for when there are some, and one for when there are none.
    fn calls(
        &mut self,
        title: &str,
        words: &str,
        calls: &[&(&Row, &Trace, Verdict)],
        rules: &Rules,
        say: impl Fn(&(&Row, &Trace, Verdict)) -> String,
    ) {
        let (some, none) = words.split_once(". ").unwrap_or((words, words));
        let words = if calls.is_empty() { none.to_owned() } else { format!("{some}.") };
        let count = if calls.is_empty() { String::new() } else { format!(" <small>{}</small>", calls.len()) };
        let _ = writeln!(self.html, "<section><h2>{title}{count}</h2><p class=\"note\">{words}</p>");
        for call in calls.iter().take(DRAWN_MAX) {
            let (row, trace, verdict) = call;
            let groups: Vec<&str> =
                row.speaker.as_deref().into_iter().chain(row.groups.values().map(String::as_str)).collect();
            let _ = writeln!(
                self.html,
                "<article><h3>{} <small>{}</small></h3><p>{}</p><div class=\"wide\">{}</div></article>",
                escaped(&row.file),
                escaped(&groups.join(" · ")),
                escaped(&say(call)),
                timeline(row, trace, verdict, rules)
            );
        }
        if calls.len() > DRAWN_MAX {
            let _ = writeln!(
                self.html,
                "<p class=\"note\">{} more are not drawn; --json has every call.</p>",
                calls.len() - DRAWN_MAX
            );
        }
        self.add("</section>");
    }

    fn points(&mut self) {
        self.add("<section><details><summary>Operating points</summary><div class=\"wide\"><table><thead><tr><th class=\"n\">enter</th><th class=\"n\">exit</th><th class=\"n\">found</th><th></th><th class=\"n\">false alarms per hour</th><th></th><th class=\"n\">median delay</th><th></th></tr></thead><tbody>");
        for point in &self.evaluation.operating_points {
            let OperatingPoint { enter, exit, detection_rate, false_alarms_per_hour, delay_p50 } = point;
            let _ = writeln!(
                self.html,
                "<tr><td class=\"n\">{enter:.2}</td><td class=\"n\">{exit:.2}</td><td class=\"n\">{}</td><td class=\"range\">{}</td><td class=\"n\">{}</td><td class=\"range\">{}</td><td class=\"n\">{}</td><td class=\"range\">{}</td></tr>",
                share(detection_rate.value),
                interval(detection_rate, share),
                rate(false_alarms_per_hour.value),
                interval(false_alarms_per_hour, rate),
                seconds(delay_p50.value),
                interval(delay_p50, seconds)
            );
        }
        self.add("</tbody></table></div></details></section>");
    }

    fn left_out(&mut self) {
        let Evaluation {
            intervals, within_s, columns_ignored, scores_failed, policy, operating_points, ..
        } = self.evaluation;
        let undrawn = operating_points.len() - self.drawn().len();
        let mut words = vec![
            format!("Found: a transfer at or after the onset, within {within_s} s of the caller's own speech. Later counts as missed, and a missed call's delay is infinite, not dropped."),
            "False alarm: any transfer in a calm call, or before the onset. It is taken to come to nothing, the cool-down holds and the call goes on, so a call may have several. The hours are hours of caller speech.".to_owned(),
            "Precision at a base rate b, per call: b·d / (b·d + (1 − b)·f), with the share d of callers found and the share f of calm calls with a false alarm.".to_owned(),
            "Calibration and the partial area are of single scores: is this moment after the onset or not? A window reaches some seconds back, so the first scores after an onset still hold calm speech.".to_owned(),
            format!("Intervals: 2.5th to 97.5th percentile of {} draws of {} with replacement (seed {}). What was never seen is bounded by the rule of three.", intervals.resamples, intervals.over, intervals.seed),
            format!("Policy: enter {}, exit {}, sustain {} s, warm-up {} s, cool-down {} s. While enter is swept, exit keeps its distance.", policy.thresholds.enter, policy.thresholds.exit, policy.thresholds.sustain_s, policy.thresholds.warm_up_s, policy.thresholds.cooldown_s),
        ];
        if undrawn > 0 {
            words.push(format!("{undrawn} operating points with more than {ALARMS_DRAWN_MAX} false alarms per hour are in the table and not in the curves."));
        }
        if *scores_failed > 0 {
            words.push(format!("{scores_failed} windows could not be scored; they count as silence."));
        }
        if !columns_ignored.is_empty() {
            words.push(format!("Columns of the suite that were not used: {}.", columns_ignored.join(", ")));
        }
        if self.evaluation.figures.calls < 200 {
            words.push(
                "Small suites mislead: below a few hundred calls, read the intervals before the figures."
                    .to_owned(),
            );
        }
        self.add("<section class=\"method\"><h2>How this was measured, and what was left out</h2><ul>");
        for line in words {
            let _ = writeln!(self.html, "<li>{}</li>", escaped(&line));
        }
        self.add("</ul></section>");
    }
}

/// Names the thresholds of a few points, where there is room.
fn label_some(plot: &mut Plot, points: &[&OperatingPoint], place: impl Fn(&OperatingPoint) -> (f64, f64)) {
    for point in points {
        let tenths = point.enter * 10.0;
        if (tenths - tenths.round()).abs() < 1e-9 {
            plot.label("tick", place(point), (7.0, -6.0), "start", &format!("{:.1}", point.enter));
        }
    }
}

fn peak(trace: &Trace) -> String {
    trace.peak().map_or_else(|| "none".into(), |p| format!("{:.2}", p.get()))
}

fn moments(all: &[f64]) -> String {
    if all.is_empty() {
        "no transfer".into()
    } else {
        all.iter().map(|s| clock(*s)).collect::<Vec<_>>().join(", ")
    }
}

fn interval(figure: &Figure, show: fn(f64) -> String) -> String {
    if figure.is_defined() && figure.low.total_cmp(&figure.high).is_ne() {
        format!("{} – {}", show(figure.low), show(figure.high))
    } else {
        String::new()
    }
}

fn share(value: f64) -> String {
    if value.is_nan() { "–".into() } else { format!("{:.0}\u{a0}%", 100.0 * value) }
}

fn rate(value: f64) -> String {
    if value.is_nan() { "–".into() } else { format!("{value:.1}") }
}

fn seconds(value: f64) -> String {
    match value {
        v if v.is_nan() => "–".into(),
        v if v.is_infinite() => "never".into(),
        v => format!("{v:.1} s"),
    }
}

fn hours(value: f64) -> String {
    if value >= 10.0 { format!("{value:.0}") } else { format!("{value:.2}") }
}
