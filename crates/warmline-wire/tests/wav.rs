//! WAVE files as other programs write them, read back: by hound, by ffmpeg and SoX where they are installed, and by hand
//! for what those do not write. The files of the first two tests are also the seeds of the fuzz target `wav`.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    reason = "a test stops at what it did not expect"
)]

use std::f64::consts::TAU;
use std::path::Path;
use std::process::Command;
use std::{env, fs, io};

use hound::{SampleFormat, WavSpec, WavWriter};
use warmline_core::media::Encoding::{self, *};
use warmline_core::media::encoding::decode;
use warmline_core::media::g711;
use warmline_wire::wav::{self, Wav};

mod survives {
    pub(crate) mod wav;
}

#[test]
fn what_recorders_write_is_read() {
    let check = |file: &str, encoding: Encoding, rate, channels, known: Length, step: f64| {
        let bytes = seed(file);
        let wav = wav::parse(&bytes).unwrap_or_else(|error| panic!("{file}: {error}"));
        assert_eq!((wav.encoding, wav.rate.0, wav.channels), (encoding, rate, channels), "{file}");
        let at = usize::try_from(wav.data_at).unwrap();
        match known {
            Length::Known => assert_eq!(wav.data_len, Some(data(&bytes, &wav).len() as u64), "{file}"),
            Length::Longer => assert!(wav.data_len.unwrap() > (bytes.len() - at) as u64, "{file}"),
            Length::Unknown => assert_eq!(wav.data_len, None, "{file}"),
        }
        for channel in 0..channels {
            let sign = if channel == 0 { 1.0 } else { -1.0 };
            let samples = samples(&bytes, &wav, channel);
            assert_eq!(samples.len(), TONE_LEN, "{file}");
            for (k, sample) in samples.into_iter().enumerate() {
                let error = (f64::from(sample) - sign * tone(k)).abs();
                assert!(error <= step, "{file}, channel {channel}, sample {k}: {sample}, off by {error}");
            }
        }
    };
    let bits = |bits: i32| 0.5f64.powi(bits - 1);

    check("u8.wav", U8, 8_000, 1, Length::Known, bits(8));
    check("s16-stereo.wav", L16Le, 16_000, 2, Length::Known, bits(16));
    check("s24-extensible.wav", L24Le, 48_000, 1, Length::Known, bits(24));
    check("s32-extensible.wav", L32Le, 44_100, 1, Length::Known, bits(24));
    check("f32.wav", F32Le, 22_050, 1, Length::Known, bits(24));
    check("f64.wav", F64Le, 11_025, 1, Length::Known, bits(24));
    check("mulaw-fact.wav", Pcmu, 8_000, 1, Length::Known, 0.016);
    check("alaw-stereo.wav", Pcma, 8_000, 2, Length::Known, 0.016);
    check("bext-junk.wav", L16Le, 8_000, 1, Length::Known, bits(16));
    check("odd-list.wav", L16Le, 8_000, 1, Length::Known, bits(16));
    check("odd-list-nopad.wav", L16Le, 8_000, 1, Length::Known, bits(16));
    check("odd-format.wav", Pcmu, 8_000, 1, Length::Known, 0.016);
    check("trailing-list.wav", L16Le, 8_000, 1, Length::Known, bits(16));
    check("truncated.wav", L16Le, 8_000, 1, Length::Longer, bits(16));
    check("pipe.wav", L16Le, 8_000, 1, Length::Unknown, bits(16));
    check("died.wav", Pcma, 8_000, 1, Length::Unknown, 0.016);
    check("rf64.wav", L16Le, 12_000, 1, Length::Known, bits(16));
}

#[test]
fn what_is_not_read_is_refused_in_one_sentence() {
    let check = |file: &str, sentence: &str| {
        assert_eq!(wav::parse(&seed(file)).expect_err(file).to_string(), sentence, "{file}");
    };
    check(
        "gsm.wav",
        "GSM 6.10 (format tag 0x0031): supported are PCM 8/16/24/32 bit, float 32/64 bit, µ-law and A-law",
    );
    check(
        "adpcm-extensible.wav",
        "IMA ADPCM (format tag 0x0011): supported are PCM 8/16/24/32 bit, float 32/64 bit, µ-law and A-law",
    );
    check(
        "ambisonic.wav",
        "extensible sub-format 010000002107d3118644c8c1ca000000: supported are PCM 8/16/24/32 bit, \
         float 32/64 bit, µ-law and A-law",
    );
    check("six-channels.wav", "6 channels: supported are 1 (mono) and 2 (stereo)");
    check("96k.wav", "sample rate 96000 Hz: supported are 8000 to 48000 Hz");
    check(
        "big-endian.wav",
        "not a WAVE file: it begins with \"RIFX\" … \"WAVE\", expected \"RIFF\" … \"WAVE\"",
    );
    check("cut.wav", "the header is not complete after 30 bytes: 4 more are needed");
}

/// `UPDATE_SEEDS=1 cargo test --test wav` writes them anew.
#[test]
fn the_seeds_of_the_fuzz_target_are_these_files() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus/wav");
    for (name, bytes) in seeds() {
        assert!(bytes.len() < 2_000, "{name}: {} bytes", bytes.len());
        if env::var_os("UPDATE_SEEDS").is_some() {
            fs::write(corpus.join(name), &bytes).unwrap();
        }
        let kept = fs::read(corpus.join(name)).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert!(kept == bytes, "{name} differs");
    }
}

#[test]
fn the_corpus_is_survived() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus/wav");
    for entry in fs::read_dir(corpus).unwrap() {
        survives::wav::wav(&fs::read(entry.unwrap().path()).unwrap());
    }
}

#[test]
fn a_file_with_any_one_byte_wrong_is_survived() {
    for (_, mut bytes) in seeds() {
        for at in 0..bytes.len().min(48) {
            let right = bytes[at];
            for wrong in [0xFF, right ^ 1] {
                bytes[at] = wrong;
                survives::wav::wav(&bytes);
            }
            bytes[at] = right;
        }
    }
}

#[test]
fn what_ffmpeg_writes_is_heard_as_ffmpeg_hears_it() {
    if !installed("ffmpeg") {
        return;
    }
    let check = |codec: &str, encoding: Encoding, rate: &str, to: To| {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("call.wav");
        let source = format!("sine=frequency=440:sample_rate={rate}:duration=0.25,volume=4");
        let written = ["-f", "lavfi", "-i", &source, "-ac", "2", "-c:a", codec, "-f", "wav"];
        match to {
            To::File(options) => {
                run("ffmpeg", &[&written, options, &["-y", file.to_str().unwrap()]].concat());
            }
            To::Pipe => fs::write(&file, run("ffmpeg", &[&written[..], &["pipe:1"]].concat())).unwrap(),
        }
        let heard = run("ffmpeg", &["-i", file.to_str().unwrap(), "-f", "f32le", "pipe:1"]);
        let heard: Vec<f32> = heard.as_chunks().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect();

        let bytes = fs::read(&file).unwrap();
        let wav = wav::parse(&bytes).unwrap_or_else(|error| panic!("{codec}: {error}"));
        assert_eq!((wav.encoding, wav.rate.0.to_string(), wav.channels), (encoding, rate.into(), 2));
        assert_eq!(wav.data_len.is_none(), matches!(to, To::Pipe), "{codec}: {wav:?}");
        let (left, right) = (samples(&bytes, &wav, 0), samples(&bytes, &wav, 1));
        assert_eq!((left.len() * 2, right.len() * 2), (heard.len(), heard.len()), "{codec}");
        let ours = left.into_iter().zip(right).flat_map(|(left, right)| [left, right]);
        for (ours, theirs) in ours.zip(heard) {
            assert!((ours - theirs).abs() < 1e-6, "{codec}: {ours} for {theirs}");
        }
    };
    let file = To::File(&[]);
    check("pcm_u8", U8, "8000", file);
    check("pcm_s16le", L16Le, "16000", file);
    check("pcm_s24le", L24Le, "44100", file);
    check("pcm_s32le", L32Le, "48000", file);
    check("pcm_f32le", F32Le, "22050", file);
    check("pcm_f64le", F64Le, "11025", file);
    check("pcm_mulaw", Pcmu, "8000", file);
    check("pcm_alaw", Pcma, "8000", file);
    check("pcm_s24le", L24Le, "44100", To::Pipe);
    check("pcm_mulaw", Pcmu, "8000", To::Pipe);
    check("pcm_s16le", L16Le, "16000", To::File(&["-rf64", "always"]));
}

#[test]
fn what_sox_writes_is_heard() {
    if !installed("sox") {
        return;
    }
    let check = |name: &str, encoding: Encoding, to: To| {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("call.wav");
        let [kind, bits] = [name.split('/').next().unwrap(), name.split('/').nth(1).unwrap()];
        let written = ["-D", "-n", "-r", "8000", "-c", "1", "-e", kind, "-b", bits, "-t", "wav"];
        let synth = ["synth", "0.25", "sine", "500", "vol", "0.5"];
        match to {
            To::File(_) => drop(run("sox", &[&written[..], &[file.to_str().unwrap()], &synth].concat())),
            To::Pipe => fs::write(&file, run("sox", &[&written[..], &["-"], &synth].concat())).unwrap(),
        }
        let bytes = fs::read(&file).unwrap();
        let wav = wav::parse(&bytes).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(wav.encoding, encoding, "{name}");
        assert_eq!(wav.data_len.is_none(), matches!(to, To::Pipe), "{name}: {wav:?}");
        let samples = samples(&bytes, &wav, 0);
        assert_eq!(samples.len(), 2_000, "{name}");
        let power = samples.iter().map(|sample| f64::from(sample * sample)).sum::<f64>() / 2_000.0;
        assert!((power - 0.125).abs() < 0.003, "{name}: mean square {power}");
    };
    for to in [To::File(&[]), To::Pipe] {
        check("unsigned-integer/8", U8, to);
        check("signed-integer/16", L16Le, to);
        check("signed-integer/24", L24Le, to);
        check("signed-integer/32", L32Le, to);
        check("floating-point/32", F32Le, to);
        check("mu-law/8", Pcmu, to);
        check("a-law/8", Pcma, to);
    }
}

enum Length {
    Known,
    Longer,
    Unknown,
}

#[derive(Clone, Copy)]
enum To {
    File(&'static [&'static str]),
    Pipe,
}

#[allow(clippy::print_stderr, reason = "says which test did nothing")]
fn installed(program: &str) -> bool {
    let found = Command::new(program).arg("--version").output().is_ok();
    if !found {
        eprintln!("skipped: {program} is not installed");
    }
    found
}

fn run(program: &str, arguments: &[&str]) -> Vec<u8> {
    let quiet: &[&str] = if program == "ffmpeg" { &["-v", "error", "-nostdin"] } else { &[] };
    let output = Command::new(program).args(quiet).args(arguments).output().unwrap();
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

/// The samples' bytes: as many as the header says, or as there are.
fn data<'a>(bytes: &'a [u8], wav: &Wav) -> &'a [u8] {
    let data = &bytes[usize::try_from(wav.data_at).unwrap()..];
    let len = wav.data_len.map_or(data.len(), |len| usize::try_from(len).unwrap_or(usize::MAX));
    &data[..len.min(data.len())]
}

fn samples(bytes: &[u8], wav: &Wav, channel: u16) -> Vec<f32> {
    let mut samples = Vec::new();
    decode(wav.encoding, wav.channels, channel, data(bytes, wav), &mut samples);
    samples
}

const TONE_LEN: usize = 64;

/// Half of full scale, 16 samples a period.
fn tone(k: usize) -> f64 {
    0.5 * (TAU * k as f64 / 16.0).sin()
}

fn seed(name: &str) -> Vec<u8> {
    seeds().into_iter().find(|(seed, _)| *seed == name).unwrap_or_else(|| panic!("no {name}")).1
}

fn seeds() -> Vec<(&'static str, Vec<u8>)> {
    let s16 = || (0..TONE_LEN).flat_map(|k| i16::to_le_bytes(quantise(k, 16) as i16)).collect::<Vec<_>>();
    let mu = || (0..TONE_LEN).map(|k| g711::encode_mu(quantise(k, 16) as i16)).collect::<Vec<_>>();
    let a = |sign: i32| (0..TONE_LEN).map(move |k| g711::encode_a((sign * quantise(k, 16)) as i16));
    let f64s = || (0..TONE_LEN).flat_map(|k| tone(k).to_le_bytes()).collect::<Vec<_>>();
    let pcm = || chunk(b"fmt ", &format(1, 1, 8_000, 16));
    let g711_format = |tag, channels| [format(tag, channels, 8_000, 8), vec![0, 0]].concat();
    let fact = || chunk(b"fact", &64u32.to_le_bytes());
    let long_data = |len: u32, data: &[u8]| [b"data".as_slice(), &len.to_le_bytes(), data].concat();
    let extensible = |guid: [u8; 16]| {
        [format(0xFFFE, 1, 8_000, 16).as_slice(), &[22, 0, 16, 0, 4, 0, 0, 0], &guid].concat()
    };
    let ds64 = [2_000u64, 128, 64].map(u64::to_le_bytes).concat();
    let bext = chunk(b"bext", &[0; 602]);

    vec![
        ("u8.wav", hound(8_000, 1, 8, SampleFormat::Int)),
        ("s16-stereo.wav", hound(16_000, 2, 16, SampleFormat::Int)),
        ("s24-extensible.wav", hound(48_000, 1, 24, SampleFormat::Int)),
        ("s32-extensible.wav", hound(44_100, 1, 32, SampleFormat::Int)),
        ("f32.wav", hound(22_050, 1, 32, SampleFormat::Float)),
        ("f64.wav", riff(&[chunk(b"fmt ", &format(3, 1, 11_025, 64)), chunk(b"data", &f64s())])),
        ("mulaw-fact.wav", riff(&[chunk(b"fmt ", &g711_format(7, 1)), fact(), chunk(b"data", &mu())])),
        (
            "alaw-stereo.wav",
            riff(&[
                chunk(b"fmt ", &g711_format(6, 2)),
                chunk(b"data", &a(1).zip(a(-1)).flat_map(|(left, right)| [left, right]).collect::<Vec<_>>()),
            ]),
        ),
        ("bext-junk.wav", riff(&[chunk(b"JUNK", &[0; 28]), bext, pcm(), chunk(b"data", &s16())])),
        ("odd-list.wav", riff(&[pcm(), chunk(b"LIST", b"INFOISFT\x03\0\0\0me\0"), chunk(b"data", &s16())])),
        ("odd-list-nopad.wav", riff(&[pcm(), b"LIST\x05\0\0\0INFO!".to_vec(), chunk(b"data", &s16())])),
        (
            "odd-format.wav",
            riff(&[chunk(b"fmt ", &[format(7, 1, 8_000, 8), vec![0; 5]].concat()), chunk(b"data", &mu())]),
        ),
        ("trailing-list.wav", riff(&[pcm(), chunk(b"data", &s16()), chunk(b"LIST", b"INFOICMTmore")])),
        ("truncated.wav", riff(&[pcm(), long_data(1_000_000, &s16())])),
        ("pipe.wav", riff(&[pcm(), chunk(b"LIST", b"INFO"), long_data(u32::MAX, &s16())])),
        ("died.wav", riff(&[chunk(b"fmt ", &g711_format(6, 1)), long_data(0, &a(1).collect::<Vec<_>>())])),
        (
            "rf64.wav",
            [
                b"RF64\xFF\xFF\xFF\xFFWAVE".to_vec(),
                chunk(b"ds64", &[ds64, vec![0; 4]].concat()),
                chunk(b"fmt ", &format(1, 1, 12_000, 16)),
                long_data(u32::MAX, &s16()),
                chunk(b"LIST", b"INFO"),
            ]
            .concat(),
        ),
        ("gsm.wav", riff(&[chunk(b"fmt ", &format(0x31, 1, 8_000, 0)), fact(), chunk(b"data", &[0; 65])])),
        (
            "adpcm-extensible.wav",
            riff(&[chunk(
                b"fmt ",
                &extensible([0x11, 0, 0, 0, 0, 0, 0x10, 0, 0x80, 0, 0, 0xAA, 0, 0x38, 0x9B, 0x71]),
            )]),
        ),
        (
            "ambisonic.wav",
            riff(&[chunk(
                b"fmt ",
                &extensible([1, 0, 0, 0, 0x21, 7, 0xD3, 0x11, 0x86, 0x44, 0xC8, 0xC1, 0xCA, 0, 0, 0]),
            )]),
        ),
        ("six-channels.wav", riff(&[chunk(b"fmt ", &format(1, 6, 8_000, 16)), chunk(b"data", &s16())])),
        ("96k.wav", riff(&[chunk(b"fmt ", &format(1, 1, 96_000, 16)), chunk(b"data", &s16())])),
        ("big-endian.wav", b"RIFX\0\0\0\x04WAVE".to_vec()),
        ("cut.wav", riff(&[pcm()])[..30].to_vec()),
    ]
}

/// The tone as an integer of `bits`.
fn quantise(k: usize, bits: i32) -> i32 {
    (tone(k) * 2f64.powi(bits - 1)).round() as i32
}

fn hound(sample_rate: u32, channels: u16, bits_per_sample: u16, sample_format: SampleFormat) -> Vec<u8> {
    let mut file = io::Cursor::new(Vec::new());
    let spec = WavSpec { channels, sample_rate, bits_per_sample, sample_format };
    let mut writer = WavWriter::new(&mut file, spec).unwrap();
    for k in 0..TONE_LEN {
        for sign in [1, -1].into_iter().take(usize::from(channels)) {
            match sample_format {
                SampleFormat::Int => {
                    writer.write_sample(sign * quantise(k, i32::from(bits_per_sample))).unwrap();
                }
                SampleFormat::Float => writer.write_sample(tone(k) as f32).unwrap(),
            }
        }
    }
    writer.finalize().unwrap();
    file.into_inner()
}

fn riff(chunks: &[Vec<u8>]) -> Vec<u8> {
    let chunks = chunks.concat();
    let len = u32::try_from(chunks.len() + 4).unwrap();
    [b"RIFF".as_slice(), &len.to_le_bytes(), b"WAVE", &chunks].concat()
}

fn chunk(name: &[u8; 4], body: &[u8]) -> Vec<u8> {
    let pad: &[u8] = if body.len() % 2 == 1 { &[0] } else { &[] };
    [name.as_slice(), &u32::try_from(body.len()).unwrap().to_le_bytes(), body, pad].concat()
}

/// `WAVEFORMAT` with the bits per sample.
fn format(tag: u16, channels: u16, rate: u32, bits: u16) -> Vec<u8> {
    let block_align = channels * bits / 8;
    let bytes_per_second = rate * u32::from(block_align);
    [
        &tag.to_le_bytes()[..],
        &channels.to_le_bytes(),
        &rate.to_le_bytes(),
        &bytes_per_second.to_le_bytes(),
        &block_align.to_le_bytes(),
        &bits.to_le_bytes(),
    ]
    .concat()
}
