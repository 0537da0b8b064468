//! Finds the policy, the model and ONNX Runtime that a command was told to use.

use std::{
    env, fs,
    path::{Path, PathBuf},
    sync::Arc,
};

use anyhow::{Context, anyhow};
use clap::Args;
use warmline::{
    call::CallConfig,
    policy::Policy,
    score::{Card, LIBRARY, Runtime, ScoreError, ScoreRequest, Scorer, Scores},
};

/// The model that is part of the program.
const BUILT_IN_CARD: &str = include_str!("../../models/watch.json");
const BUILT_IN_MODEL: &[u8] = include_bytes!("../../models/watch.onnx");

#[derive(Args)]
pub(super) struct ScoringArguments {
    /// Policy file (TOML); without it the built-in policy holds
    #[arg(long, value_name = "FILE")]
    pub(super) policy: Option<PathBuf>,
    /// Model card (JSON) with the .onnx file of the same name beside it; without it the built-in model scores
    #[arg(long, value_name = "FILE")]
    pub(super) model: Option<PathBuf>,
    /// ONNX Runtime library; without it: ORT_DYLIB_PATH, beside the program, then where `make setup` puts it
    #[arg(long, value_name = "FILE")]
    pub(super) onnxruntime: Option<PathBuf>,
}

/// A model file and its card.
pub(super) struct ModelFile {
    pub(super) card: Arc<Card>,
    pub(super) onnx: Vec<u8>,
}

impl ScoringArguments {
    pub(super) fn policy(&self) -> anyhow::Result<Policy> {
        let Some(path) = &self.policy else { return Ok(Policy::default()) };
        let source =
            fs::read_to_string(path).with_context(|| format!("{}: cannot be read", path.display()))?;
        Policy::parse(&source).map_err(|error| anyhow!("{}: {error}", path.display()))
    }

    pub(super) fn model(&self) -> anyhow::Result<ModelFile> {
        let (json, onnx) = match &self.model {
            None => (BUILT_IN_CARD.to_owned(), BUILT_IN_MODEL.to_vec()),
            Some(path) => {
                let read = |path: &Path| {
                    fs::read(path).with_context(|| format!("{}: cannot be read", path.display()))
                };
                let json = String::from_utf8(read(path)?)
                    .with_context(|| format!("{}: is no JSON", path.display()))?;
                (json, read(&path.with_extension("onnx"))?)
            }
        };
        let place =
            self.model.as_ref().map_or_else(|| "the built-in model".into(), |p| p.display().to_string());
        let card = Card::parse(&json).with_context(|| place.clone())?;
        card.check_file(&onnx).with_context(|| place)?;
        Ok(ModelFile { card: Arc::new(card), onnx })
    }

    pub(super) fn runtime(&self) -> anyhow::Result<&'static Runtime> {
        Ok(Runtime::open(&self.libraries())?)
    }

    /// Where the library may be, in the order in which it is looked for.
    pub(super) fn libraries(&self) -> Vec<PathBuf> {
        if let Some(named) = &self.onnxruntime {
            return vec![named.clone()];
        }
        if let Some(named) = env::var_os("ORT_DYLIB_PATH").filter(|path| !path.is_empty()) {
            return vec![named.into()];
        }
        let program = env::current_exe().ok();
        let beside = program.as_deref().and_then(Path::parent).map(|folder| folder.join(LIBRARY));
        let made = Path::new(".warmline/lib").join(LIBRARY);
        let above =
            program.iter().flat_map(|p| p.ancestors().skip(2).take(4)).map(|folder| folder.join(&made));
        let mut places: Vec<PathBuf> = beside.into_iter().chain(above).chain([made.clone()]).collect();
        places.dedup();
        places
    }

    /// What holds for every call, and the model that scores it.
    pub(super) fn call_config(&self) -> anyhow::Result<(Arc<CallConfig>, ModelFile)> {
        let file = self.model()?;
        let config = CallConfig { policy: self.policy()?, model: Some(file.card.model()?) };
        Ok((Arc::new(config), file))
    }
}

impl ModelFile {
    /// A session of this model.
    pub(super) fn scorer(&self, runtime: &Runtime) -> anyhow::Result<Scorer> {
        Ok(Scorer::load(runtime, Arc::clone(&self.card), &self.onnx)?)
    }
}

/// Scores requests: one answer a request, in order.
pub(super) fn score(scorer: &mut Scorer, requests: &[ScoreRequest]) -> Vec<Result<Scores, ScoreError>> {
    let windows: Vec<_> = requests.iter().map(|request| &request.window).collect();
    scorer.score(&windows)
}
