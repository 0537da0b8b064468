//! What must hold for any bytes whatever, shared by the fuzz target and the replay of its corpus.

use warmline_core::media::encoding::decode;
use warmline_core::media::{Caller, Heard, Track, TrackFormat};
use warmline_core::units::MediaTime;
use warmline_wire::wav::{self, WavError};

/// Reads `bytes` as a WAVE file and hears every channel of it.
pub(crate) fn wav(bytes: &[u8]) {
    let wav = match wav::parse(bytes) {
        Ok(wav) => wav,
        Err(WavError::Incomplete { read, needed }) => {
            return assert!(read == bytes.len() as u64 && needed > 0);
        }
        Err(refused) => return assert!(!refused.to_string().is_empty()),
    };
    let data =
        usize::try_from(wav.data_at).ok().and_then(|at| bytes.get(at..)).expect("samples begin in the head");
    let mut samples = Vec::new();
    for channel in 0..wav.channels {
        decode(wav.encoding, wav.channels, channel, data, &mut samples);
        assert!(samples.iter().all(|sample| (-1.0..=1.0).contains(sample)));

        let format = TrackFormat { encoding: wav.encoding, rate: wav.rate, channels: wav.channels, channel };
        let mut track = Track::<Caller>::new(format).expect("what the header accepts a track accepts");
        let mut next = MediaTime::ZERO;
        let mut in_order = |heard: Heard<'_, Caller>| {
            let at = match heard {
                Heard::Frame(frame) => frame.at,
                Heard::Gap(gap) => gap.from.max(gap.to),
            };
            assert!(at >= next);
            next = at;
        };
        let (first, second) =
            data.split_at(data.len() / 2 / format.bytes_per_sample() * format.bytes_per_sample());
        let gap = u64::from(data.first().copied().unwrap_or(0));
        let heard = track.push(0, first, &mut in_order).expect("a place within the call").samples;
        track.push(heard + gap, second, &mut in_order).expect("a place within the call");
        track.finish(&mut in_order);
    }
}
