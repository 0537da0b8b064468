//! A call's events for a person at a terminal: who spoke, what was heard, how the score went, what was decided.

use std::{
    fmt::Write as _,
    io::{self, Write},
    path::Path,
};

use warmline_core::{
    call::{CallConfig, Event, EventKind},
    media::Speaker,
    packet::{ContextPacket, Provenance},
    units::{MediaSpan, MediaTime},
};

/// Columns of a line; what is longer goes on below.
const WIDTH: usize = 100;
/// How far from its turn an utterance may stand, seconds.
const TURN_NEAR_S: f64 = 5.0;
/// Scores of a turn that are drawn, the latest.
const SPARK_WIDTH: usize = 12;
const SPARKS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];

pub(super) const BOLD: &str = "1";
pub(super) const DIM: &str = "2";
pub(super) const GREEN: &str = "32";
pub(super) const YELLOW: &str = "33";
pub(super) const RED: &str = "31";
pub(super) const CYAN: &str = "36";

/// The events of one call, put in order of time: all of them when it is over, or bit by bit while it is live.
pub(super) struct Timeline {
    style: bool,
    title: String,
    head: String,
    rows: Vec<Row>,
    /// Who said when what, laid out.
    said: Vec<(Speaker, f64, String)>,
    /// Scores of the caller's turn that is not over: when, probability, state.
    scores: Vec<(MediaTime, f64, &'static str)>,
    packet: Option<Box<ContextPacket>>,
    end: String,
}

struct Row {
    at: f64,
    text: String,
    /// Whose turn it is, and where it ends.
    turn: Option<(Speaker, f64)>,
}

impl Timeline {
    pub(super) fn new(path: &Path, style: bool) -> Self {
        Self {
            style,
            title: path.display().to_string(),
            head: String::new(),
            rows: Vec::new(),
            said: Vec::new(),
            scores: Vec::new(),
            packet: None,
            end: String::new(),
        }
    }

    /// What is known before the first sample.
    pub(super) fn head(&mut self, audio: &str, config: &CallConfig) {
        let model = config.stages.as_ref().map_or_else(
            || "none".to_owned(),
            |s| {
                std::iter::once(&s.first)
                    .chain(&s.confirm)
                    .map(|m| m.name.as_str())
                    .collect::<Vec<_>>()
                    .join(" + ")
            },
        );
        self.head = format!("{audio} · policy {} · model {model}", config.policy.version());
    }

    pub(super) fn take(&mut self, event: &Event) {
        let at = event.at.seconds();
        match &event.what {
            EventKind::CallStarted { .. } => {}
            EventKind::Score { probability, state, .. } => self.scores.push((event.at, *probability, state)),
            EventKind::Turn { speaker: Speaker::Agent, from_s, to_s, .. } => {
                let text =
                    format!("{}  {}", self.paint(DIM, "agent "), self.paint(DIM, &spoke(*from_s, *to_s)));
                self.turn(Speaker::Agent, *from_s, *to_s, text);
            }
            EventKind::Turn { speaker: Speaker::Caller, from_s, to_s, heard } => {
                self.caller_turn(*from_s, *to_s, heard)
            }
            EventKind::State { from: "calm" | "rising", to: "insufficient", .. } => {
                self.note(at, DIM, "·", "too little speech of late to say anything");
            }
            EventKind::State { to: "unheard" | "insufficient" | "calm" | "rising" | "escalated", .. } => {}
            EventKind::State { to, why, .. } => self.note(at, DIM, "·", &format!("{to}: {why}")),
            EventKind::Cue { cue, evidence } => {
                let text = format!("{}: {evidence}", cue.name().replace('_', " "));
                self.note(at, YELLOW, "●", &text);
            }
            EventKind::Said { speaker, at_s, text } => {
                let lines = wrap(&format!("“{}”", text.expose()), WIDTH - 17);
                let lines = lines.iter().map(|line| self.paint(DIM, line)).collect::<Vec<_>>();
                self.said.push((*speaker, *at_s, lines.join(&format!("\n{:17}", ""))));
            }
            EventKind::Transfer { transfer, packet, .. } => {
                self.note(at, RED, "▶", &format!("transfer {transfer}"));
                self.packet.get_or_insert_with(|| packet.clone());
            }
            EventKind::TransferOutcome { outcome, .. } => {
                self.note(at, DIM, "·", &format!("transfer {outcome}"))
            }
            EventKind::TransferClaimed { by, .. } => {
                self.note(at, DIM, "·", &format!("{by} claimed the transfer"))
            }
            EventKind::TransferVerdict { verdict, by, .. } => {
                self.note(at, DIM, "·", &format!("{by} judged the transfer: {}", verdict.name()));
            }
            EventKind::Gap { track, seconds, .. } => {
                let whose = who(*track);
                self.note(at, DIM, "·", &format!("{seconds:.1} s of the {whose}'s audio are missing"));
            }
            EventKind::ScoreFailed { why, .. } => self.note(at, RED, "!", why),
            EventKind::Problem { track, problem } => {
                self.note(at, RED, "!", &format!("{}: {problem}", who(*track)))
            }
            EventKind::CallEnded { cause, caller_speech_s, transfers, peak, .. } => {
                let transfers = match transfers {
                    0 => "no transfer".to_owned(),
                    1 => "1 transfer".to_owned(),
                    n => format!("{n} transfers"),
                };
                let peak = peak.map_or_else(|| "never scored".into(), |p| format!("peak {p:.2}"));
                let cause = if cause == "end_of_recording" { String::new() } else { format!(" · {cause}") };
                self.end = format!("{transfers} · {peak} · {caller_speech_s:.1} s of caller speech{cause}");
                self.note(at, DIM, "·", "end");
            }
        }
    }

    /// Everything, in order of time.
    pub(super) fn write(mut self, out: &mut dyn Write) -> io::Result<()> {
        self.write_head(out)?;
        self.write_rows(out)?;
        self.write_end(out)
    }

    /// What stands above the rows.
    pub(super) fn write_head(&self, out: &mut dyn Write) -> io::Result<()> {
        writeln!(out, "{}  {}", self.paint(BOLD, &self.title), self.paint(DIM, &self.head))?;
        let columns = format!(
            "{:>7}  {:6}  {:>6}  {:SPARK_WIDTH$}  {:5}  {:12}  heard",
            "time", "who", "spoke", "score", "", "state"
        );
        writeln!(out, "{}", self.paint(DIM, &columns))
    }

    /// Whether something is known that is not written yet.
    #[cfg(feature = "capture")]
    pub(super) fn has_rows(&self) -> bool {
        !self.rows.is_empty()
    }

    /// What is known by now and not written yet, in order of time. A live call's turn is written when it is over, behind what
    /// happened in it.
    pub(super) fn write_rows(&mut self, out: &mut dyn Write) -> io::Result<()> {
        self.lay_words();
        self.rows.sort_by(|a, b| a.at.total_cmp(&b.at));
        for row in self.rows.drain(..) {
            writeln!(out, "{:>7}  {}", clock(row.at), row.text)?;
        }
        Ok(())
    }

    /// What it came to.
    pub(super) fn write_end(self, out: &mut dyn Write) -> io::Result<()> {
        writeln!(out, "{:>7}  {}", "", self.paint(BOLD, &self.end))?;
        if let Some(packet) = &self.packet {
            writeln!(out)?;
            self.write_packet(packet, out)?;
        }
        writeln!(out)
    }

    fn caller_turn(&mut self, from_s: f64, to_s: f64, heard: &str) {
        let of_turn: Vec<_> = self.scores.drain(..).collect();
        let mut text = format!("{}  {:>6}", self.paint(CYAN, "caller"), spoke(from_s, to_s));
        let highest = of_turn.iter().map(|(_, p, _)| *p).max_by(f64::total_cmp);
        let state = of_turn.last().map_or("", |(_, _, state)| *state);
        let spark: String = of_turn.iter().rev().take(SPARK_WIDTH).rev().map(|(_, p, _)| spark(*p)).collect();
        let score = highest.map_or(String::new(), |p| format!("{p:.2}"));
        let colour = colour(state);
        let bar = self.paint(colour, &format!("{spark:SPARK_WIDTH$}"));
        let state = self.paint(colour, &format!("{state:12}"));
        let _ = write!(text, "  {bar}  {score:5}  {state}  {heard}");
        self.turn(Speaker::Caller, from_s, to_s, text);
    }

    fn note(&mut self, at: f64, colour: &str, sign: &str, words: &str) {
        let lines = wrap(words, WIDTH - 11);
        let lines: Vec<String> = lines.iter().map(|line| self.paint(colour, line)).collect();
        let text = format!("{} {}", self.paint(colour, sign), lines.join(&format!("\n{:11}", "")));
        self.row(at, text);
    }

    fn row(&mut self, at: f64, text: String) {
        self.rows.push(Row { at, text, turn: None });
    }

    fn turn(&mut self, speaker: Speaker, from_s: f64, to_s: f64, text: String) {
        self.rows.push(Row { at: from_s, text, turn: Some((speaker, to_s)) });
    }

    /// Puts words below the turn they belong to, the one of their speaker that is nearest; without one they stand alone.
    fn lay_words(&mut self) {
        for (speaker, at, words) in std::mem::take(&mut self.said) {
            let distance = |row: &Row| {
                let (_, to) = row.turn.filter(|(whose, _)| *whose == speaker)?;
                Some((row.at - at).max(at - to).max(0.0)).filter(|distance| *distance <= TURN_NEAR_S)
            };
            let near = self.rows.iter_mut().filter_map(|row| Some((distance(row)?, row)));
            match near.min_by(|a, b| a.0.total_cmp(&b.0)) {
                Some((_, row)) => {
                    let _ = write!(row.text, "\n{:17}{words}", "");
                }
                None => {
                    let text = format!("{:6}  {words}", who(speaker));
                    self.row(at, text);
                }
            }
        }
    }

    fn write_packet(&self, packet: &ContextPacket, out: &mut dyn Write) -> io::Result<()> {
        let full = &packet.full;
        let since = full.trigger.since_s.map_or(String::new(), |s| format!(", rising since {}", clock(s)));
        let peak = full.trend.peak.map_or(String::new(), |p| format!("  peak {p:.2}"));
        let trend: String =
            full.trend.scores.iter().rev().take(60).rev().map(|p| p.map_or(' ', spark)).collect();
        let turns = full.conversation.turns.len();
        let speech = full.conversation.caller_speech_s;
        let Provenance { software, policy, model, .. } = &full.provenance;
        let model = model.as_ref().map_or("none", |m| m.name.as_str());

        let mut lines = vec![
            ("packet", packet.schema.clone()),
            ("ref", packet.reference.uui.clone()),
            ("why", full.trigger.words.clone()),
            ("when", format!("{}{since}", clock(full.trigger.at_s))),
        ];
        lines.extend(full.evidence.iter().map(|moment| {
            let changes = moment.changes.iter().map(|c| c.words.as_str()).collect::<Vec<_>>().join(", ");
            let changes = if changes.is_empty() { "no single change stands out" } else { &changes };
            let (from, to) = (clock(moment.from_s), clock(moment.to_s));
            ("evidence", format!("{from}-{to}, {:.2}: {changes}", moment.probability.get()))
        }));
        lines.extend(full.cues.iter().map(|cue| {
            let name = cue.cue.name().replace('_', " ");
            ("cue", format!("{}, {name}: {}", clock(cue.at_s), cue.words.expose()))
        }));
        if let Some(summary) = &full.conversation.summary {
            lines.extend(summary.problem.iter().map(|words| ("problem", format!("“{}”", words.expose()))));
            lines.extend(
                summary.at_peak.iter().map(|words| ("at the worst", format!("“{}”", words.expose()))),
            );
        }
        lines.extend(full.conversation.tried.iter().map(|tried| {
            ("tried", format!("{}, {}: “{}”", clock(tried.at_s), tried.failed, tried.what.expose()))
        }));
        lines.extend(full.conversation.last_intent.iter().map(|intent| ("last intent", intent.clone())));
        let skill = full.advice.skill.as_ref().map_or(String::new(), |skill| format!(" · skill {skill}"));
        lines.push(("priority", format!("{}{skill}", full.advice.priority.name())));
        lines.push(("opening", full.advice.opening.expose().clone()));
        if !full.advice.do_not_ask.is_empty() {
            lines.push(("do not ask", full.advice.do_not_ask.join(", ")));
        }
        let worded = full.conversation.turns.iter().filter(|turn| turn.words.is_some()).count();
        let worded = if worded > 0 { format!(" ({worded} with words)") } else { String::new() };
        lines.push(("conversation", format!("{turns} turns{worded}, {speech:.1} s of caller speech")));
        lines.push(("provenance", format!("{software} · policy {} · model {model}", policy.name)));

        let label = |name: &str| self.paint(DIM, &format!("{name:>14}"));
        for (name, words) in lines {
            let words = wrap(&words, WIDTH - 16).join(&format!("\n{:16}", ""));
            writeln!(out, "{}  {words}", label(name))?;
        }
        writeln!(out, "{}  {}{peak}", label("trend"), self.paint(YELLOW, trend.trim_start()))
    }

    fn paint(&self, code: &str, text: &str) -> String {
        paint(self.style, code, text)
    }
}

/// `text` in a colour, on a terminal that wants some.
pub(super) fn paint(style: bool, code: &str, text: &str) -> String {
    if style { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
}

/// `words` in lines of at most `width` characters, broken at spaces.
fn wrap(words: &str, width: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in words.split(' ') {
        if let Some(line) = lines.last_mut() {
            let len = line.chars().count();
            if len == 0 || len + 1 + word.chars().count() <= width {
                line.push_str(if len == 0 { "" } else { " " });
                line.push_str(word);
            } else {
                lines.push(word.to_owned());
            }
        }
    }
    lines
}

fn who(track: Speaker) -> &'static str {
    match track {
        Speaker::Caller => "caller",
        Speaker::Agent => "agent",
    }
}

fn colour(state: &str) -> &'static str {
    match state {
        "escalated" => RED,
        "rising" => YELLOW,
        "calm" => GREEN,
        _ => DIM,
    }
}

#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped to the eight heights")]
fn spark(probability: f64) -> char {
    let height = (probability * SPARKS.len() as f64).clamp(0.0, SPARKS.len() as f64 - 1.0) as usize;
    SPARKS.get(height).copied().unwrap_or(' ')
}

fn spoke(from_s: f64, to_s: f64) -> String {
    format!("{:.1} s", to_s - from_s)
}

fn clock(seconds: f64) -> String {
    (MediaTime::ZERO + MediaSpan::from_seconds(seconds)).to_string()
}
