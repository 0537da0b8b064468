//! One speaker's packets → that speaker's frames.

use super::encoding;
use super::framer::{Frame, Framer};
use super::resample::{RateError, Resampler};
use crate::media::GapCause;
pub use crate::media::TrackFormat;
use crate::units::MediaTime;

/// The role of the person whose patience is watched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Caller;

/// The role of whoever the caller talks to, a person or a machine: heard for turns and overlaps, never scored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Agent;

/// The last place a sample may have, samples at the track's rate; a packet beyond it is refused, so that no sum of places
/// can overflow.
pub const MAX_POSITION: u64 = 1 << 48;

/// Samples decoded at once: a payload of any length passes in pieces of this many, and no more are ever held.
const PIECE_LEN: usize = 256;

/// What a track gives, in the order of media time.
#[derive(Clone, Copy, Debug)]
pub enum Heard<'a, R> {
    /// 25 ms of sound.
    Frame(Frame<'a, R>),
    /// Sound that never came.
    Gap(Gap),
}

/// A stretch of which nothing was received. It is absent, not silent: no frame covers any of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gap {
    /// Where the sound before it ends.
    pub from: MediaTime,
    /// Where the sound after it begins.
    pub to: MediaTime,
    /// Why.
    pub cause: GapCause,
}

/// What became of a payload.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Received {
    /// Samples taken, at the track's rate.
    pub samples: u64,
    /// Samples dropped because their place had been heard already.
    pub repeated: u64,
    /// Bytes dropped because they are no whole sample.
    pub trailing_bytes: usize,
    /// Samples that were NaN or infinite and are heard as 0.
    pub non_finite: usize,
}

/// Why a track or a payload is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TrackError {
    /// A sample rate outside what is read.
    #[error(transparent)]
    Rate(#[from] RateError),
    /// A channel the payload does not have.
    #[error("channel {channel} of {channels}: expected a number below {channels}, counted from 0")]
    Channel {
        /// The channel asked for.
        channel: u16,
        /// Interleaved channels of a payload.
        channels: u16,
    },
    /// A place no call reaches.
    #[error("payload at sample {position}: expected it to end at or before sample {MAX_POSITION}")]
    Position {
        /// Place of the payload's first sample.
        position: u64,
    },
}

/// One speaker of a call: payloads in, frames and gaps out. `R` is the speaker's role, [`Caller`] or [`Agent`].
pub struct Track<R> {
    format: TrackFormat,
    decoded: Vec<f32>,
    resampler: Resampler,
    framer: Framer<R>,
}

impl<R> Track<R> {
    /// A track that begins with the call.
    pub fn new(format: TrackFormat) -> Result<Self, TrackError> {
        let TrackFormat { channel, channels, rate, .. } = format;
        if channel >= channels {
            return Err(TrackError::Channel { channel, channels });
        }
        Ok(Self {
            format,
            decoded: Vec::with_capacity(PIECE_LEN),
            resampler: Resampler::new(rate)?,
            framer: Framer::new(),
        })
    }

    /// How the payloads are written.
    pub fn format(&self) -> TrackFormat {
        self.format
    }

    /// When the sample expected next sounds: the end of what was received.
    pub fn time(&self) -> MediaTime {
        self.resampler.time()
    }

    /// Takes a payload of any length and gives what it completes to `heard`.
    ///
    /// `position` is the place of the payload's first sample: samples at the track's own rate since the call's start.
    /// Beyond the place expected, the stretch between is a [`Gap`]; before it, what was heard already is dropped.
    /// Nothing is allocated.
    pub fn push(
        &mut self,
        position: u64,
        payload: &[u8],
        mut heard: impl FnMut(Heard<'_, R>),
    ) -> Result<Received, TrackError> {
        let bytes_per_sample = self.format.bytes_per_sample();
        let trailing_bytes = payload.len() % bytes_per_sample;
        let samples = (payload.len() / bytes_per_sample) as u64;
        if position.checked_add(samples).is_none_or(|end| end > MAX_POSITION) {
            return Err(TrackError::Position { position });
        }
        let expected = self.resampler.position();
        let repeated = expected.saturating_sub(position).min(samples);
        let mut received = Received { samples: samples - repeated, repeated, trailing_bytes, non_finite: 0 };
        if received.samples == 0 {
            return Ok(received);
        }
        if position > expected {
            self.skip_to(position, GapCause::Lost, &mut heard);
        }

        let repeated_bytes = usize::try_from(repeated).unwrap_or(usize::MAX).saturating_mul(bytes_per_sample);
        let (_, new) = payload.split_at(repeated_bytes.min(payload.len()));
        let TrackFormat { encoding, channels, channel, .. } = self.format;
        for piece in new.chunks(PIECE_LEN * bytes_per_sample) {
            received.non_finite += encoding::decode(encoding, channels, channel, piece, &mut self.decoded);
            self.resampler.push(&self.decoded, |samples| {
                self.framer.push(samples, |frame| heard(Heard::Frame(frame)));
            });
        }
        Ok(received)
    }

    /// Gives the frames that what was received still completes: the resampler holds some samples back. At the call's
    /// end; a payload after it begins a new stretch of sound.
    pub fn finish(&mut self, mut heard: impl FnMut(Heard<'_, R>)) {
        self.resampler.finish(|samples| {
            self.framer.push(samples, |frame| heard(Heard::Frame(frame)));
        });
    }

    /// Skips the samples `from..to`, which do not come for this reason. What is missing before `from` is lost; what was
    /// received already stays.
    pub fn skip(
        &mut self,
        from: u64,
        to: u64,
        cause: GapCause,
        mut heard: impl FnMut(Heard<'_, R>),
    ) -> Result<(), TrackError> {
        if from.max(to) > MAX_POSITION {
            return Err(TrackError::Position { position: from.max(to) });
        }
        if to <= from.max(self.resampler.position()) {
            return Ok(());
        }
        if from > self.resampler.position() {
            self.skip_to(from, GapCause::Lost, &mut heard);
        }
        self.skip_to(to, cause, &mut heard);
        Ok(())
    }

    fn skip_to(&mut self, position: u64, cause: GapCause, mut heard: impl FnMut(Heard<'_, R>)) {
        self.finish(&mut heard);
        let from = self.resampler.time();
        self.resampler.skip_to(position);
        let to = self.resampler.time();
        self.framer.skip_to(to);
        heard(Heard::Gap(Gap { from, to, cause }));
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::media::Encoding;
    use crate::media::FRAME_LEN;
    use crate::units::SampleRate;

    #[test]
    fn a_gap_is_absent_and_not_silent() {
        let mut track = l16(8_000);
        let (before, after) = (bytes(0, 1_000), bytes(2_010, 1_000));
        let story = [hear(&mut track, 0, &before), hear(&mut track, 2_010, &after)].concat();
        let at: Vec<_> = story.iter().map(|(at, what)| (*at, what.is_some())).collect();
        let frame = |at| (at, true);
        let mut expected: Vec<_> = (0..=10).map(|n| frame(80 * n)).collect();
        expected.push((1_000, false));
        expected.extend((26..=35).map(|n| frame(80 * n)));
        assert_eq!(at, expected);
        for samples in story.into_iter().filter_map(|(_, samples)| samples) {
            assert!(samples.iter().all(|sample| *sample != 0.0));
        }
    }

    #[test]
    fn a_gap_says_where_it_is_at_any_rate() {
        for (rate, to) in [(8_000, 8_000), (16_000, 4_000), (44_100, 1_451), (48_000, 1_333)] {
            let mut track = l16(rate);
            let mut gaps = Vec::new();
            for position in [0, 8_000] {
                let payload = bytes(position, rate as usize / 100);
                track
                    .push(position, &payload, |heard| {
                        if let Heard::Gap(gap) = heard {
                            gaps.push(gap);
                        }
                    })
                    .unwrap();
            }
            assert_eq!(
                gaps,
                [Gap { from: MediaTime(80), to: MediaTime(to), cause: GapCause::Lost }],
                "at {rate}"
            );
        }
    }

    #[test]
    fn a_gap_keeps_its_cause_and_what_is_missing_before_it_is_lost() {
        let mut track = l16(8_000);
        hear(&mut track, 0, &bytes(0, 800));
        let mut gaps = Vec::new();
        let gap = |from, to, cause| Gap { from: MediaTime(from), to: MediaTime(to), cause };
        for (from, to, cause) in [
            (1_000, 1_800, GapCause::Dtx),
            (1_200, 1_500, GapCause::Lost),
            (1_500, 2_000, GapCause::Discarded),
        ] {
            track
                .skip(from, to, cause, |heard| {
                    if let Heard::Gap(gap) = heard {
                        gaps.push(gap)
                    }
                })
                .unwrap();
        }
        let expected = [
            gap(800, 1_000, GapCause::Lost),
            gap(1_000, 1_800, GapCause::Dtx),
            gap(1_800, 2_000, GapCause::Discarded),
        ];
        assert_eq!(gaps, expected);
        assert!(track.skip(0, MAX_POSITION + 1, GapCause::Lost, |_| {}).is_err());
    }

    #[test]
    fn sound_before_a_gap_is_heard_to_its_end() {
        let mut track = l16(48_000);
        hear(&mut track, 0, &bytes(0, 4_800));
        let story = hear(&mut track, 48_000, &bytes(0, 480));
        let frames_before_the_gap = story.iter().take_while(|(_, samples)| samples.is_some());
        assert_eq!(frames_before_the_gap.last().map(|(at, _)| *at), Some(560)); // 800 samples: 560 + 200 < 800
    }

    #[test]
    fn what_was_heard_is_not_heard_twice() {
        let all = bytes(0, 2_000);
        let expected = hear(&mut l16(8_000), 0, &all);
        let mut track = l16(8_000);
        let mut heard = hear(&mut track, 0, &all[..2_000]);
        let mut ignored = |position, payload: &[u8]| {
            let received = track.push(position, payload, |_| panic!("heard twice")).unwrap();
            (received.samples, received.repeated)
        };
        assert_eq!(ignored(500, &all[1_000..2_000]), (0, 500));
        assert_eq!(ignored(0, &all[..20]), (0, 10));
        let overlap = track.push(900, &all[1_800..], |what| record(&mut heard, what)).unwrap();
        assert_eq!((overlap.samples, overlap.repeated), (1_000, 100));
        assert_eq!(heard, expected);
    }

    #[test]
    fn bytes_that_are_no_sample_are_counted() {
        let mut track = l16(8_000);
        let received = track.push(0, &[1, 0, 2, 0, 3], |_| {}).unwrap();
        assert_eq!((received.samples, received.trailing_bytes), (2, 1));
        assert_eq!(track.push(900, &[3], |_| panic!("a gap before nothing")).unwrap().trailing_bytes, 1);
        assert_eq!(track.time(), MediaTime(2));
    }

    #[test]
    fn a_place_no_call_reaches_is_refused() {
        let mut track = l16(48_000);
        for position in [MAX_POSITION, u64::MAX] {
            assert_eq!(track.push(position, &[0, 0], |_| {}), Err(TrackError::Position { position }));
        }
        assert!(track.push(MAX_POSITION - 1, &[0, 0], |_| {}).is_ok());
    }

    #[test]
    fn a_channel_that_is_not_there_is_refused() {
        for (channel, channels) in [(0, 0), (1, 1), (2, 2)] {
            let format =
                TrackFormat { channel, channels, ..TrackFormat::mono(Encoding::Pcmu, SampleRate(8_000)) };
            let error = Track::<Caller>::new(format).err();
            assert_eq!(error, Some(TrackError::Channel { channel, channels }));
        }
    }

    #[test]
    fn a_payload_longer_than_any_piece_makes_nothing_grow() {
        let mut track = l16(44_100);
        let minute = bytes(0, 60 * 44_100);
        let frames = hear(&mut track, 0, &minute).len();
        assert_eq!(track.decoded.capacity(), PIECE_LEN);
        assert!((5_990..=5_998).contains(&frames), "{frames}"); // 60 s, less what the resampler holds back
    }

    #[test]
    fn a_track_can_be_owned_by_any_thread() {
        fn check<T: Send>() {}
        check::<Track<Caller>>();
        check::<Track<Agent>>();
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]

        #[test]
        fn any_split_into_packets_gives_the_same_frames(
            encoding in prop::sample::select(ENCODINGS.to_vec()),
            rate in prop::sample::select(vec![8_000, 16_000, 44_100]),
            channels in 1u16..=2,
            cuts in prop::collection::vec(0usize..2_500, 0..16),
            noise in prop::collection::vec(any::<u8>(), 997),
        ) {
            let format = TrackFormat { channels, ..TrackFormat::mono(encoding, SampleRate(rate)) };
            let width = format.bytes_per_sample();
            let payload: Vec<u8> = noise.into_iter().cycle().take(20_000 / width * width).collect();
            let mut whole = Track::<Caller>::new(format).unwrap();
            let mut expected = hear(&mut whole, 0, &payload);
            whole.finish(|what| record(&mut expected, what));

            let mut track = Track::<Caller>::new(format).unwrap();
            let (mut heard, mut position) = (Vec::new(), 0);
            for cut in cuts.into_iter().chain([usize::MAX / 8]) {
                let end = (position + cut).min(payload.len() / width);
                heard.extend(hear(&mut track, position as u64, &payload[position * width..end * width]));
                position = end;
            }
            track.finish(|what| record(&mut heard, what));
            prop_assert_eq!(expected, heard);
        }

        #[test]
        fn lost_repeated_and_swapped_packets_change_no_sample(
            packets in prop::collection::vec((0u64..5_000, 1usize..500), 0..40),
        ) {
            let everything: Vec<_> = hear(&mut l16(8_000), 0, &bytes(0, 6_000));
            let mut track = l16(8_000);
            let mut last = None;
            for (position, len) in packets {
                for (at, samples) in hear(&mut track, position, &bytes(position, len)) {
                    if let Some(samples) = samples {
                        prop_assert!(last < Some(at), "frame at {} after one at {:?}", at, last);
                        let whole = everything.iter().find(|(place, _)| *place == at);
                        prop_assert_eq!(whole, Some(&(at, Some(samples))));
                        last = Some(at);
                    }
                }
            }
        }
    }

    const ENCODINGS: [Encoding; 9] = [
        Encoding::Pcmu,
        Encoding::Pcma,
        Encoding::U8,
        Encoding::L16Le,
        Encoding::L16Be,
        Encoding::L24Le,
        Encoding::L32Le,
        Encoding::F32Le,
        Encoding::F64Le,
    ];

    fn l16(rate: u32) -> Track<Caller> {
        Track::new(TrackFormat::mono(Encoding::L16Le, SampleRate(rate))).unwrap()
    }

    /// Sample k has the value k + 1, so that none is zero.
    fn bytes(from: u64, len: usize) -> Vec<u8> {
        (from..).take(len).flat_map(|k| i16::to_le_bytes((k % 30_000) as i16 + 1)).collect()
    }

    /// Frames as (place, samples), gaps as (place, none).
    type Story = Vec<(u64, Option<[f32; FRAME_LEN]>)>;

    fn hear(track: &mut Track<Caller>, position: u64, payload: &[u8]) -> Story {
        let mut story = Vec::new();
        track.push(position, payload, |what| record(&mut story, what)).unwrap();
        story
    }

    fn record(story: &mut Story, what: Heard<'_, Caller>) {
        story.push(match what {
            Heard::Frame(frame) => (frame.at.0, Some(*frame.samples)),
            Heard::Gap(gap) => (gap.from.0, None),
        });
    }
}
