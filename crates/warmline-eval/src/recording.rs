//! A WAV file on disk, read in packets: as much memory for an hour as for a second.

use std::{
    borrow::Cow,
    fmt,
    fs::File,
    io::{self, BufReader, Cursor, Read, Seek, SeekFrom},
    path::{Path, PathBuf},
};

use sha2::{Digest, Sha256};

use warmline_core::{call::CallId, media::TrackFormat, units::MediaSpan};
use warmline_wire::wav::{self, Wav, WavError};

/// Bytes read at once.
const CHUNK_LEN: usize = 64 * 1024;

/// Where the caller is in a recording.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CallerChannel {
    /// The first of two channels; the other is the agent's.
    Left,
    /// The second of two channels; the other is the agent's.
    Right,
    /// The only channel: it is declared to hold the caller alone.
    Mono,
}

impl CallerChannel {
    /// The word used on the command line and in events.
    pub fn name(self) -> &'static str {
        match self {
            Self::Left => "left",
            Self::Right => "right",
            Self::Mono => "mono",
        }
    }
}

/// Why a recording cannot be replayed.
#[derive(Debug, thiserror::Error)]
pub enum RecordingError {
    /// The file cannot be read.
    #[error("cannot be read: {0}")]
    Io(#[from] io::Error),
    /// It is no WAV file, or one of a kind that is not read.
    #[error(transparent)]
    Wav(#[from] WavError),
    /// One channel, and nobody said that it is the caller's alone.
    #[error(
        "has one channel, so the caller and the agent may be mixed, and only a caller is ever scored: \
         if it holds the caller alone, say `--caller-channel mono`; else record the two apart"
    )]
    MixedMono,
    /// Two channels, but the caller is said to be the only one.
    #[error(
        "has two channels, and `--caller-channel mono` means one that holds the caller alone: say `left` or `right`"
    )]
    NotMono,
    /// One channel, but the caller is said to be one of two.
    #[error(
        "has one channel, and `--caller-channel {0}` means one of two: if it holds the caller alone, say `mono`"
    )]
    NotStereo(&'static str),
}

/// Where a recording is read from.
trait Source: Read + Seek + Send + fmt::Debug {}

impl<T: Read + Seek + Send + fmt::Debug> Source for T {}

/// An open recording.
#[derive(Debug)]
pub struct Recording {
    path: PathBuf,
    wav: Wav,
    reader: BufReader<Box<dyn Source>>,
    /// Bytes of samples that are left.
    left: u64,
    truncated: bool,
}

impl Recording {
    /// Opens a WAV file and reads its head.
    pub fn open(path: &Path) -> Result<Self, RecordingError> {
        Self::read_head(path, Box::new(File::open(path)?))
    }

    /// A WAV file that is in memory, under a name of one's own.
    pub fn of_bytes(name: &str, bytes: Cow<'static, [u8]>) -> Result<Self, RecordingError> {
        Self::read_head(Path::new(name), Box::new(Cursor::new(bytes)))
    }

    fn read_head(path: &Path, mut file: Box<dyn Source>) -> Result<Self, RecordingError> {
        let mut head = Vec::new();
        let wav = loop {
            match wav::parse(&head) {
                Err(incomplete @ WavError::Incomplete { needed, .. }) => {
                    let before = head.len();
                    (&mut file).take(needed.max(CHUNK_LEN as u64)).read_to_end(&mut head)?;
                    if head.len() == before {
                        return Err(incomplete.into());
                    }
                }
                parsed => break parsed?,
            }
        };
        let in_file = file.seek(SeekFrom::End(0))?.saturating_sub(wav.data_at);
        let left = wav.data_len.unwrap_or(in_file).min(in_file);
        let truncated = wav.data_len.is_some_and(|len| len > in_file);
        let mut recording = Self {
            path: path.to_owned(),
            wav,
            reader: BufReader::with_capacity(CHUNK_LEN, file),
            left,
            truncated,
        };
        recording.rewind()?;
        Ok(recording)
    }

    /// The head of the file.
    pub fn wav(&self) -> &Wav {
        &self.wav
    }

    /// Where it lies.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether the file ends before its head says.
    pub fn is_truncated(&self) -> bool {
        self.truncated
    }

    /// How long what is left of it lasts.
    pub fn span(&self) -> MediaSpan {
        let samples = self.left / self.bytes_per_sample();
        MediaSpan(samples * 8_000 / u64::from(self.wav.rate.0.max(1)))
    }

    /// The caller's track, the agent's if there is one, and which channel the caller's is.
    pub fn tracks(
        &self,
        caller: Option<CallerChannel>,
    ) -> Result<(TrackFormat, Option<TrackFormat>, CallerChannel), RecordingError> {
        let Wav { encoding, rate, channels, .. } = self.wav;
        let track = |channel| TrackFormat { encoding, rate, channels, channel };
        match (channels, caller) {
            (1, Some(CallerChannel::Mono)) => Ok((track(0), None, CallerChannel::Mono)),
            (1, None) => Err(RecordingError::MixedMono),
            (1, Some(side)) => Err(RecordingError::NotStereo(side.name())),
            (_, Some(CallerChannel::Mono)) => Err(RecordingError::NotMono),
            (_, Some(CallerChannel::Right)) => Ok((track(1), Some(track(0)), CallerChannel::Right)),
            (_, None | Some(CallerChannel::Left)) => Ok((track(0), Some(track(1)), CallerChannel::Left)),
        }
    }

    /// The identity of the call that this recording is: its samples, how they are written, and who is the caller.
    pub fn call_id(&mut self, caller: CallerChannel) -> io::Result<CallId> {
        let Wav { encoding, rate, channels, .. } = self.wav;
        let mut hash = Sha256::new();
        hash.update(format!("warmline/call/1 {encoding:?} {} {channels} {}\n", rate.0, caller.name()));
        let mut chunk = vec![0; CHUNK_LEN];
        let left = self.left;
        while let n @ 1.. = self.read(&mut chunk)? {
            hash.update(chunk.get(..n).unwrap_or_default());
        }
        self.left = left;
        self.rewind()?;
        Ok(CallId::of_content(&hash.finalize().into()))
    }

    /// Reads the next packet of `samples` samples of every channel into `packet`; what is in it at the end is shorter,
    /// and empty after it.
    pub fn packet(&mut self, samples: u64, packet: &mut Vec<u8>) -> io::Result<()> {
        let len = samples.saturating_mul(self.bytes_per_sample()).min(self.left);
        packet.resize(usize::try_from(len).unwrap_or(usize::MAX), 0);
        let n = self.read(packet)?;
        packet.truncate(n);
        Ok(())
    }

    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let mut filled = 0;
        while let Some(rest) = into.get_mut(filled..).filter(|rest| !rest.is_empty() && self.left > 0) {
            let most = usize::try_from(self.left).unwrap_or(usize::MAX).min(rest.len());
            match self.reader.read(rest.get_mut(..most).unwrap_or_default()) {
                Ok(0) => self.left = 0,
                Ok(n) => {
                    filled += n;
                    self.left -= n as u64;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(filled)
    }

    fn rewind(&mut self) -> io::Result<()> {
        self.reader.seek(SeekFrom::Start(self.wav.data_at)).map(|_| ())
    }

    fn bytes_per_sample(&self) -> u64 {
        (self.wav.encoding.bytes_per_sample() * usize::from(self.wav.channels)).max(1) as u64
    }
}
