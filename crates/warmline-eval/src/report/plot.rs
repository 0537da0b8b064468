//! Charts as SVG text: an area with two axes, and marks put into it in the units of the axes.

use std::fmt::Write as _;

use crate::junit::escaped;

/// Room for the numbers of the left axis.
const LEFT: f64 = 46.0;
const RIGHT: f64 = 14.0;
/// Room for the name of the left axis.
const TOP: f64 = 26.0;
/// Room for the numbers and the name of the lower axis.
const BOTTOM: f64 = 42.0;
/// Ticks of an axis, at most.
const TICKS_MAX: f64 = 6.0;

/// How values lie along an axis.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Scale {
    /// As they are.
    Linear,
    /// By their square root: room for what is near zero, and zero has a place.
    Root,
}

/// One axis.
#[derive(Clone, Debug)]
pub(super) struct Axis {
    name: &'static str,
    to: f64,
    scale: Scale,
    ticks: Vec<(f64, String)>,
}

impl Axis {
    /// From zero to `to`, with round ticks.
    pub(super) fn linear(name: &'static str, to: f64, label: fn(f64) -> String) -> Self {
        let step = round_step(to / TICKS_MAX);
        let ticks = (0..=12).map(|n| f64::from(n) * step).filter(|tick| *tick <= to * 1.0001);
        Self { name, to, scale: Scale::Linear, ticks: ticks.map(|tick| (tick, label(tick))).collect() }
    }

    /// From zero to `to`, small values wide apart.
    pub(super) fn root(name: &'static str, to: f64, label: fn(f64) -> String) -> Self {
        let ticks =
            [0.0, 0.25, 1.0, 2.0, 4.0, 8.0, 15.0, 30.0, 60.0, 120.0].into_iter().filter(|tick| *tick <= to);
        Self { name, to, scale: Scale::Root, ticks: ticks.map(|tick| (tick, label(tick))).collect() }
    }

    /// Where a value lies, from 0 to 1; what is beyond an end lies at the end.
    fn place(&self, value: f64) -> f64 {
        let share = (value / self.to).clamp(0.0, 1.0);
        match self.scale {
            Scale::Linear => share,
            Scale::Root => share.sqrt(),
        }
    }
}

/// The smallest of 1, 2, 2.5, 5 times a power of ten that is no smaller than `least`.
fn round_step(least: f64) -> f64 {
    let power = 10_f64.powf(least.log10().floor());
    [1.0, 2.0, 2.5, 5.0, 10.0]
        .into_iter()
        .map(|m| m * power)
        .find(|step| *step >= least * 0.9999)
        .unwrap_or(least)
}

/// A chart that is being drawn.
pub(super) struct Plot {
    svg: String,
    width: f64,
    height: f64,
    x: Axis,
    y: Axis,
}

impl Plot {
    /// An empty chart with its axes; `words` say what it shows to whoever cannot see it.
    pub(super) fn new(width: f64, height: f64, x: Axis, y: Axis, words: &str) -> Self {
        let svg = format!(
            "<svg class=\"plot\" viewBox=\"0 0 {width} {height}\" role=\"img\" aria-label=\"{}\">\n",
            escaped(words)
        );
        let mut plot = Self { svg, width, height, x, y };
        plot.axes();
        plot
    }

    fn axes(&mut self) {
        let (left, right, top, bottom) = (LEFT, self.width - RIGHT, TOP, self.height - BOTTOM);
        for (tick, label) in self.y.ticks.clone() {
            let y = self.at_y(tick);
            let _ = writeln!(self.svg, "<path class=\"grid\" d=\"M{left:.1} {y:.1}H{right:.1}\"/>");
            self.text(left - 7.0, y + 4.0, "end", "tick", &label);
        }
        for (tick, label) in self.x.ticks.clone() {
            let x = self.at_x(tick);
            let _ = writeln!(self.svg, "<path class=\"grid\" d=\"M{x:.1} {top:.1}V{bottom:.1}\"/>");
            self.text(x, bottom + 16.0, "middle", "tick", &label);
        }
        let (name_x, name_y) = (self.x.name, self.y.name);
        self.text(right, self.height - 6.0, "end", "name", name_x);
        self.text(4.0, 12.0, "start", "name", name_y);
    }

    fn at_x(&self, value: f64) -> f64 {
        LEFT + (self.width - LEFT - RIGHT) * self.x.place(value)
    }

    fn at_y(&self, value: f64) -> f64 {
        self.height - BOTTOM - (self.height - TOP - BOTTOM) * self.y.place(value)
    }

    fn path(&self, points: &[(f64, f64)]) -> String {
        let steps = points.iter().map(|(x, y)| format!("{:.1} {:.1}", self.at_x(*x), self.at_y(*y)));
        format!("M{}", steps.collect::<Vec<_>>().join("L"))
    }

    /// A line through points.
    pub(super) fn line(&mut self, class: &str, points: &[(f64, f64)]) {
        if points.len() > 1 {
            let path = self.path(points);
            let _ = writeln!(self.svg, "<path class=\"{class}\" d=\"{path}\"/>");
        }
    }

    /// What lies between two lines over the same places.
    pub(super) fn area(&mut self, class: &str, lower: &[(f64, f64)], upper: &[(f64, f64)]) {
        let around: Vec<(f64, f64)> = upper.iter().chain(lower.iter().rev()).copied().collect();
        if around.len() > 2 {
            let path = self.path(&around);
            let _ = writeln!(self.svg, "<path class=\"{class}\" d=\"{path}Z\"/>");
        }
    }

    /// A dot; pointed at, it says `words`.
    pub(super) fn dot(&mut self, class: &str, (x, y): (f64, f64), radius: f64, words: &str) {
        let (x, y) = (self.at_x(x), self.at_y(y));
        let _ = writeln!(
            self.svg,
            "<circle class=\"{class}\" cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"{radius:.1}\"><title>{}</title></circle>",
            escaped(words)
        );
    }

    /// An interval across, at the height `y`.
    pub(super) fn across(&mut self, class: &str, y: f64, (low, high): (f64, f64)) {
        let (low, high, y) = (self.at_x(low), self.at_x(high), self.at_y(y));
        let _ = writeln!(self.svg, "<path class=\"{class}\" d=\"M{low:.1} {y:.1}H{high:.1}\"/>");
    }

    /// An interval upwards, at the place `x`.
    pub(super) fn upwards(&mut self, class: &str, x: f64, (low, high): (f64, f64)) {
        let (low, high, x) = (self.at_y(low), self.at_y(high), self.at_x(x));
        let _ = writeln!(self.svg, "<path class=\"{class}\" d=\"M{x:.1} {low:.1}V{high:.1}\"/>");
    }

    /// Words beside a point, moved by so many pixels.
    pub(super) fn label(
        &mut self,
        class: &str,
        (x, y): (f64, f64),
        (dx, dy): (f64, f64),
        anchor: &str,
        words: &str,
    ) {
        let (x, y) = (self.at_x(x) + dx, self.at_y(y) + dy);
        self.text(x, y, anchor, class, words);
    }

    fn text(&mut self, x: f64, y: f64, anchor: &str, class: &str, words: &str) {
        let _ = writeln!(
            self.svg,
            "<text class=\"{class}\" x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\">{}</text>",
            escaped(words)
        );
    }

    /// The chart as SVG.
    pub(super) fn finish(mut self) -> String {
        self.svg.push_str("</svg>\n");
        self.svg
    }
}

/// A dot with its interval on an axis from zero to `to`, small enough for a table's cell; `all` is where the whole suite lies.
pub(super) fn whisker(value: f64, (low, high): (f64, f64), all: f64, to: f64) -> String {
    const WIDTH: f64 = 180.0;
    let at = |value: f64| 4.0 + (WIDTH - 8.0) * (value / to).clamp(0.0, 1.0);
    let mut svg = format!(
        "<svg class=\"whisker\" viewBox=\"0 0 {WIDTH} 18\" aria-hidden=\"true\"><path class=\"grid\" d=\"M4 9H{:.1}\"/>",
        WIDTH - 4.0
    );
    if all.is_finite() {
        let _ = write!(svg, "<path class=\"whole\" d=\"M{:.1} 1V17\"/>", at(all));
    }
    if value.is_finite() {
        let (low, high) = (at(low), at(high));
        let _ = write!(
            svg,
            "<path class=\"interval\" d=\"M{low:.1} 9H{high:.1}\"/><circle class=\"dot\" cx=\"{:.1}\" cy=\"9\" r=\"4\"/>",
            at(value)
        );
    }
    svg.push_str("</svg>");
    svg
}

#[cfg(test)]
#[allow(clippy::float_cmp, reason = "the numbers are exact by construction")]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_round_numbers_and_few() {
        let ticks =
            |to| Axis::linear("", to, |v| v.to_string()).ticks.iter().map(|t| t.0).collect::<Vec<_>>();
        assert_eq!(ticks(1.0), [0.0, 0.2, 0.4, 0.6000000000000001, 0.8, 1.0]);
        assert_eq!(ticks(60.0), [0.0, 10.0, 20.0, 30.0, 40.0, 50.0, 60.0]);
        assert_eq!(ticks(13.0), [0.0, 2.5, 5.0, 7.5, 10.0, 12.5]);
    }

    #[test]
    fn a_root_axis_has_a_place_for_zero_and_keeps_what_is_beyond_at_its_end() {
        let axis = Axis::root("", 64.0, |v| v.to_string());
        assert_eq!([0.0, 16.0, 64.0, 900.0].map(|v| axis.place(v)), [0.0, 0.5, 1.0, 1.0]);
    }
}
