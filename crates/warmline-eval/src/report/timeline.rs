//! One call drawn along its audio position: who spoke, how the score went, where a transfer was made.

use std::fmt::Write as _;

use crate::{
    clock,
    junit::escaped,
    suite::Row,
    trace::{Scored, Trace, decide},
    verdict::Verdict,
};
use warmline_core::{
    media::Speaker,
    policy::{Rules, State},
    score::Stage,
    units::{MediaSpan, MediaTime},
};

const WIDTH: f64 = 1040.0;
const LEFT: f64 = 64.0;
const RIGHT: f64 = 12.0;
/// Where a probability of one lies, and one of zero.
const TOP: f64 = 20.0;
const FLOOR: f64 = 112.0;
/// The lanes of who speaks.
const CALLER_LANE: f64 = 118.0;
const AGENT_LANE: f64 = 131.0;
const LANE_HEIGHT: f64 = 8.0;
const AXIS: f64 = 143.0;
const HEIGHT: f64 = 161.0;
/// Marks of the time axis, at most.
const MARKS_MAX: u64 = 12;
/// Seconds between marks, the first that is not too many.
const MARKS_S: [u64; 10] = [1, 2, 5, 10, 15, 30, 60, 120, 300, 600];
/// Hops without a score that break the line.
const BREAK_HOPS: u64 = 3;

/// The SVG of a call under `rules`.
pub(super) fn timeline(row: &Row, trace: &Trace, verdict: &Verdict, rules: &Rules) -> String {
    let words = format!("{}: scores, turns and transfers", row.file);
    let mut drawing = Drawing {
        svg: format!(
            "<svg class=\"call\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" aria-label=\"{}\">\n",
            escaped(&words)
        ),
        duration: trace.duration.seconds().max(1.0),
    };
    drawing.states(row, trace, rules);
    drawing.scale(rules);
    drawing.turns(trace);
    drawing.scores(trace);
    drawing.moments(row, verdict);
    drawing.svg.push_str("</svg>\n");
    drawing.svg
}

struct Drawing {
    svg: String,
    duration: f64,
}

impl Drawing {
    fn x(&self, at: MediaTime) -> f64 {
        LEFT + (WIDTH - LEFT - RIGHT) * (at.seconds() / self.duration).clamp(0.0, 1.0)
    }

    /// How the evidence stood: what is insufficient is hatched, what is calm is plain.
    fn states(&mut self, row: &Row, trace: &Trace, rules: &Rules) {
        let mut stretches: Vec<(MediaTime, MediaTime, &'static str)> = Vec::new();
        decide(trace, rules, row.label.onset(), |at, state| {
            let from = MediaTime(at.0.saturating_sub(trace.hop.0));
            let name = class(&state);
            match stretches.last_mut() {
                Some((_, to, last)) if *last == name => *to = at,
                Some(_) | None => stretches.push((from, at, name)),
            }
        });
        for (from, to, class) in stretches {
            let (from, to) = (self.x(from), self.x(to));
            let (width, height) = (to - from, FLOOR - TOP);
            let _ = writeln!(
                self.svg,
                "<rect class=\"{class}\" x=\"{from:.1}\" y=\"{TOP}\" width=\"{width:.1}\" height=\"{height}\"/>"
            );
        }
    }

    fn scale(&mut self, rules: &Rules) {
        let right = WIDTH - RIGHT;
        let _ =
            writeln!(self.svg, "<path class=\"axis\" d=\"M{LEFT} {FLOOR}H{right}M{LEFT} {TOP}H{right}\"/>");
        let apart = (rules.enter.get() - rules.exit.get()).abs() > 0.12;
        for (name, p, class) in [("enter", rules.enter.get(), "enter"), ("exit", rules.exit.get(), "exit")] {
            let y = y(p);
            let _ = writeln!(self.svg, "<path class=\"{class}\" d=\"M{LEFT} {y:.1}H{right}\"/>");
            if apart || name == "enter" {
                self.text(LEFT - 5.0, y + 3.5, "end", "tick", &format!("{name} {p:.2}").replace("0.", "."));
            }
        }
        self.text(LEFT - 5.0, CALLER_LANE + 7.5, "end", "tick", "caller");
        self.text(LEFT - 5.0, AGENT_LANE + 7.5, "end", "tick", "agent");
        let step = MARKS_S
            .into_iter()
            .find(|step| self.duration / *step as f64 <= MARKS_MAX as f64)
            .unwrap_or(3_600);
        for n in 0..=MARKS_MAX {
            let at = MediaTime::ZERO + MediaSpan(8_000 * n * step);
            if at.seconds() <= self.duration {
                let x = self.x(at);
                let _ = writeln!(self.svg, "<path class=\"mark\" d=\"M{x:.1} {TOP}V{AXIS}\"/>");
                let seconds = n * step;
                self.text(x, AXIS + 13.0, "middle", "tick", &format!("{}:{:02}", seconds / 60, seconds % 60));
            }
        }
    }

    fn turns(&mut self, trace: &Trace) {
        for turn in &trace.turns {
            let (class, lane) = match turn.speaker {
                Speaker::Caller => ("caller", CALLER_LANE),
                Speaker::Agent => ("agent", AGENT_LANE),
            };
            let (from, to) = (self.x(turn.from), self.x(turn.to));
            let width = (to - from).max(1.0);
            let _ = writeln!(
                self.svg,
                "<rect class=\"{class}\" x=\"{from:.1}\" y=\"{lane}\" width=\"{width:.1}\" height=\"{LANE_HEIGHT}\" rx=\"2\"/>"
            );
        }
    }

    /// A line for each run of scores of one stage; where nothing was scored for a while there is none.
    fn scores(&mut self, trace: &Trace) {
        let together =
            |a: &Scored, b: &Scored| a.stage == b.stage && b.at.since(a.at).0 <= BREAK_HOPS * trace.hop.0;
        for run in trace.scores.chunk_by(together) {
            let points: Vec<String> =
                run.iter().map(|s| format!("{:.1} {:.1}", self.x(s.at), y(s.probability.get()))).collect();
            let class = match run.first().map(|s| s.stage) {
                Some(Stage::Confirm) => "confirm",
                Some(Stage::Watch) | None => "watch",
            };
            // A single score is a dot: a line of no length with round ends.
            let path = if points.len() == 1 { format!("{}h.01", points.concat()) } else { points.join("L") };
            let _ = writeln!(self.svg, "<path class=\"{class}\" d=\"M{path}\"/>");
        }
    }

    fn moments(&mut self, row: &Row, verdict: &Verdict) {
        if let Some(onset) = row.label.onset() {
            let x = self.x(onset);
            let _ = writeln!(self.svg, "<path class=\"onset\" d=\"M{x:.1} {TOP}V{AXIS}\"/>");
            let words = format!("onset {}: sounds frustrated from here", clock(onset.seconds()));
            let (anchor, dx) = side(x);
            self.text(x + dx, 11.0, anchor, "onset-words", &words);
        }
        let alarms = verdict.false_alarms.iter().map(|alarm| (alarm.at, "false-alarm", "unwanted transfer"));
        let transfer = verdict.transfer.map(|alarm| {
            (alarm.at, "transfer", if verdict.is_detected() { "transfer" } else { "late transfer" })
        });
        for (at, class, words) in alarms.chain(transfer) {
            let x = self.x(at);
            let _ = writeln!(self.svg, "<path class=\"{class}\" d=\"M{x:.1} {TOP}V{AXIS}\"/>");
            let _ = writeln!(self.svg, "<path class=\"{class}-flag\" d=\"M{x:.1} {TOP}l11 5.5l-11 5.5z\"/>");
            let (anchor, dx) = side(x);
            let dx = if dx > 0.0 { dx + 10.0 } else { dx };
            self.text(
                x + dx,
                TOP + 10.0,
                anchor,
                &format!("{class}-words"),
                &format!("{words} {}", clock(at.seconds())),
            );
        }
    }

    fn text(&mut self, x: f64, y: f64, anchor: &str, class: &str, words: &str) {
        let _ = writeln!(
            self.svg,
            "<text class=\"{class}\" x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\">{}</text>",
            escaped(words)
        );
    }
}

/// On which side of a line its words have room.
fn side(x: f64) -> (&'static str, f64) {
    if x > WIDTH - 250.0 { ("end", -5.0) } else { ("start", 5.0) }
}

fn y(probability: f64) -> f64 {
    FLOOR - (FLOOR - TOP) * probability
}

fn class(state: &State) -> &'static str {
    match state {
        State::Unheard | State::Insufficient | State::Suspended(_) => "insufficient",
        State::Calm => "calm",
        State::Rising { .. } => "rising",
        State::Escalated { .. } => "escalated",
        State::Cooldown { .. } => "cooldown",
    }
}
