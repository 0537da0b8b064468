//! ONNX Runtime, loaded at run time, and the sessions that score windows in batches of one fixed shape.

use std::{
    path::{Path, PathBuf},
    sync::{Arc, OnceLock},
};

use ort::{
    environment::Environment,
    session::{Session, builder::GraphOptimizationLevel},
    value::{Outlet, TensorElementType, TensorRef, ValueType},
};

use warmline_core::score::{Card, CardError, ScoreError, ScoreRequest, Scores, Window};

/// The file name of the library on this platform.
pub const LIBRARY: &str = if cfg!(target_os = "macos") {
    "libonnxruntime.dylib"
} else if cfg!(windows) {
    "onnxruntime.dll"
} else {
    "libonnxruntime.so"
};

/// The loaded library: one a process.
#[derive(Debug)]
pub struct Runtime {
    environment: Environment,
    library: PathBuf,
}

/// Why ONNX Runtime could not be loaded.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RuntimeError {
    /// None of the places has the library.
    #[error(
        "the ONNX Runtime library was not found (looked at {}): run `make setup`, or name it with --onnxruntime or ORT_DYLIB_PATH",
        list(.0)
    )]
    Missing(Vec<PathBuf>),
    /// A file is there, but it cannot be used.
    #[error(
        "{} is no ONNX Runtime library this program can use ({reason}): version 1.24 or later for this machine is needed; `make setup` fetches one",
        path.display()
    )]
    Unusable {
        /// The file.
        path: PathBuf,
        /// What ONNX Runtime's loader said.
        reason: String,
    },
}

/// Why a model could not be loaded.
#[derive(Debug, thiserror::Error)]
pub enum ModelError {
    /// The card does not fit this program, or the file does not fit the card.
    #[error(transparent)]
    Card(#[from] CardError),
    /// ONNX Runtime refused the file.
    #[error("ONNX Runtime cannot load the model: {0}")]
    Refused(String),
    /// The graph is not of the contract.
    #[error(
        "the model has {found}, and its card and the contract {} ask for {expected}",
        warmline_core::score::CONTRACT
    )]
    Graph {
        /// What the graph has.
        found: String,
        /// What it should have.
        expected: String,
    },
    /// A window's score depends on the other windows of the batch.
    #[error(
        "the model's rows are not independent: a window scored {alone} alone and {accompanied} in company; export it with `lanes` 1"
    )]
    Company {
        /// The logit with the other lanes empty.
        alone: f32,
        /// The logit with the other lanes filled.
        accompanied: f32,
    },
}

/// One session of one model, single-threaded, with its batch's buffers.
#[derive(Debug)]
pub struct Scorer {
    card: Arc<Card>,
    session: Session,
    frames: Vec<f32>,
    mask: Vec<f32>,
}

/// The sessions of the models that calls ask.
#[derive(Debug)]
pub struct Scorers {
    first: Scorer,
    confirm: Option<Scorer>,
}

impl Runtime {
    /// Loads the library from the first of `candidates` that is a file. The first call of a process decides.
    pub fn open(candidates: &[PathBuf]) -> Result<&'static Self, RuntimeError> {
        static RUNTIME: OnceLock<Result<Runtime, RuntimeError>> = OnceLock::new();
        RUNTIME.get_or_init(|| Self::load(candidates)).as_ref().map_err(Clone::clone)
    }

    /// The file that was loaded.
    pub fn library(&self) -> &Path {
        &self.library
    }

    fn load(candidates: &[PathBuf]) -> Result<Self, RuntimeError> {
        let Some(path) = candidates.iter().find(|path| path.is_file()) else {
            return Err(RuntimeError::Missing(candidates.to_vec()));
        };
        let unusable = |reason: String| RuntimeError::Unusable { path: path.clone(), reason };
        let builder = ort::environment::init_from(path).map_err(|error| unusable(error.to_string()))?;
        let environment = builder
            .with_name("warmline")
            .with_telemetry(false)
            .build()
            .map_err(|error| unusable(error.to_string()))?;
        Ok(Self { environment, library: path.clone() })
    }
}

impl Scorer {
    /// Loads a model, after its card has been held against the file and the graph against the card.
    pub fn load(runtime: &Runtime, card: Arc<Card>, onnx: &[u8]) -> Result<Self, ModelError> {
        card.check_file(onnx)?;
        let session = session(runtime, onnx).map_err(ModelError::Refused)?;
        check_graph(&card, &session)?;
        let rows = card.lanes * card.window_frames;
        let mut scorer =
            Self { session, frames: vec![0.0; rows * card.features.len()], mask: vec![0.0; rows], card };
        scorer.check_company()?;
        Ok(scorer)
    }

    /// The card of the model.
    pub fn card(&self) -> &Card {
        &self.card
    }

    /// Scores up to `lanes` windows: one answer a window, in order. The batch always has the same shape, so a window's
    /// score is the same, to the last bit, whatever the others are.
    pub fn score(&mut self, windows: &[&Window]) -> Vec<Result<Scores, ScoreError>> {
        windows.chunks(self.card.lanes).flat_map(|batch| self.score_batch(batch)).collect()
    }

    fn score_batch(&mut self, batch: &[&Window]) -> Vec<Result<Scores, ScoreError>> {
        let width = self.card.features.len();
        let lane = self.card.window_frames;
        self.frames.fill(0.0);
        self.mask.fill(0.0);
        let lanes = self.frames.chunks_exact_mut(lane * width).zip(self.mask.chunks_exact_mut(lane));
        for ((frames, mask), window) in lanes.zip(batch) {
            frames.iter_mut().zip(&window.frames).for_each(|(to, from)| *to = *from);
            mask.iter_mut().take(window.len()).for_each(|m| *m = 1.0);
        }
        match self.run() {
            Ok(logits) => {
                let heads = self.card.heads.len();
                logits.chunks_exact(heads).zip(batch).map(|(row, _)| scores(row)).collect()
            }
            Err(_) => batch.iter().map(|_| Err(ScoreError::Failed)).collect(),
        }
    }

    fn run(&mut self) -> ort::Result<Vec<f32>> {
        let Card { lanes, window_frames, ref features, .. } = *self.card;
        let frames =
            TensorRef::from_array_view(([lanes, window_frames, features.len()], self.frames.as_slice()))?;
        let mask = TensorRef::from_array_view(([lanes, window_frames], self.mask.as_slice()))?;
        let outputs = self.session.run(ort::inputs!["frames" => frames, "mask" => mask])?;
        let Some(logits) = outputs.get("logits") else { return Err(ort::Error::new("no output `logits`")) };
        let (_, logits) = logits.try_extract_tensor::<f32>()?;
        Ok(logits.to_vec())
    }

    /// Scores a made-up window alone and in company, first and last in the batch: the bits must agree.
    fn check_company(&mut self) -> Result<(), ModelError> {
        let width = self.card.features.len();
        let noise = |seed: u32| {
            let mut state = seed;
            let frames = (0..self.card.window_frames * width).map(|_| {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                -60.0 + f32::from(u8::try_from(state >> 24).unwrap_or_default()) / 4.0
            });
            Window { frames: frames.collect(), width }
        };
        let (probe, other) = (noise(1), noise(2));
        let logit = |scores: Option<&Result<Scores, ScoreError>>| match scores {
            Some(Ok(scores)) => Ok(scores.frustration),
            Some(Err(error)) => Err(ModelError::Refused(format!("a test window was not scored: {error}"))),
            None => Err(ModelError::Refused("a test window was not scored".into())),
        };
        let alone = logit(self.score(&[&probe]).first())?;
        let mut company = vec![&other; self.card.lanes];
        for lane in [0, self.card.lanes - 1] {
            if let Some(place) = company.get_mut(lane) {
                *place = &probe;
            }
            let accompanied = logit(self.score(&company).get(lane))?;
            if alone.to_bits() != accompanied.to_bits() {
                return Err(ModelError::Company { alone, accompanied });
            }
        }
        Ok(())
    }
}

impl Scorers {
    /// Sessions for the two stages of [`Stages`](warmline_core::score::Stages).
    pub fn new(first: Scorer, confirm: Option<Scorer>) -> Self {
        Self { first, confirm }
    }

    /// The most windows that one batch takes.
    pub fn lanes(&self) -> usize {
        self.all().map(|scorer| scorer.card.lanes).max().unwrap_or(1)
    }

    /// Scores requests, each by its stage's model: one answer a request, in order.
    pub fn score(&mut self, requests: &[ScoreRequest]) -> Vec<Result<Scores, ScoreError>> {
        requests
            .chunk_by(|a, b| a.stage == b.stage)
            .flat_map(|run| {
                let windows: Vec<&Window> = run.iter().map(|request| &request.window).collect();
                let stage = run.first().map(|request| request.stage);
                let scorer = std::iter::once(&mut self.first)
                    .chain(&mut self.confirm)
                    .find(|scorer| Some(scorer.card.stage) == stage);
                match scorer {
                    Some(scorer) => scorer.score(&windows),
                    None => vec![Err(ScoreError::Failed); windows.len()],
                }
            })
            .collect()
    }

    fn all(&self) -> impl Iterator<Item = &Scorer> {
        std::iter::once(&self.first).chain(&self.confirm)
    }
}

fn session(runtime: &Runtime, onnx: &[u8]) -> Result<Session, String> {
    let builder = Session::builder(&runtime.environment).map_err(|e| e.to_string())?;
    let builder = builder.with_intra_threads(1).map_err(|e| e.to_string())?;
    let builder = builder.with_inter_threads(1).map_err(|e| e.to_string())?;
    let mut builder =
        builder.with_optimization_level(GraphOptimizationLevel::All).map_err(|e| e.to_string())?;
    builder.commit_from_memory(onnx).map_err(|e| e.to_string())
}

fn check_graph(card: &Card, session: &Session) -> Result<(), ModelError> {
    let [lanes, frames, features, heads] =
        [card.lanes, card.window_frames, card.features.len(), card.heads.len()]
            .map(|n| i64::try_from(n).unwrap_or(i64::MAX));
    check_outlets(
        "inputs",
        session.inputs(),
        &[("frames", &[lanes, frames, features]), ("mask", &[lanes, frames])],
    )?;
    check_outlets("outputs", session.outputs(), &[("logits", &[lanes, heads])])
}

#[allow(
    clippy::wildcard_enum_match_arm,
    reason = "the enum is ONNX Runtime's; only its float32 tensors are of the contract"
)]
fn check_outlets(kind: &str, found: &[Outlet], expected: &[(&str, &[i64])]) -> Result<(), ModelError> {
    let describe = |name: &str, ty: &dyn std::fmt::Display, shape: &[i64]| format!("`{name}` {ty} {shape:?}");
    let mut has: Vec<String> = found
        .iter()
        .map(|outlet| match outlet.dtype() {
            ValueType::Tensor { ty: TensorElementType::Float32, shape, .. } => {
                describe(outlet.name(), &"float32", shape)
            }
            #[allow(
                clippy::wildcard_enum_match_arm,
                reason = "the enum is ONNX Runtime's; only float32 tensors are of the contract"
            )]
            other => format!("`{}` {other}", outlet.name()),
        })
        .collect();
    let mut wants: Vec<String> =
        expected.iter().map(|(name, shape)| describe(name, &"float32", shape)).collect();
    has.sort();
    wants.sort();
    if has == wants {
        return Ok(());
    }
    Err(ModelError::Graph {
        found: format!("{kind} {}", has.join(", ")),
        expected: format!("{kind} {}", wants.join(", ")),
    })
}

fn scores(row: &[f32]) -> Result<Scores, ScoreError> {
    match row {
        [frustration, rest @ ..] if row.iter().all(|logit| logit.is_finite()) => {
            Ok(Scores { frustration: *frustration, speech: rest.first().copied() })
        }
        _ => Err(ScoreError::NotFinite),
    }
}

fn list(paths: &[PathBuf]) -> String {
    paths.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join(", ")
}
