//! Capture devices: which there are, and the sound of one. Its callback writes into a ring and waits for nobody.

use std::{
    fmt,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering},
    },
    thread,
    time::Duration,
};

use cpal::{
    Device, ErrorKind, FromSample, InputCallbackInfo, Sample, SampleFormat, SizedSample, Stream,
    StreamConfig, SupportedStreamConfigRange,
    traits::{DeviceTrait, HostTrait, StreamTrait},
};

use warmline_core::{
    media::{Encoding, TrackFormat},
    units::SampleRate,
};

/// Seconds of sound that wait to be read; what comes on top of that is left out, and told as a gap.
pub const RING_S: u32 = 5;

/// Sample rates in the order in which they are asked for: first what hardware does by itself.
const RATES: [u32; 5] = [48_000, 44_100, 16_000, 32_000, 8_000];

/// Sample formats in the order in which they are asked for.
const FORMATS: [SampleFormat; 3] = [SampleFormat::F32, SampleFormat::I16, SampleFormat::I32];

/// How long a device may take to open.
const OPEN_FOR: Duration = Duration::from_secs(5);

/// Why a device is not listened to.
#[derive(Debug, thiserror::Error)]
pub enum CaptureError {
    /// There is none.
    #[error("there is no capture device: connect one, and see `warmline listen --list`")]
    NoDevice,
    /// None is called so.
    #[error("no capture device is called {wanted:?}: expected one of {known}")]
    Unknown {
        /// What was asked for.
        wanted: String,
        /// Those there are.
        known: String,
    },
    /// Several are.
    #[error("{wanted:?} may be any of {known}: say more of its name")]
    Ambiguous {
        /// What was asked for.
        wanted: String,
        /// Those it may be.
        known: String,
    },
    /// It has not that many channels, or no rate that is read.
    #[error("{device} does not give {channels} of {formats} Hz; it gives {given}")]
    Unsupported {
        /// Which.
        device: String,
        /// How many channels, in words.
        channels: &'static str,
        /// The rates that are asked for.
        formats: String,
        /// What it gives.
        given: String,
    },
    /// The sound system refuses.
    #[error("{what}: {why}")]
    System {
        /// What was asked of it.
        what: String,
        /// What it says.
        why: cpal::Error,
    },
}

/// A device that sound can be captured from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// What it is called.
    pub name: String,
    /// By what else it can be asked for: the sound system's own name.
    pub id: String,
    /// Whether it is the one that is taken when none is asked for.
    pub is_default: bool,
    /// Channels it can give.
    pub channels: Vec<u16>,
    /// Lowest and highest rate, Hz.
    pub rates: (u32, u32),
}

/// Every device that sound can be captured from.
///
/// # Errors
/// When the sound system cannot be asked.
pub fn devices() -> Result<Vec<Found>, CaptureError> {
    Ok(open_devices()?.into_iter().map(|(_, found)| found).collect())
}

fn open_devices() -> Result<Vec<(Device, Found)>, CaptureError> {
    let host = cpal::default_host();
    let devices = host.input_devices().map_err(|why| system("the devices cannot be listed", why))?;
    Ok(devices.filter_map(described).collect())
}

/// A device with what it gives; `None` if nothing can be captured from it.
fn described(device: Device) -> Option<(Device, Found)> {
    let configs: Vec<_> = device.supported_input_configs().ok()?.collect();
    let mut channels: Vec<u16> = configs.iter().map(SupportedStreamConfigRange::channels).collect();
    channels.sort_unstable();
    channels.dedup();
    let id = device.id().ok()?;
    let default = cpal::default_host().default_input_device().and_then(|device| device.id().ok());
    let found = Found {
        name: device.description().map_or_else(|_| id.id().to_owned(), |words| words.name().to_owned()),
        id: id.id().to_owned(),
        is_default: default.as_ref() == Some(&id),
        channels,
        rates: (
            configs.iter().map(SupportedStreamConfigRange::min_sample_rate).min()?,
            configs.iter().map(SupportedStreamConfigRange::max_sample_rate).max()?,
        ),
    };
    Some((device, found))
}

/// Finds the device of this name or id, whole or in part; without one the default.
fn find(wanted: Option<&str>) -> Result<(Device, Found), CaptureError> {
    let host = cpal::default_host();
    let Some(wanted) = wanted else {
        return host.default_input_device().and_then(described).ok_or(CaptureError::NoDevice);
    };
    // To ask every device what it gives takes long, and ALSA complains of those that are not there.
    let mut known = host.devices().map_err(|why| system("the devices cannot be listed", why))?;
    let by_id = known.find(|device| device.id().is_ok_and(|id| id.id().eq_ignore_ascii_case(wanted)));
    if let Some(found) = by_id.and_then(described) {
        return Ok(found);
    }
    let mut devices = open_devices()?;
    let is = |text: &str| text.eq_ignore_ascii_case(wanted);
    let has = |text: &str| text.to_lowercase().contains(&wanted.to_lowercase());
    let names = |devices: &[(Device, Found)]| {
        let names: Vec<&str> = devices.iter().map(|(_, found)| found.id.as_str()).collect();
        if names.is_empty() { "none, for there is none".to_owned() } else { names.join(", ") }
    };
    if let Some(exact) = devices.iter().position(|(_, found)| is(&found.id) || is(&found.name)) {
        return Ok(devices.swap_remove(exact));
    }
    let known = names(&devices);
    devices.retain(|(_, found)| has(&found.id) || has(&found.name));
    if devices.len() > 1 {
        return Err(CaptureError::Ambiguous { wanted: wanted.to_owned(), known: names(&devices) });
    }
    devices.pop().ok_or_else(|| CaptureError::Unknown { wanted: wanted.to_owned(), known })
}

/// A device that is listened to, until this is dropped.
pub struct Capture {
    stream: Option<Stream>,
    shared: Arc<Shared>,
    found: Found,
    rate: u32,
    channels: u16,
}

impl Drop for Capture {
    /// Closes the device on a thread of its own: where its server is gone, ALSA may wait for ever.
    fn drop(&mut self) {
        let stream = self.stream.take();
        let _ = thread::Builder::new().name("close-device".into()).spawn(move || drop(stream));
    }
}

impl fmt::Debug for Capture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Capture")
            .field("found", &self.found)
            .field("rate", &self.rate)
            .finish_non_exhaustive()
    }
}

/// What has come since the last time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Heard {
    /// Samples a channel that are missing before what came.
    pub missing: u64,
    /// Samples a channel that came.
    pub samples: u64,
}

impl Capture {
    /// Opens a device: that of this name, or the default one.
    ///
    /// # Errors
    /// When there is none, it gives no such channels at a rate that is read, or the sound system refuses.
    pub fn open(wanted: Option<&str>, channels: u16) -> Result<Self, CaptureError> {
        let (device, found) = find(wanted)?;
        let (config, format) = config(&device, &found, channels)?;
        let shared = Arc::new(Shared::new(config));
        let stream = if format == SampleFormat::I16 {
            listen::<i16>(&device, config, &shared)
        } else if format == SampleFormat::I32 {
            listen::<i32>(&device, config, &shared)
        } else {
            listen::<f32>(&device, config, &shared)
        };
        let stream = stream.map_err(|why| system(&format!("{} cannot be opened", found.id), why))?;
        stream.play().map_err(|why| system(&format!("{} does not start", found.id), why))?;
        Ok(Self { stream: Some(stream), shared, found, rate: config.sample_rate, channels })
    }

    /// Which device it is.
    pub fn device(&self) -> &Found {
        &self.found
    }

    /// How one channel of what is read is written.
    pub fn track(&self, channel: u16) -> TrackFormat {
        let rate = SampleRate(self.rate);
        TrackFormat { encoding: Encoding::F32Le, rate, channels: self.channels, channel }
    }

    /// Puts what has come into `payload`, up to a gap: call it until nothing comes.
    pub fn read(&self, payload: &mut Vec<u8>) -> Heard {
        payload.clear();
        let Heard { missing, samples } = self.shared.ring.pop(payload);
        let channels = u64::from(self.channels);
        Heard { missing: missing / channels, samples: samples / channels }
    }

    /// Why nothing more comes, if the device has said so.
    pub fn fault(&self) -> Option<&str> {
        self.shared.fault.get().map(String::as_str)
    }
}

fn config(
    device: &Device,
    found: &Found,
    channels: u16,
) -> Result<(StreamConfig, SampleFormat), CaptureError> {
    let given = device
        .supported_input_configs()
        .map_err(|why| system(&format!("{} cannot be asked what it gives", found.id), why))?;
    let given: Vec<_> = given.filter(|range| range.channels() == channels).collect();
    let wanted = RATES.iter().flat_map(|rate| FORMATS.iter().map(move |format| (*rate, *format)));
    let fits = |(rate, format): &(u32, SampleFormat)| {
        let reaches = |range: &SupportedStreamConfigRange| {
            (range.min_sample_rate()..=range.max_sample_rate()).contains(rate)
        };
        given.iter().any(|range| range.sample_format() == *format && reaches(range))
    };
    let (sample_rate, format) = wanted.into_iter().find(fits).ok_or_else(|| CaptureError::Unsupported {
        device: found.id.clone(),
        channels: if channels == 1 { "one channel" } else { "two channels" },
        formats: RATES.map(|rate| rate.to_string()).join(", "),
        given: found.to_string(),
    })?;
    Ok((StreamConfig { channels, sample_rate, buffer_size: cpal::BufferSize::Default }, format))
}

impl fmt::Display for Found {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let channels = match self.channels.as_slice() {
            [] => "no channel".to_owned(),
            [1] => "1 channel".to_owned(),
            [one] => format!("{one} channels"),
            [least, .., most] => format!("{least} to {most} channels"),
        };
        match self.rates {
            (low, high) if low == high => write!(f, "{channels}, {low} Hz"),
            (low, high) => write!(f, "{channels}, {low} to {high} Hz"),
        }
    }
}

/// Starts a stream of samples of this kind.
fn listen<T>(device: &Device, config: StreamConfig, shared: &Arc<Shared>) -> Result<Stream, cpal::Error>
where
    T: SizedSample,
    f32: FromSample<T>,
{
    let (hearing, faulting) = (Arc::clone(shared), Arc::clone(shared));
    let mut writer = Writer::new(config);
    let hear = move |samples: &[T], info: &InputCallbackInfo| {
        writer.push(&hearing, samples.iter().map(|sample| f32::from_sample(*sample)), info);
    };
    device.build_input_stream(config, hear, move |error| faulting.fault(&error), Some(OPEN_FOR))
}

/// What the callback and the reader share.
struct Shared {
    ring: Ring,
    /// The device says that something is missing before what comes next.
    overrun: AtomicBool,
    fault: OnceLock<String>,
}

impl Shared {
    fn new(config: StreamConfig) -> Self {
        let len = usize::try_from(RING_S * config.sample_rate).unwrap_or(0) * usize::from(config.channels);
        Self { ring: Ring::new(len), overrun: AtomicBool::new(false), fault: OnceLock::new() }
    }

    fn fault(&self, error: &cpal::Error) {
        if error.kind() == ErrorKind::Xrun {
            self.overrun.store(true, Ordering::Release);
        } else if !matches!(error.kind(), ErrorKind::DeviceChanged | ErrorKind::RealtimeDenied) {
            _ = self.fault.set(error.to_string());
        }
    }
}

/// The callback's own state.
struct Writer {
    config: StreamConfig,
    /// When what comes next should have been captured, as the device counts time.
    due: Option<cpal::StreamInstant>,
    /// Samples left out that the reader does not know of yet.
    missing: u64,
}

impl Writer {
    fn new(config: StreamConfig) -> Self {
        Self { config, due: None, missing: 0 }
    }

    fn push(
        &mut self,
        shared: &Shared,
        samples: impl ExactSizeIterator<Item = f32>,
        info: &InputCallbackInfo,
    ) {
        let (channels, rate) = (u64::from(self.config.channels), f64::from(self.config.sample_rate));
        let at = info.timestamp().capture;
        if shared.overrun.swap(false, Ordering::AcqRel)
            && let Some(due) = self.due
        {
            let missing = at.duration_since(due).as_secs_f64() * rate;
            #[allow(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "whole samples, none below zero"
            )]
            let missing = missing.round() as u64;
            self.missing += missing * channels;
        }
        let frames = samples.len() as f64 / f64::from(self.config.channels.max(1));
        self.due = at.checked_add(Duration::from_secs_f64(frames / rate));
        shared.ring.push(samples, &mut self.missing);
    }
}

/// Samples on their way from one thread to another; neither ever waits. What does not fit is left out, whole packets, and where it
/// is missing is remembered.
struct Ring {
    /// Singles, as their bits.
    samples: Box<[AtomicU32]>,
    /// Samples written and read so far.
    written: AtomicU64,
    read: AtomicU64,
    /// A gap: before which sample, and how many are missing there; 0: there is none.
    gap_at: AtomicU64,
    gap: AtomicU64,
}

impl Ring {
    fn new(len: usize) -> Self {
        let samples = (0..len).map(|_| AtomicU32::new(0)).collect();
        let zero = || AtomicU64::new(0);
        Self { samples, written: zero(), read: zero(), gap_at: zero(), gap: zero() }
    }

    /// Writes samples; what is `missing` before them, and what does not fit, is told with the first that fit.
    fn push(&self, samples: impl ExactSizeIterator<Item = f32>, missing: &mut u64) {
        let (written, read) = (self.written.load(Ordering::Relaxed), self.read.load(Ordering::Acquire));
        let (len, count) = (self.samples.len() as u64, samples.len() as u64);
        let is_gap_pending = *missing > 0 && self.gap.load(Ordering::Acquire) > 0;
        if is_gap_pending || written + count > read + len {
            *missing += count;
            return;
        }
        if *missing > 0 {
            self.gap_at.store(written, Ordering::Relaxed);
            self.gap.store(std::mem::take(missing), Ordering::Release);
        }
        for (place, sample) in (written..).zip(samples) {
            self.at(place).store(sample.to_bits(), Ordering::Relaxed);
        }
        self.written.store(written + count, Ordering::Release);
    }

    /// Appends what can be read, up to the next gap.
    fn pop(&self, payload: &mut Vec<u8>) -> Heard {
        // Who sees samples behind a gap sees the gap: it is stored first.
        let (read, mut end) = (self.read.load(Ordering::Relaxed), self.written.load(Ordering::Acquire));
        let mut missing = 0;
        if self.gap.load(Ordering::Acquire) > 0 {
            match self.gap_at.load(Ordering::Relaxed) {
                at if at == read => missing = self.gap.swap(0, Ordering::AcqRel),
                at => end = end.min(at),
            }
        }
        for place in read..end {
            payload.extend(self.at(place).load(Ordering::Relaxed).to_le_bytes());
        }
        self.read.store(end, Ordering::Release);
        Heard { missing, samples: end - read }
    }

    #[allow(
        clippy::indexing_slicing,
        clippy::cast_possible_truncation,
        reason = "the remainder is below the length, which fits"
    )]
    fn at(&self, place: u64) -> &AtomicU32 {
        &self.samples[(place % self.samples.len() as u64) as usize]
    }
}

fn system(what: &str, why: cpal::Error) -> CaptureError {
    CaptureError::System { what: what.to_owned(), why }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(ring: &Ring) -> (u64, Vec<f32>) {
        let mut payload = Vec::new();
        let heard = ring.pop(&mut payload);
        let samples: Vec<f32> =
            payload.as_chunks::<4>().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect();
        assert_eq!(samples.len() as u64, heard.samples);
        (heard.missing, samples)
    }

    #[test]
    fn what_is_written_is_read_in_its_order() {
        let (ring, mut missing) = (Ring::new(5), 0);
        for n in [0.0, 3.0, 6.0] {
            ring.push([n, n + 1.0, n + 2.0].into_iter(), &mut missing);
            assert_eq!(read(&ring), (0, vec![n, n + 1.0, n + 2.0]));
        }
        assert_eq!(read(&ring), (0, vec![]));
    }

    #[test]
    fn what_does_not_fit_is_a_gap_where_it_is_missing() {
        let (ring, mut missing) = (Ring::new(4), 0);
        let mut push = |samples: &[f32]| ring.push(samples.iter().copied(), &mut missing);
        push(&[1.0, 2.0, 3.0]);
        push(&[4.0, 5.0]);
        push(&[6.0, 7.0]);
        assert_eq!(read(&ring), (0, vec![1.0, 2.0, 3.0]));
        push(&[8.0, 9.0]);
        assert_eq!(read(&ring), (4, vec![8.0, 9.0]));
        // A second gap while the first is not read: all that comes is missing until then.
        push(&[1.0, 2.0, 3.0]);
        push(&[4.0, 5.0]);
        assert_eq!(read(&ring), (0, vec![1.0, 2.0, 3.0]));
        push(&[6.0]);
        push(&[7.0, 8.0, 9.0, 9.0]);
        push(&[9.0]);
        assert_eq!(read(&ring), (2, vec![6.0]));
        push(&[1.0]);
        assert_eq!(read(&ring), (5, vec![1.0]));
    }

    #[test]
    fn two_threads_lose_nothing_that_is_not_told() {
        const COUNT: u64 = 200_000;
        let ring = Arc::new(Ring::new(1_000));
        let writing = Arc::clone(&ring);
        let writer = thread::spawn(move || {
            let mut missing = 0;
            for n in 0..COUNT / 50 {
                #[allow(clippy::cast_precision_loss, reason = "small whole numbers")]
                writing.push(
                    (n * 50..(n + 1) * 50).map(|n| n as f32).collect::<Vec<_>>().into_iter(),
                    &mut missing,
                );
            }
            missing
        });
        let mut position = 0;
        let mut take = || {
            let (missing, samples) = read(&ring);
            position += missing;
            for sample in samples {
                assert!((f64::from(sample) - position as f64).abs() < 0.5, "{sample} at {position}");
                position += 1;
            }
        };
        while !writer.is_finished() {
            take();
        }
        let untold = writer.join().unwrap();
        take();
        take();
        assert_eq!(position + untold, COUNT);
    }
}
