//! `warmline features`: the low-level descriptors of recordings, as CSV or NPY.

use std::{
    fs::{self, File},
    io::{self, BufWriter, Seek, SeekFrom, Write},
    path::{Path, PathBuf},
};

use anyhow::{Context, bail};
use clap::{Args, ValueEnum};
use serde_json::json;
use warmline::{
    ingest::recording::{CallerChannel, Recording},
    media::{Caller, FRAME_LEN, FRAME_STEP, Heard, Track},
    prosody::{Analyser, COLUMNS, FEATURE_SET, Lld},
    units::RATE,
};

use super::{FAILED, jobs};

/// Bytes of an NPY head: a multiple of 64 with room for any shape.
const NPY_HEAD_LEN: usize = 128;

/// Samples read at once.
const PACKET_SAMPLES: u64 = 4_096;

/// Descriptors of the caller's voice, one row a frame (25 ms, one every 10 ms).
///
/// The first column is the frame's start in seconds, then the columns of the feature set. Without --out, one file's CSV
/// goes to standard output.
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
        fs::write(&path, format!("{:#}\n", columns()))
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

fn columns() -> serde_json::Value {
    let names: Vec<&str> = std::iter::once("at_s").chain(COLUMNS).collect();
    json!({
        "feature_set": FEATURE_SET,
        "frame_len_s": FRAME_LEN as f64 / RATE.hz(),
        "frame_step_s": FRAME_STEP as f64 / RATE.hz(),
        "columns": names,
    })
}

fn describe(path: &Path, arguments: &Arguments, output: &mut dyn Write) -> anyhow::Result<()> {
    let recording = Recording::open(path)?;
    let channel = arguments.caller_channel.map(CallerChannel::from);
    let Some(folder) = &arguments.out else {
        return csv(recording, channel, output);
    };
    let mut name = path.file_stem().context("has no name")?.to_owned();
    name.push(if arguments.npy { ".npy" } else { ".csv" });
    let target = folder.join(name);
    let mut file = BufWriter::new(
        File::create(&target).with_context(|| format!("{}: cannot be written", target.display()))?,
    );
    if arguments.npy {
        npy(recording, channel, &mut file)?
    } else {
        csv(recording, channel, &mut file)?
    }
    file.flush()?;
    Ok(())
}

/// Runs the caller's track of a recording through the analyser, frame by frame.
fn each_frame(
    mut recording: Recording,
    channel: Option<CallerChannel>,
    mut each: impl FnMut(&Lld) -> io::Result<()>,
) -> anyhow::Result<()> {
    let (format, _, _) = recording.tracks(channel)?;
    let mut track = Track::<Caller>::new(format)?;
    let mut analyser = Analyser::new();
    let mut packet = Vec::new();
    let mut position = 0;
    let mut written = Ok(());
    loop {
        recording.packet(PACKET_SAMPLES, &mut packet)?;
        if packet.is_empty() {
            break;
        }
        track.push(position, &packet, |sound| {
            if let Heard::Frame(frame) = sound
                && let Some(lld) = analyser.observe(&frame)
                && written.is_ok()
            {
                written = each(&lld);
            }
        })?;
        std::mem::replace(&mut written, Ok(()))?;
        position += (packet.len() / format.bytes_per_sample()) as u64;
    }
    let mut last = Vec::new();
    track.finish(|sound| {
        if let Heard::Frame(frame) = sound {
            last.extend(analyser.observe(&frame));
        }
    });
    analyser.finish(|lld| last.push(lld));
    last.iter().try_for_each(each)?;
    Ok(())
}

fn csv(recording: Recording, channel: Option<CallerChannel>, output: &mut dyn Write) -> anyhow::Result<()> {
    writeln!(output, "at_s,{}", COLUMNS.join(","))?;
    let mut line = String::new();
    each_frame(recording, channel, |lld| {
        use std::fmt::Write as _;
        line.clear();
        let _ = write!(line, "{:.3}", lld.at.seconds());
        lld.row().iter().for_each(|value| {
            let _ = write!(line, ",{value}");
        });
        line.push('\n');
        output.write_all(line.as_bytes())
    })
}

/// NumPy's format 1.0 (NEP 1): the head is written again when the number of frames is known.
fn npy(
    recording: Recording,
    channel: Option<CallerChannel>,
    file: &mut (impl Write + Seek),
) -> anyhow::Result<()> {
    let mut frames = 0_u64;
    file.write_all(&npy_head(frames))?;
    each_frame(recording, channel, |lld| {
        frames += 1;
        #[allow(clippy::cast_possible_truncation, reason = "the format is float32")]
        let at_s = lld.at.seconds() as f32;
        std::iter::once(at_s).chain(lld.row()).try_for_each(|value| file.write_all(&value.to_le_bytes()))
    })?;
    file.seek(SeekFrom::Start(0))?;
    file.write_all(&npy_head(frames))?;
    Ok(())
}

fn npy_head(frames: u64) -> Vec<u8> {
    let columns = COLUMNS.len() + 1;
    let dictionary = format!("{{'descr': '<f4', 'fortran_order': False, 'shape': ({frames}, {columns}), }}");
    let width = NPY_HEAD_LEN - 11;
    let mut head = b"\x93NUMPY\x01\x00".to_vec();
    head.extend(118_u16.to_le_bytes());
    head.extend(format!("{dictionary:width$}\n").bytes());
    head
}
