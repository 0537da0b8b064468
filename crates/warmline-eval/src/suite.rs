//! A suite: a CSV file of labelled recordings. What is wrong with it is said of every line at once, before anything is heard.

use std::{
    collections::BTreeMap,
    fmt, fs, io,
    path::{Path, PathBuf},
};

use crate::recording::{CallerChannel, Recording};
use warmline_core::units::{MediaSpan, MediaTime};

/// Columns a suite must have.
const REQUIRED: [&str; 3] = ["file", "label", "onset_s"];

/// Columns a suite may have besides.
const OPTIONAL: [&str; 3] = ["caller_channel", "speaker", "models"];

/// Faults that are listed; of more than these the number is told.
pub const FAULTS_MAX: usize = 20;

/// What calls are grouped by: the optional columns that make slices.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Dimension {
    /// What happens in the call.
    Scenario,
    /// The caller's gender, as the suite has it.
    Gender,
    /// The language that is spoken.
    Language,
    /// Where the recording comes from.
    Corpus,
}

impl Dimension {
    /// Every dimension, in the order of reports.
    pub const ALL: [Self; 4] = [Self::Scenario, Self::Gender, Self::Language, Self::Corpus];

    /// The column's name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Scenario => "scenario",
            Self::Gender => "gender",
            Self::Language => "language",
            Self::Corpus => "corpus",
        }
    }
}

/// What should happen in a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Label {
    /// The caller loses patience at this moment: a transfer is wanted from there on.
    Escalate {
        /// When the first utterance that sounds frustrated begins.
        onset: MediaTime,
    },
    /// No transfer is wanted at all.
    Calm,
}

impl Label {
    /// The onset, where there is one.
    pub fn onset(self) -> Option<MediaTime> {
        match self {
            Self::Escalate { onset } => Some(onset),
            Self::Calm => None,
        }
    }

    /// The word of the suite.
    pub fn name(self) -> &'static str {
        match self {
            Self::Escalate { .. } => "escalate",
            Self::Calm => "calm",
        }
    }
}

/// One labelled recording.
#[derive(Clone, Debug)]
pub struct Row {
    /// As the suite names it.
    pub file: String,
    /// Where it lies.
    pub path: PathBuf,
    /// What should happen.
    pub label: Label,
    /// Where the caller is; left of two, if nothing is said.
    pub caller_channel: Option<CallerChannel>,
    /// Who the caller is: calls of one speaker are not independent of each other.
    pub speaker: Option<String>,
    /// Cards of the models that are to score the call, where it is not all the same: models that have not heard its speaker.
    pub models: Vec<PathBuf>,
    /// What the call is grouped by, where the suite says it.
    pub groups: BTreeMap<Dimension, String>,
}

/// Labelled recordings.
#[derive(Clone, Debug)]
pub struct Suite {
    /// The calls, in the order of the file.
    pub rows: Vec<Row>,
    /// Columns that say nothing to this program.
    pub ignored: Vec<String>,
}

/// Why a suite was refused.
#[derive(Debug, thiserror::Error)]
pub enum SuiteError {
    /// The file cannot be read.
    #[error("cannot be read: {0}")]
    Io(#[from] io::Error),
    /// It is no CSV.
    #[error("is no CSV file: {0}")]
    Csv(#[from] csv::Error),
    /// Columns that must be there are not.
    #[error(
        "has no column {missing}: read {read}, expected {expected} and any of caller_channel, speaker, gender, language, corpus, scenario"
    )]
    Columns {
        /// What is missing.
        missing: String,
        /// The head line.
        read: String,
        /// What must be there.
        expected: String,
    },
    /// It names no call.
    #[error("names no call: expected a line for each recording below the head line")]
    Empty,
    /// Lines that make no sense.
    #[error("{}", list(.0))]
    Faults(Vec<Fault>),
}

/// One thing that is wrong with one line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// Line of the file, from 1.
    pub line: u64,
    /// The column.
    pub column: &'static str,
    /// What was read, and what was expected.
    pub words: String,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}, {}: {}", self.line, self.column, self.words)
    }
}

fn list(faults: &[Fault]) -> String {
    let mut lines: Vec<String> = faults.iter().take(FAULTS_MAX).map(Fault::to_string).collect();
    if faults.len() > FAULTS_MAX {
        lines.push(format!("and {} more", faults.len() - FAULTS_MAX));
    }
    lines.join("\n  ")
}

impl Suite {
    /// Reads a suite and the heads of the recordings it names, which lie relative to it.
    ///
    /// # Errors
    /// When a line makes no sense, a recording is missing, or an onset lies outside its recording: of every line at once.
    pub fn read(path: &Path) -> Result<Self, SuiteError> {
        let folder = path.parent().unwrap_or(Path::new(""));
        Self::parse(&fs::read(path)?, folder, |path, channel| {
            let recording = Recording::open(path).map_err(|error| error.to_string())?;
            recording.tracks(channel).map_err(|error| error.to_string())?;
            Ok(recording.span())
        })
    }

    /// Reads the text of a suite; `length` opens a recording, checks where its caller is said to be, and measures it.
    fn parse(
        text: &[u8],
        folder: &Path,
        length: impl Fn(&Path, Option<CallerChannel>) -> Result<MediaSpan, String>,
    ) -> Result<Self, SuiteError> {
        let text = text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(text);
        let mut reader = csv::ReaderBuilder::new().trim(csv::Trim::All).from_reader(text);
        let head: Vec<String> = reader.headers()?.iter().map(str::to_owned).collect();
        let missing: Vec<&str> =
            REQUIRED.into_iter().filter(|name| !head.iter().any(|column| column == name)).collect();
        if !missing.is_empty() {
            return Err(SuiteError::Columns {
                missing: missing.join(", "),
                read: if head.is_empty() { "an empty line".into() } else { head.join(", ") },
                expected: REQUIRED.join(", "),
            });
        }
        let known = |name: &str| {
            REQUIRED.contains(&name)
                || OPTIONAL.contains(&name)
                || Dimension::ALL.iter().any(|d| d.name() == name)
        };
        let ignored = head.iter().filter(|name| !known(name)).cloned().collect();

        let (mut rows, mut faults, mut lines) = (Vec::new(), Vec::new(), BTreeMap::new());
        for record in reader.records() {
            let record = record?;
            let line = record.position().map_or(0, csv::Position::line);
            let cell = |name: &str| {
                let at = head.iter().position(|column| column == name)?;
                record.get(at).filter(|text| !text.is_empty())
            };
            match Row::parse(cell, folder, &length) {
                Err((column, words)) => faults.push(Fault { line, column, words }),
                Ok(row) => {
                    if let Some(first) = lines.insert(row.path.clone(), line) {
                        let words = format!(
                            "{} is named in line {first} already: expected every recording once",
                            row.file
                        );
                        faults.push(Fault { line, column: "file", words });
                    }
                    rows.push(row);
                }
            }
        }
        match (faults.is_empty(), rows.is_empty()) {
            (false, _) => Err(SuiteError::Faults(faults)),
            (true, true) => Err(SuiteError::Empty),
            (true, false) => Ok(Self { rows, ignored }),
        }
    }

    /// Whether any line says who speaks.
    pub fn names_speakers(&self) -> bool {
        self.rows.iter().any(|row| row.speaker.is_some())
    }
}

impl Row {
    fn parse<'a>(
        cell: impl Fn(&str) -> Option<&'a str>,
        folder: &Path,
        length: impl Fn(&Path, Option<CallerChannel>) -> Result<MediaSpan, String>,
    ) -> Result<Self, (&'static str, String)> {
        let file = cell("file").ok_or(("file", "is empty: expected the name of a recording".to_owned()))?;
        let path = folder.join(file);
        let caller_channel = match cell("caller_channel") {
            None => None,
            Some("left") => Some(CallerChannel::Left),
            Some("right") => Some(CallerChannel::Right),
            Some("mono") => Some(CallerChannel::Mono),
            Some(other) => {
                return Err(("caller_channel", format!("is {other:?}: expected left, right or mono")));
            }
        };
        let span = length(&path, caller_channel).map_err(|words| ("file", format!("{file} {words}")))?;
        let label = match (cell("label"), cell("onset_s")) {
            (Some("escalate"), Some(text)) => Label::Escalate { onset: onset(text, span)? },
            (Some("escalate"), None) => {
                return Err((
                    "onset_s",
                    "is empty: expected the second at which the caller first sounds frustrated, since the label is escalate"
                        .into(),
                ));
            }
            (Some("calm"), None) => Label::Calm,
            (Some("calm"), Some(text)) => {
                return Err(("onset_s", format!("is {text:?}: expected nothing, since the label is calm")));
            }
            (other, _) => {
                return Err((
                    "label",
                    format!("is {:?}: expected escalate or calm", other.unwrap_or_default()),
                ));
            }
        };
        let groups =
            Dimension::ALL.into_iter().filter_map(|d| Some((d, cell(d.name())?.to_owned()))).collect();
        let speaker = cell("speaker").map(str::to_owned);
        let models =
            cell("models").into_iter().flat_map(str::split_whitespace).map(|m| folder.join(m)).collect();
        Ok(Self { file: file.to_owned(), path, label, caller_channel, speaker, models, groups })
    }
}

fn onset(text: &str, span: MediaSpan) -> Result<MediaTime, (&'static str, String)> {
    let seconds: f64 = text.parse().ok().filter(|s| *s >= 0.0).ok_or_else(|| {
        ("onset_s", format!("is {text:?}: expected seconds from the start of the recording"))
    })?;
    if seconds >= span.seconds() {
        let words = format!(
            "is {text}: expected a moment within the recording, which ends at {:.3} s",
            span.seconds()
        );
        return Err(("onset_s", words));
    }
    Ok(MediaTime::ZERO + MediaSpan::from_seconds(seconds))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Suite, SuiteError> {
        Suite::parse(text.as_bytes(), Path::new("calls"), |path, _| match path.to_str() {
            Some(path) if path.contains("absent") => Err("cannot be read: no such file".into()),
            _ => Ok(MediaSpan::from_seconds(60.0)),
        })
    }

    #[test]
    fn a_suite_is_read_and_columns_it_does_not_know_are_named() {
        let suite = read(
            "\u{feff}file,label,onset_s,end_s,speaker,gender\na.wav,escalate,12.5,50,ann,female\n\"b, c.wav\", calm ,,,,\n",
        )
        .unwrap();
        assert_eq!(suite.ignored, ["end_s"]);
        let [a, b] = suite.rows.as_slice() else { panic!("{suite:?}") };
        assert_eq!((a.path.to_str(), a.label.onset()), (Some("calls/a.wav"), Some(MediaTime(100_000))));
        assert_eq!(
            (a.speaker.as_deref(), a.groups.get(&Dimension::Gender).map(String::as_str)),
            (Some("ann"), Some("female"))
        );
        assert_eq!((b.file.as_str(), b.label, b.speaker.as_deref()), ("b, c.wav", Label::Calm, None));
    }

    #[test]
    fn what_is_wrong_with_a_suite_is_said_with_line_and_column() {
        for (text, says) in [
            ("", "has no column file, label, onset_s: read an empty line"),
            (
                "file,label\na.wav,calm",
                "has no column onset_s: read file, label, expected file, label, onset_s",
            ),
            ("file,label,onset_s\n", "names no call"),
            ("file,label,onset_s\nabsent.wav,calm,", "line 2, file: absent.wav cannot be read"),
            ("file,label,onset_s\n,calm,", "line 2, file: is empty"),
            ("file,label,onset_s\na.wav,angry,1", "line 2, label: is \"angry\": expected escalate or calm"),
            ("file,label,onset_s\na.wav,,", "line 2, label: is \"\""),
            ("file,label,onset_s\na.wav,escalate,", "line 2, onset_s: is empty"),
            ("file,label,onset_s\na.wav,escalate,x", "line 2, onset_s: is \"x\": expected seconds"),
            ("file,label,onset_s\na.wav,escalate,-1", "line 2, onset_s: is \"-1\""),
            ("file,label,onset_s\na.wav,escalate,nan", "line 2, onset_s: is \"nan\""),
            (
                "file,label,onset_s\na.wav,escalate,60",
                "line 2, onset_s: is 60: expected a moment within the recording, which ends at 60.000 s",
            ),
            ("file,label,onset_s\na.wav,calm,3", "line 2, onset_s: is \"3\": expected nothing"),
            (
                "file,label,onset_s\na.wav,calm,\nb.wav,calm,\na.wav,calm,",
                "line 4, file: a.wav is named in line 2 already",
            ),
            (
                "file,label,onset_s,caller_channel\na.wav,calm,,middle",
                "line 2, caller_channel: is \"middle\": expected left, right or mono",
            ),
            ("file,label,onset_s\na.wav,calm", "is no CSV file"),
        ] {
            let error = read(text).expect_err(text).to_string();
            assert!(error.contains(says), "{text}: {error}");
        }
    }

    #[test]
    fn every_fault_is_listed_up_to_a_bound() {
        let lines: String = (0..30).map(|n| format!("{n}.wav,angry,\n")).collect();
        let error = read(&format!("file,label,onset_s\n{lines}")).unwrap_err().to_string();
        assert_eq!(error.lines().count(), FAULTS_MAX + 1);
        assert!(error.ends_with("and 10 more"), "{error}");
    }
}
