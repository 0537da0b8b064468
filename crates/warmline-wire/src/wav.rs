//! WAVE files as call recorders really write them: RIFF (Microsoft, "Multiple Channel Audio Data and WAVE Files", 2007)
//! and RF64 for what exceeds 4 GB (EBU Tech 3306).

use std::fmt;

use super::{Encoding, MAX_RATE, MIN_RATE};
use warmline_core::units::{SampleRate, hex};

/// The furthest byte at which samples may begin: what stands before them is held in memory.
pub const MAX_HEAD: u64 = 1 << 20;

/// What the head of a WAVE file says of its samples.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wav {
    /// How a sample is written.
    pub encoding: Encoding,
    /// Samples per second of each channel, [`MIN_RATE`] to [`MAX_RATE`].
    pub rate: SampleRate,
    /// Interleaved channels: 1 or 2.
    pub channels: u16,
    /// Offset of the first sample from the file's start, bytes.
    pub data_at: u64,
    /// Bytes of samples; `None` when the writer did not know (it wrote to a pipe, or died). A file may hold fewer: the
    /// samples end where the file does.
    pub data_len: Option<u64>,
}

/// Why no samples can be read, by what to do about it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WavError {
    /// Not an error yet: parse again with at least `needed` more bytes. At the file's end: it was cut in its header.
    #[error("the header is not complete after {read} bytes: {needed} more are needed")]
    Incomplete {
        /// Bytes given.
        read: u64,
        /// Bytes that must follow them at least.
        needed: u64,
    },
    /// Not a WAVE file, or a broken one.
    #[error(transparent)]
    Malformed(#[from] Malformed),
    /// A WAVE file of a kind that is not read.
    #[error(transparent)]
    Unsupported(#[from] Unsupported),
}

/// What breaks the format's own rules.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// Another kind of file.
    #[error("not a WAVE file: it begins with {begins} … {form}, expected \"RIFF\" … \"WAVE\"")]
    NotWave {
        /// Bytes 0-3.
        begins: FourCc,
        /// Bytes 8-11.
        form: FourCc,
    },
    /// No room for the fields every format has.
    #[error("format chunk of {len} bytes: expected at least {expected}")]
    ShortFormat {
        /// The chunk's length, bytes.
        len: u32,
        /// The least length of this format tag.
        expected: u32,
    },
    /// The 64-bit sizes of an RF64 file are missing.
    #[error("RF64 size chunk of {len} bytes: expected at least {DS64_LEN}")]
    ShortSizes {
        /// The chunk's length, bytes.
        len: u32,
    },
    /// Samples of which nothing is known.
    #[error("samples begin at byte {data_at} and no format chunk stands before them")]
    NoFormat {
        /// Offset of the first sample, bytes.
        data_at: u64,
    },
    /// Two fields that contradict each other.
    #[error("block align is {block_align} bytes: {channels} channel(s) of {bits} bit make {expected}")]
    BlockAlign {
        /// Bytes of one sample of every channel, as read.
        block_align: u16,
        /// Interleaved channels.
        channels: u16,
        /// Bits per sample.
        bits: u16,
        /// Bytes of one sample of every channel, as the other fields say.
        expected: usize,
    },
}

/// What is sound but not read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unsupported {
    /// A codec.
    #[error("{tag}: supported are {SUPPORTED}")]
    Codec {
        /// The format tag.
        tag: FormatTag,
    },
    /// A sub-format whose identifier is no format tag.
    #[error("extensible sub-format {}: supported are {SUPPORTED}", hex(guid))]
    SubFormat {
        /// The sub-format's GUID as it stands in the file.
        guid: [u8; 16],
    },
    /// A sample width.
    #[error("{tag} of {bits} bit: supported are {SUPPORTED}")]
    Bits {
        /// The format tag.
        tag: FormatTag,
        /// Bits per sample.
        bits: u16,
    },
    /// A sample rate.
    #[error("sample rate {} Hz: supported are {} to {} Hz", rate.0, MIN_RATE.0, MAX_RATE.0)]
    Rate {
        /// Samples per second.
        rate: SampleRate,
    },
    /// A number of channels.
    #[error("{channels} channels: supported are 1 (mono) and 2 (stereo)")]
    Channels {
        /// Interleaved channels.
        channels: u16,
    },
    /// Too much before the samples.
    #[error("chunk {chunk} ends at byte {end}: samples must begin within the first {MAX_HEAD} bytes")]
    LongHead {
        /// The chunk's name.
        chunk: FourCc,
        /// Where the chunk after it would begin, bytes.
        end: u64,
    },
}

const SUPPORTED: &str = "PCM 8/16/24/32 bit, float 32/64 bit, µ-law and A-law";

/// Reads the head of a WAVE file.
///
/// `head` is the file from its first byte: give a few kilobytes, and on [`WavError::Incomplete`] as much more as it
/// says; never more than [`MAX_HEAD`] plus one chunk header is asked for.
pub fn parse(head: &[u8]) -> Result<Wav, WavError> {
    let head = Head(head);
    let begins = head.four_cc(0)?;
    let form = head.four_cc(8)?;
    let sizes_are_64_bit = match &begins.0 {
        b"RIFF" => false,
        b"RF64" | b"BW64" => true,
        _ => return Err(Malformed::NotWave { begins, form }.into()),
    };
    if &form.0 != b"WAVE" {
        return Err(Malformed::NotWave { begins, form }.into());
    }

    let mut at = RIFF_HEADER_LEN;
    let mut format = None;
    let mut sizes = None;
    loop {
        let chunk = head.four_cc(at)?;
        let len = head.u32(at + 4)?;
        let body = at + CHUNK_HEADER_LEN;
        match &chunk.0 {
            b"data" => {
                let format = format.ok_or(Malformed::NoFormat { data_at: body })?;
                let written = match sizes {
                    Some(sizes) if sizes_are_64_bit && len == u32::MAX => sizes,
                    _ => u64::from(len),
                };
                let data_len = known(written, format);
                return Ok(Wav { data_at: body, data_len, ..format });
            }
            b"fmt " => format = Some(parse_format(head, body, len)?),
            b"ds64" if len < DS64_LEN => return Err(Malformed::ShortSizes { len }.into()),
            b"ds64" => sizes = Some(head.u64(body + 8)?), // after the 64-bit size of the file
            _ => {}
        }
        at = next_chunk(head, chunk, body, len)?;
    }
}

/// `RIFF`, the file's length, `WAVE`.
const RIFF_HEADER_LEN: u64 = 12;

/// A chunk's name and length.
const CHUNK_HEADER_LEN: u64 = 8;

/// Sizes of the file, the samples and the number of samples, and the length of an empty table (EBU Tech 3306).
const DS64_LEN: u32 = 28;

/// `WAVEFORMAT` with the bits per sample: what PCM has.
const FORMAT_LEN: u32 = 16;

/// `WAVEFORMATEXTENSIBLE`.
const EXTENSIBLE_LEN: u32 = 40;

/// A length of samples, unless it is one that streaming writers leave behind: zero, all ones, or the whole samples in
/// 0x7FFFF000 bytes (SoX).
fn known(data_len: u64, format: Wav) -> Option<u64> {
    const ALL_ONES: u64 = u32::MAX as u64;
    let bytes_per_sample = format.encoding.bytes_per_sample() as u64 * u64::from(format.channels);
    match data_len {
        0 | ALL_ONES | u64::MAX => None,
        sox if sox == 0x7FFF_F000 / bytes_per_sample * bytes_per_sample => None,
        data_len => Some(data_len),
    }
}

/// Where the chunk after this one begins: chunks of odd length are followed by a pad byte, which some writers forget.
fn next_chunk(head: Head<'_>, chunk: FourCc, body: u64, len: u32) -> Result<u64, WavError> {
    const NAMES: [&[u8; 4]; 12] = [
        b"data", b"fmt ", b"LIST", b"fact", b"bext", b"JUNK", b"junk", b"PEAK", b"cue ", b"iXML", b"id3 ",
        b"ID3 ",
    ];
    let end = body + u64::from(len);
    if end > MAX_HEAD {
        return Err(Unsupported::LongHead { chunk, end }.into());
    }
    if len.is_multiple_of(2) {
        return Ok(end);
    }
    let unpadded = head.four_cc(end)?;
    Ok(if NAMES.contains(&&unpadded.0) { end } else { end + 1 })
}

/// Reads `WAVEFORMATEX` or `WAVEFORMATEXTENSIBLE`; the place of the samples is not known yet.
///
/// ```text
///  0 format tag        u16
///  2 channels          u16
///  4 samples/second    u32
///  8 bytes/second      u32   not used: writers get it wrong
/// 12 block align       u16
/// 14 bits per sample   u16
/// 16 extension length  u16   not used
/// 18 valid bits        u16   not used: samples are left-justified, so full scale does not depend on it
/// 20 channel mask      u32   not used
/// 24 sub-format        GUID
/// ```
fn parse_format(head: Head<'_>, body: u64, len: u32) -> Result<Wav, WavError> {
    if len < FORMAT_LEN {
        return Err(Malformed::ShortFormat { len, expected: FORMAT_LEN }.into());
    }
    let mut tag = FormatTag(head.u16(body)?);
    let channels = head.u16(body + 2)?;
    let rate = SampleRate(head.u32(body + 4)?);
    let block_align = head.u16(body + 12)?;
    let bits = head.u16(body + 14)?;
    if tag == FormatTag::EXTENSIBLE {
        if len < EXTENSIBLE_LEN {
            return Err(Malformed::ShortFormat { len, expected: EXTENSIBLE_LEN }.into());
        }
        let guid: [u8; 16] = head.array(body + 24)?;
        let [low, high, rest @ ..] = guid;
        if rest != TAG_GUID {
            return Err(Unsupported::SubFormat { guid }.into());
        }
        tag = FormatTag(u16::from_le_bytes([low, high]));
    }

    let encoding = match (tag, bits) {
        (FormatTag::PCM, 8) => Encoding::U8,
        (FormatTag::PCM, 16) => Encoding::L16Le,
        (FormatTag::PCM, 24) => Encoding::L24Le,
        (FormatTag::PCM, 32) => Encoding::L32Le,
        (FormatTag::FLOAT, 32) => Encoding::F32Le,
        (FormatTag::FLOAT, 64) => Encoding::F64Le,
        (FormatTag::PCM | FormatTag::FLOAT, _) => return Err(Unsupported::Bits { tag, bits }.into()),
        (FormatTag::A_LAW, _) => Encoding::Pcma, // some writers give the bits after expansion
        (FormatTag::MU_LAW, _) => Encoding::Pcmu,
        _ => return Err(Unsupported::Codec { tag }.into()),
    };
    if !(MIN_RATE..=MAX_RATE).contains(&rate) {
        return Err(Unsupported::Rate { rate }.into());
    }
    if !matches!(channels, 1 | 2) {
        return Err(Unsupported::Channels { channels }.into());
    }
    let expected = encoding.bytes_per_sample() * usize::from(channels);
    if matches!(tag, FormatTag::PCM | FormatTag::FLOAT) && usize::from(block_align) != expected {
        return Err(Malformed::BlockAlign { block_align, channels, bits, expected }.into());
    }
    Ok(Wav { encoding, rate, channels, data_at: 0, data_len: None })
}

/// The GUID of a sub-format that is a format tag, after the tag's two bytes: `0000xxxx-0000-0010-8000-00aa00389b71`.
const TAG_GUID: [u8; 14] = [0, 0, 0, 0, 0x10, 0, 0x80, 0, 0, 0xAA, 0, 0x38, 0x9B, 0x71];

/// The registered number of a codec (RFC 2361).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FormatTag(pub u16);

impl FormatTag {
    const PCM: Self = Self(0x0001);
    const FLOAT: Self = Self(0x0003);
    const A_LAW: Self = Self(0x0006);
    const MU_LAW: Self = Self(0x0007);
    const EXTENSIBLE: Self = Self(0xFFFE);

    /// The codec's usual name.
    fn name(self) -> &'static str {
        match self.0 {
            0x0001 => "PCM",
            0x0002 => "Microsoft ADPCM",
            0x0003 => "float",
            0x0006 => "A-law",
            0x0007 => "µ-law",
            0x0010 => "OKI ADPCM",
            0x0011 => "IMA ADPCM",
            0x0014 => "G.723 ADPCM",
            0x0022 => "TrueSpeech",
            0x0031 => "GSM 6.10",
            0x0040 => "G.721 ADPCM",
            0x0042 => "G.723.1",
            0x0045 | 0x0064 => "G.726 ADPCM",
            0x0050 => "MPEG audio",
            0x0055 => "MP3",
            0x0065 => "G.722",
            0x0083 => "G.729",
            0x00FF => "AAC",
            0x704F => "Opus",
            0xF1AC => "FLAC",
            _ => "unknown codec",
        }
    }
}

impl fmt::Display for FormatTag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (format tag 0x{:04X})", self.name(), self.0)
    }
}

/// The four bytes that name a chunk or a file; they print as text, with what is not ASCII escaped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FourCc(pub [u8; 4]);

impl fmt::Display for FourCc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{}\"", self.0.escape_ascii())
    }
}

/// The file's first bytes; every field outside them is [`WavError::Incomplete`]. Integers are little-endian.
#[derive(Clone, Copy)]
struct Head<'a>(&'a [u8]);

impl Head<'_> {
    fn array<const N: usize>(self, at: u64) -> Result<[u8; N], WavError> {
        let found = usize::try_from(at).ok().and_then(|at| self.0.get(at..)?.first_chunk().copied());
        let read = self.0.len() as u64;
        found.ok_or(WavError::Incomplete { read, needed: (at + N as u64).saturating_sub(read) })
    }

    fn four_cc(self, at: u64) -> Result<FourCc, WavError> {
        self.array(at).map(FourCc)
    }

    fn u16(self, at: u64) -> Result<u16, WavError> {
        self.array(at).map(u16::from_le_bytes)
    }

    fn u32(self, at: u64) -> Result<u32, WavError> {
        self.array(at).map(u32::from_le_bytes)
    }

    fn u64(self, at: u64) -> Result<u64, WavError> {
        self.array(at).map(u64::from_le_bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_cut_anywhere_is_incomplete_and_says_how_much_is_missing() {
        let whole = file(&[chunk(b"fmt ", &format(1, 1, 8_000, 16)), chunk(b"data", &[1, 2])].concat());
        let header_len = whole.len() - 2;
        for cut in 0..header_len {
            let Err(WavError::Incomplete { read, needed }) = parse(&whole[..cut]) else {
                panic!("cut at {cut}: {:?}", parse(&whole[..cut]));
            };
            assert_eq!(read, cut as u64);
            assert!(needed > 0 && cut as u64 + needed <= header_len as u64, "cut at {cut} needs {needed}");
        }
        assert_eq!(parse(&whole[..header_len]), parse(&whole));
    }

    #[test]
    fn bytes_asked_for_are_bytes_that_help() {
        let list = vec![0; 5_001];
        let whole = file(
            &[chunk(b"LIST", &list), chunk(b"fmt ", &format(7, 1, 8_000, 8)), chunk(b"data", &[0xFF; 8])]
                .concat(),
        );
        let (mut read, mut rounds) = (0, 0);
        while let Err(WavError::Incomplete { needed, .. }) = parse(&whole[..read]) {
            read += usize::try_from(needed).unwrap();
            rounds += 1;
        }
        assert!(parse(&whole[..read]).is_ok());
        assert!(rounds < 20, "{rounds} rounds");
    }

    #[test]
    fn a_chunk_of_odd_length_may_miss_its_pad_byte() {
        let fmt = chunk(b"fmt ", &format(1, 1, 8_000, 16));
        let data = chunk(b"data", &[1, 2, 3, 4]);
        let odd = [b"LIST".as_slice(), &3u32.to_le_bytes(), b"abc"].concat();
        let padded = parse(&file(&[odd.as_slice(), &[0], &fmt, &data].concat())).unwrap();
        let unpadded = parse(&file(&[odd.as_slice(), &fmt, &data].concat())).unwrap();
        let pad_of_junk = parse(&file(&[odd.as_slice(), b"!", &fmt, &data].concat())).unwrap();
        assert_eq!(padded.data_at, unpadded.data_at + 1);
        assert_eq!((padded.data_len, unpadded.data_len), (Some(4), Some(4)));
        assert_eq!(padded, pad_of_junk);
    }

    #[test]
    fn lengths_that_streaming_writers_leave_are_unknown() {
        for (written, read) in [(0, None), (u32::MAX, None), (0x7FFF_F000, None), (640, Some(640))] {
            let data = [b"data".as_slice(), &u32::to_le_bytes(written)].concat();
            let whole = file(&[chunk(b"fmt ", &format(1, 1, 8_000, 16)), data].concat());
            assert_eq!(parse(&whole).unwrap().data_len, read, "{written:#x}");
        }
    }

    #[test]
    fn what_stands_before_the_samples_is_bounded() {
        let huge = [b"LIST".as_slice(), &0xFFFF_FF00u32.to_le_bytes()].concat();
        let error = parse(&file(&huge)).unwrap_err();
        assert!(matches!(error, WavError::Unsupported(Unsupported::LongHead { .. })), "{error}");
        assert_eq!(
            error.to_string(),
            "chunk \"LIST\" ends at byte 4294967060: samples must begin within the first 1048576 bytes"
        );
    }

    #[test]
    fn a_refusal_is_one_clear_sentence() {
        let refusal = |body: &[u8]| parse(&file(body)).unwrap_err().to_string();
        let of_format = |fmt: &[u8]| refusal(&chunk(b"fmt ", fmt));
        assert_eq!(
            of_format(&format(0x31, 1, 8_000, 0)),
            "GSM 6.10 (format tag 0x0031): supported are PCM 8/16/24/32 bit, float 32/64 bit, µ-law and A-law"
        );
        assert_eq!(
            of_format(&format(1, 1, 8_000, 12)),
            "PCM (format tag 0x0001) of 12 bit: supported are PCM 8/16/24/32 bit, float 32/64 bit, µ-law and A-law"
        );
        assert_eq!(of_format(&format(1, 6, 8_000, 16)), "6 channels: supported are 1 (mono) and 2 (stereo)");
        assert_eq!(
            of_format(&format(1, 1, 96_000, 16)),
            "sample rate 96000 Hz: supported are 8000 to 48000 Hz"
        );
        assert_eq!(of_format(&[0; 14]), "format chunk of 14 bytes: expected at least 16");
        assert_eq!(
            refusal(&chunk(b"data", &[])),
            "samples begin at byte 20 and no format chunk stands before them"
        );
        assert_eq!(
            parse(b"OggS\0\x02\0\0\0\0\0\0").unwrap_err().to_string(),
            "not a WAVE file: it begins with \"OggS\" … \"\\x00\\x00\\x00\\x00\", expected \"RIFF\" … \"WAVE\""
        );
        let mut fmt = format(1, 2, 8_000, 16);
        fmt[12] = 2;
        assert_eq!(of_format(&fmt), "block align is 2 bytes: 2 channel(s) of 16 bit make 4");
    }

    #[test]
    fn an_rf64_file_has_its_length_in_the_size_chunk() {
        let ds64 = [6_000_000_100u64, 6_000_000_000, 3_000_000_000].map(u64::to_le_bytes).concat();
        let body = [
            b"\xFF\xFF\xFF\xFFWAVE".to_vec(),
            chunk(b"ds64", &[ds64.as_slice(), &[0; 4]].concat()),
            chunk(b"fmt ", &format(1, 1, 8_000, 16)),
            b"data\xFF\xFF\xFF\xFF".to_vec(),
        ];
        let whole = [b"RF64".to_vec(), body.concat()].concat();
        assert_eq!(parse(&whole).unwrap().data_len, Some(6_000_000_000));
    }

    fn file(chunks: &[u8]) -> Vec<u8> {
        [b"RIFF".as_slice(), &u32::try_from(chunks.len() + 4).unwrap().to_le_bytes(), b"WAVE", chunks]
            .concat()
    }

    fn chunk(name: &[u8; 4], body: &[u8]) -> Vec<u8> {
        let pad: &[u8] = if body.len() % 2 == 1 { &[0] } else { &[] };
        [name.as_slice(), &u32::try_from(body.len()).unwrap().to_le_bytes(), body, pad].concat()
    }

    fn format(tag: u16, channels: u16, rate: u32, bits: u16) -> Vec<u8> {
        let block_align = channels * bits / 8;
        [
            tag.to_le_bytes().as_slice(),
            &channels.to_le_bytes(),
            &rate.to_le_bytes(),
            &(rate * u32::from(block_align)).to_le_bytes(),
            &block_align.to_le_bytes(),
            &bits.to_le_bytes(),
        ]
        .concat()
    }
}
