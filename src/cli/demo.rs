//! `warmline serve --demo`: the bundled calls as live ones, over and over.
//!
//! Each is a stream like any other: it opens a line at the switchboard, says what its recording says every 20 ms, and hangs up.

use std::{borrow::Cow, collections::BTreeMap, sync::Arc, time::Duration};

use anyhow::{Context, bail};
use rust_embed::Embed;
use tokio::time::{Instant, sleep, sleep_until};
use warmline::{
    media_in::Intake,
    switchboard::{Assumed, Command},
};
use warmline_core::{
    call::Transcript,
    media::{Format, Speaker, TrackFormat},
    units::{MediaTime, Pii},
};
use warmline_eval::script::{self, Told};
use warmline_wire::{Message, Start, wav};

/// The bundled calls; a debug build reads the folder.
#[derive(Embed)]
#[folder = "fixtures/calls"]
#[allow_missing = true]
struct Recordings;

/// Who calls, what they play, by which queue, and why. The numbers are of the ranges that are nobody's (555-0100 to 555-0199 in North America, 23125-000 to -999 in Berlin).
const CALLERS: [(&str, &str, &str, &str, &str); 9] = [
    ("calm.wav", "billing", "payment_plan", "+1 202 555 0147", "R. Okafor"),
    ("escalating.wav", "billing", "disputed_medical_bill", "+1 202 555 0112", "M. Lindqvist"),
    ("loud_but_happy.wav", "orders", "delivery_date", "+1 202 555 0169", "T. Moreau"),
    ("mostly_silence.wav", "support", "password_reset", "+1 202 555 0103", "J. Park"),
    ("escalating_de.wav", "support_de", "internet_outage", "+49 30 23125 118", "K. Brandt"),
    ("calm.wav", "support", "change_address", "+1 202 555 0181", "A. Rossi"),
    ("hold_music.wav", "orders", "return", "+1 202 555 0126", "S. Haddad"),
    ("escalating_mulaw.wav", "support", "cancelled_flight", "+1 202 555 0190", "D. Novak"),
    ("calm_16k.wav", "billing", "invoice_copy", "+1 202 555 0135", "L. Chen"),
];

/// Calls at once.
const LINES: usize = CALLERS.len();

/// Between the first calls, and between one of a line and the next.
const STAGGER: Duration = Duration::from_secs(4);

/// How long a transfer of the demo waits for somebody to claim it, seconds.
pub(super) const RING_S: u64 = 120;

/// Between two packets.
const PACKET: Duration = Duration::from_millis(20);

/// Plays until the program ends.
///
/// # Errors
/// When the recordings are not part of this program, or one cannot be read.
pub(super) fn play(intake: &Arc<Intake>) -> anyhow::Result<()> {
    for line in 0..LINES {
        let caller = CALLERS.get(line).copied().context("a line has a caller")?;
        let voice = Arc::new(Voice::read(caller.0)?);
        let intake = Arc::clone(intake);
        tokio::spawn(async move {
            sleep(STAGGER.mul_f64(line as f64)).await;
            for n in 1_u32.. {
                call(&intake, line, n, caller, &voice).await;
                sleep(STAGGER).await;
            }
        });
    }
    Ok(())
}

/// The bundled recordings of two channels, by name.
pub(super) fn bundled() -> impl Iterator<Item = (String, Cow<'static, [u8]>)> {
    let mut names: Vec<Cow<'static, str>> =
        Recordings::iter().filter(|name| name.ends_with(".wav")).collect();
    names.sort();
    names.into_iter().filter_map(|name| Some((name.to_string(), Recordings::get(&name)?.data)))
}

/// What they are labelled with.
pub(super) fn suite() -> Option<String> {
    String::from_utf8(Recordings::get("suite.csv")?.data.into_owned()).ok()
}

/// A recording in memory, and the words that are in it, where they are written down.
struct Voice {
    bytes: Cow<'static, [u8]>,
    head: wav::Wav,
    words: Vec<script::Line>,
}

impl Voice {
    fn read(name: &str) -> anyhow::Result<Self> {
        let file = Recordings::get(name).with_context(|| {
            format!("{name} is not part of this program: build it in a checkout, with fixtures/calls")
        })?;
        let head = wav::parse(&file.data).with_context(|| name.to_owned())?;
        if head.channels != 2 {
            bail!("{name}: expected two channels");
        }
        let words = Recordings::get(&name.replace(".wav", ".transcript.ndjson"));
        let words = words.map(|file| script::parse(&String::from_utf8_lossy(&file.data))).transpose();
        Ok(Self {
            bytes: file.data,
            head,
            words: words.with_context(|| name.to_owned())?.unwrap_or_default(),
        })
    }

    fn format(&self, channel: u16) -> Format {
        let wav::Wav { encoding, rate, channels, .. } = self.head;
        Format::Samples(TrackFormat { encoding, rate, channels, channel })
    }

    /// What is said in each 20 ms, both channels interleaved, and how many samples of each that is.
    fn packets(&self) -> (impl Iterator<Item = &[u8]>, u64) {
        let samples = u64::from(self.head.rate.0) / 50;
        let per_sample = self.head.encoding.bytes_per_sample() * usize::from(self.head.channels);
        let from = usize::try_from(self.head.data_at).unwrap_or(usize::MAX);
        let audio = self.bytes.get(from..).unwrap_or_default();
        (audio.chunks_exact((per_sample * usize::try_from(samples).unwrap_or(1)).max(1)), samples)
    }
}

async fn call(
    intake: &Intake,
    line: usize,
    n: u32,
    (_, queue, intent, number, name): (&str, &str, &str, &str, &str),
    voice: &Voice,
) {
    let said = [
        ("queue", queue),
        ("intent", intent),
        ("notice", "notice"),
        ("caller_number", number),
        ("caller_name", name),
        ("account_tier", if line.is_multiple_of(3) { "gold" } else { "standard" }),
    ];
    let metadata: BTreeMap<String, String> = said.map(|(k, v)| (k.to_owned(), v.to_owned())).into();
    let start = Start {
        source: "demo",
        call: Some(format!("demo-{}-{n}", line + 1)),
        stream: None,
        caller_channel: "left",
        caller: voice.format(0),
        agent: Some(voice.format(1)),
        from: Some(Pii::new(number.to_owned())),
        to: None,
        metadata: Pii::new(metadata),
    };
    let mut stream = match intake.board.open(&start, &Assumed::default()) {
        Ok(stream) => stream,
        Err(refused) => return tracing::warn!(%refused, "a call of the demo is refused"),
    };
    let begin = Instant::now();
    let (packets, samples) = voice.packets();
    let mut words = voice.words.iter().peekable();
    for (n, payload) in (0_u32..).zip(packets) {
        sleep_until(begin + PACKET.saturating_mul(n + 1)).await;
        let now = MediaTime(160 * u64::from(n));
        while let Some(script::Line { at, told }) = words.next_if(|line| line.at <= now) {
            let command = match told.clone() {
                Told::Said(speaker, text) => {
                    Command::Transcript(Transcript { speaker, text, is_final: true, at: Some(*at) })
                }
                Told::Bot(event) => Command::Bot(event, Some(*at)),
            };
            // What has no room is counted there.
            let _ = intake.board.tell(stream.id(), command);
        }
        let position = u64::from(n) * samples;
        for track in [Speaker::Caller, Speaker::Agent] {
            stream.handle(&Message::Media { track, position, payload });
        }
    }
    stream.handle(&Message::Stopped(Cow::Borrowed("hangup")));
}
