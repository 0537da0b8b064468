//! What one packet of 20 ms costs to read.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    reason = "a bench has no readers but its numbers"
)]

use std::hint::black_box;

use base64::{Engine, engine::general_purpose::STANDARD};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use warmline_core::media::Format;
use warmline_core::media::{Decoder, g722};
use warmline_core::units::{CallTime, SampleRate};
use warmline_wire::rtp::jitter::{Arrival, JitterBuffer};
use warmline_wire::rtp::{self, Datagram};
use warmline_wire::{Declared, Message, Session, audiosocket, twilio};

const START: &str = r#"{"event":"start","sequenceNumber":"1","streamSid":"MZ0","start":{"accountSid":"AC0","streamSid":"MZ0","callSid":"CA0","tracks":["inbound"],"mediaFormat":{"encoding":"audio/x-mulaw","sampleRate":8000,"channels":1},"customParameters":{}}}"#;

fn packets(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("20 ms");
    group.throughput(Throughput::Elements(1));
    let speech: Vec<u8> = (0..160u32).map(|n| (n * n) as u8).collect();

    let mut stream = twilio::Stream::new(None, Declared::default());
    let mut payload = Vec::new();
    stream.handle_text(CallTime::ZERO, START, &mut payload, &mut |_| {}).unwrap();
    let text = format!(
        r#"{{"event":"media","sequenceNumber":"4","streamSid":"MZ00000000000000000000000000000000","media":{{"track":"inbound","chunk":"2","timestamp":"5","payload":"{}"}}}}"#,
        STANDARD.encode(&speech)
    );
    group.bench_function("Twilio media", |bencher| {
        bencher.iter(|| {
            stream.handle_text(CallTime::ZERO, black_box(&text), &mut payload, &mut |message| {
                if let Message::Media { payload, .. } = message {
                    black_box(payload);
                }
            })
        });
    });

    let datagram = [&[0x80, 0, 0, 1, 0, 0, 0, 160, 0, 0, 0, 1], speech.as_slice()].concat();
    group.bench_function("RTP", |bencher| bencher.iter(|| rtp::parse(black_box(&datagram))));

    let mut buffer = JitterBuffer::new(SampleRate(8_000), SampleRate(8_000));
    let (mut sequence, mut timestamp, mut now) = (0u16, 0u32, 0u64);
    group.bench_function("RTP and jitter buffer", |bencher| {
        bencher.iter(|| {
            let Ok(Datagram::Rtp(packet)) = rtp::parse(black_box(&datagram)) else { return };
            sequence = sequence.wrapping_add(1);
            timestamp = timestamp.wrapping_add(160);
            now += 20_000;
            let arrival = Arrival {
                ssrc: 1,
                sequence,
                timestamp,
                ticks: 160,
                payload_type: 0,
                payload: packet.payload,
            };
            buffer.push(CallTime(now), &arrival, &mut |ordered| _ = black_box(ordered));
        });
    });

    let mut stream = audiosocket::Stream::new();
    let id = [&[1, 0, 16][..], &[7; 16]].concat();
    stream.handle_bytes(CallTime::ZERO, &id, &mut |_| {}).unwrap();
    let frame = [&[0x10, 1, 0x40][..], &[3; 320]].concat();
    group.bench_function("AudioSocket", |bencher| {
        bencher.iter(|| {
            stream.handle_bytes(CallTime::ZERO, black_box(&frame), &mut |message| _ = black_box(message))
        });
    });

    let mut decoder = g722::Decoder::new();
    let mut samples = Vec::new();
    group.bench_function("decode G.722", |bencher| {
        bencher.iter(|| {
            samples.clear();
            decoder.decode(black_box(&speech), &mut samples);
        });
    });

    let coded = include_bytes!("../../../fixtures/wire/rtp/speech.opus");
    let mut packets = Vec::new();
    let mut rest = &coded[..];
    while let Some((len, after)) = rest.split_first_chunk() {
        let (packet, after) = after.split_at(usize::from(u16::from_be_bytes(*len)));
        packets.push(packet);
        rest = after;
    }
    let mut decoder = Decoder::new(Format::Opus).unwrap();
    let mut next = packets.iter().cycle();
    group.bench_function("decode Opus", |bencher| {
        bencher.iter(|| decoder.decode(black_box(next.next().unwrap())).map(<[u8]>::len));
    });
    group.finish();
}

criterion_group!(benches, packets);
criterion_main!(benches);
