//! `warmline features`: the low-level descriptors of recordings, as CSV or NPY.

use std::{
    fs::{self, File},
    io::{self, BufWriter, Seek, SeekFrom, Write},
    path::{Path, PathBuf},
};

use anyhow::{Context, bail};
use clap::{Args, ValueEnum};
use serde_json::json;
use warmline_core::{
    media::{Caller, FRAME_LEN, FRAME_STEP, Heard, Track},
    prosody::{Analyser, COLUMNS, FEATURE_SET, LOG_MEL_BANDS, LOG_MEL_SET, Lld, log_mel, log_mel_columns},
    score::{Hop, SpeechAudio},
    units::{MediaTime, RATE},
};
use warmline_eval::recording::{CallerChannel, Recording};

use super::{FAILED, jobs};

/// Bytes of an NPY head: a multiple of 64 with room for any shape.
const NPY_HEAD_LEN: usize = 128;

/// Samples read at once.
const PACKET_SAMPLES: u64 = 4_096;

/// What the models are given of the caller's voice, one row a frame (25 ms, one every 10 ms).
///
/// The first column is the frame's start in seconds, then the columns of the feature set. Of speech-log-mel/1 only frames of
/// speech are there, with the silence between cut out before the spectrum is taken. Without --out, one file's CSV goes to
/// standard output.
#[derive(Args)]
pub(super) struct Arguments {
    /// WAV files, folders of them, or @LIST (a file of names)
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// Write FILE's stem with .csv or .npy into this folder, and columns.json beside them
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// NumPy arrays (float32, frames × columns) instead of CSV; needs --out
    #[arg(long)]
    npy: bool,
    /// Which features
    #[arg(long, value_name = "SET", default_value = FEATURE_SET, value_parser = [FEATURE_SET, LOG_MEL_SET])]
    set: String,
    /// Which channel is the caller's
    #[arg(long, value_name = "CHANNEL")]
    caller_channel: Option<Channel>,
    /// Files worked on at once
    #[arg(long, value_name = "N", default_value_t = jobs::default_jobs())]
    jobs: usize,
}

/// Which channel is the caller's, on the command line.
#[derive(Clone, Copy, ValueEnum)]
pub(super) enum Channel {
    /// The first of two
    Left,
    /// The second of two
    Right,
    /// The only one: it holds the caller alone
    Mono,
}

impl From<Channel> for CallerChannel {
    fn from(channel: Channel) -> Self {
        match channel {
            Channel::Left => Self::Left,
            Channel::Right => Self::Right,
            Channel::Mono => Self::Mono,
        }
    }
}

pub(super) fn run(arguments: &Arguments) -> anyhow::Result<u8> {
    let files = jobs::files(&arguments.files)?;
    if let Some(folder) = &arguments.out {
        fs::create_dir_all(folder).with_context(|| format!("{}: cannot be made", folder.display()))?;
        let path = folder.join("columns.json");
        fs::write(&path, format!("{:#}\n", columns(&arguments.set)))
            .with_context(|| format!("{}: cannot be written", path.display()))?;
    } else if arguments.npy {
        bail!("--npy needs --out DIR: a terminal cannot show arrays");
    } else if files.len() > 1 {
        bail!("{} files need --out DIR: one file's CSV goes to standard output", files.len());
    }
    let results = jobs::run(
        &files,
        arguments.jobs,
        || Ok(()),
        |(), path, output| {
            let done = describe(path, arguments, output);
            if let Err(error) = &done {
                jobs::complain(&format!("{}: {error:#}", path.display()));
            }
            done.is_ok()
        },
    )?;
    Ok(if results.iter().all(|done| *done) { 0 } else { FAILED })
}

fn columns(set: &str) -> serde_json::Value {
    let names: Vec<String> = std::iter::once("at_s".to_owned()).chain(names(set)).collect();
    json!({
        "feature_set": set,
        "frame_len_s": FRAME_LEN as f64 / RATE.hz(),
        "frame_step_s": FRAME_STEP as f64 / RATE.hz(),
        "columns": names,
    })
}

fn names(set: &str) -> Vec<String> {
    if set == LOG_MEL_SET { log_mel_columns().to_vec() } else { COLUMNS.map(str::to_owned).to_vec() }
}

fn describe(path: &Path, arguments: &Arguments, output: &mut dyn Write) -> anyhow::Result<()> {
    let recording = Recording::open(path)?;
    let Some(folder) = &arguments.out else {
        return csv(recording, arguments, output);
    };
    let mut name = path.file_stem().context("has no name")?.to_owned();
    name.push(if arguments.npy { ".npy" } else { ".csv" });
    let target = folder.join(name);
    let mut file = BufWriter::new(
        File::create(&target).with_context(|| format!("{}: cannot be written", target.display()))?,
    );
    if arguments.npy {
        npy(recording, arguments, &mut file)?;
    } else {
        csv(recording, arguments, &mut file)?;
    }
    file.flush()?;
    Ok(())
}

/// Gives the rows of a recording to `each`: when the frame begins, and its features.
fn each_row(
    recording: Recording,
    arguments: &Arguments,
    mut each: impl FnMut(MediaTime, &[f32]) -> io::Result<()>,
) -> anyhow::Result<()> {
    if arguments.set != LOG_MEL_SET {
        return each_frame(recording, arguments, |lld, _| each(lld.at, &lld.row()));
    }
    let (mut speech, mut at) = (Vec::new(), Vec::new());
    each_frame(recording, arguments, |lld, kept| {
        if let Some(hop) = kept {
            speech.extend_from_slice(&hop);
            at.push(lld.at);
        }
        Ok(())
    })?;
    let rows = log_mel(&speech);
    at.iter().zip(rows.chunks_exact(LOG_MEL_BANDS)).try_for_each(|(at, row)| each(*at, row))?;
    Ok(())
}

/// Runs the caller's track of a recording through the analyser; a frame of speech comes with its eight-bit samples.
fn each_frame(
    mut recording: Recording,
    arguments: &Arguments,
    mut each: impl FnMut(&Lld, Option<Hop>) -> io::Result<()>,
) -> anyhow::Result<()> {
    let (format, _, _) = recording.tracks(arguments.caller_channel.map(CallerChannel::from))?;
    let mut track = Track::<Caller>::new(format)?;
    let (mut analyser, mut audio) = (Analyser::new(), SpeechAudio::new(1));
    let mut packet = Vec::new();
    let mut position = 0;
    let mut written = Ok(());
    loop {
        recording.packet(PACKET_SAMPLES, &mut packet)?;
        if packet.is_empty() {
            break;
        }
        track.push(position, &packet, |sound| {
            let Heard::Frame(frame) = sound else { return };
            audio.hear(&frame);
            if let Some(lld) = analyser.observe(&frame)
                && written.is_ok()
            {
                written = each(&lld, audio.settle(lld.speech));
            }
        })?;
        std::mem::replace(&mut written, Ok(()))?;
        position += (packet.len() / format.bytes_per_sample()) as u64;
    }
    let mut last = Vec::new();
    track.finish(|sound| {
        if let Heard::Frame(frame) = sound {
            audio.hear(&frame);
            last.extend(analyser.observe(&frame));
        }
    });
    analyser.finish(|lld| last.push(lld));
    last.iter().try_for_each(|lld| each(lld, audio.settle(lld.speech)))?;
    Ok(())
}

fn csv(recording: Recording, arguments: &Arguments, output: &mut dyn Write) -> anyhow::Result<()> {
    writeln!(output, "at_s,{}", names(&arguments.set).join(","))?;
    let mut line = String::new();
    each_row(recording, arguments, |at, row| {
        use std::fmt::Write as _;
        line.clear();
        let _ = write!(line, "{:.3}", at.seconds());
        row.iter().for_each(|value| {
            let _ = write!(line, ",{value}");
        });
        line.push('\n');
        output.write_all(line.as_bytes())
    })
}

/// NumPy's format 1.0 (NEP 1): the head is written again when the number of frames is known.
fn npy(recording: Recording, arguments: &Arguments, file: &mut (impl Write + Seek)) -> anyhow::Result<()> {
    let columns = names(&arguments.set).len() + 1;
    let mut frames = 0_u64;
    file.write_all(&npy_head(frames, columns))?;
    each_row(recording, arguments, |at, row| {
        frames += 1;
        #[allow(clippy::cast_possible_truncation, reason = "the format is float32")]
        let at_s = at.seconds() as f32;
        std::iter::once(&at_s).chain(row).try_for_each(|value| file.write_all(&value.to_le_bytes()))
    })?;
    file.seek(SeekFrom::Start(0))?;
    file.write_all(&npy_head(frames, columns))?;
    Ok(())
}

fn npy_head(frames: u64, columns: usize) -> Vec<u8> {
    let dictionary = format!("{{'descr': '<f4', 'fortran_order': False, 'shape': ({frames}, {columns}), }}");
    let width = NPY_HEAD_LEN - 11;
    let mut head = b"\x93NUMPY\x01\x00".to_vec();
    head.extend(118_u16.to_le_bytes());
    head.extend(format!("{dictionary:width$}\n").bytes());
    head
}
