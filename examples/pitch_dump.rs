#![allow(missing_docs, clippy::all, clippy::print_stdout, clippy::indexing_slicing, clippy::unwrap_used)]
use std::io::{Read, Write};
use warmline::prosody::{pitch::*, voice::*};
fn main() {
    let mut b = vec![];
    let a = std::env::args().nth(1).unwrap();
    std::fs::File::open(a).unwrap().read_to_end(&mut b).unwrap();
    let mut x: Vec<f32> =
        b[44..].chunks_exact(2).map(|c| i16::from_le_bytes([c[0], c[1]]) as f32 / 32768.0).collect();
    let n = if x.len() < 200 { 0 } else { (x.len() - 200) / 80 + 1 };
    x.resize(x.len() + 200 + 80 * LATENCY_FRAMES, 0.0);
    let mut t = PitchTracker::new();
    let mut v = VoiceQualityTracker::new();
    let mut o = std::io::BufWriter::new(std::io::stdout());
    writeln!(o, "at_s,f0_hz,voicing,hnr_db,jitter_local,shimmer_local,h1_h2_db,h4_h2k_db").unwrap();
    let mut k = 0;
    for i in 0..n + LATENCY_FRAMES {
        let f: &[f32; 200] = x[i * 80..i * 80 + 200].try_into().unwrap();
        if let Some(p) = t.observe(f) {
            let q = v.observe(t.around(), p.f0_hz).unwrap_or(VoiceQuality {
                jitter_local: f32::NAN,
                shimmer_local: f32::NAN,
                h1_h2_db: f32::NAN,
                h4_h2k_db: f32::NAN,
            });
            writeln!(
                o,
                "{:.3},{},{},{},{},{},{},{}",
                k as f64 * 0.01,
                p.f0_hz.unwrap_or(0.0),
                p.voicing,
                p.hnr_db,
                q.jitter_local,
                q.shimmer_local,
                q.h1_h2_db,
                q.h4_h2k_db
            )
            .unwrap();
            k += 1;
        }
    }
}
