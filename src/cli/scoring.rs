//! Finds the policy, the model and ONNX Runtime that a command was told to use.

use std::{
    env, fs,
    path::{Path, PathBuf},
    sync::Arc,
};

use anyhow::{Context, anyhow, bail};
use clap::{Args, ValueEnum};
use warmline_core::{
    call::CallConfig,
    policy::Policy,
    score::{Card, Stage, Stages},
};
use warmline_onnx::{LIBRARY, Runtime, Scorer, Scorers};

/// The models that are part of the program: card and file.
const BUILT_IN: [(&str, &[u8]); 2] = [
    (include_str!("../../models/watch.json"), include_bytes!("../../models/watch.onnx")),
    (include_str!("../../models/confirm.json"), include_bytes!("../../models/confirm.onnx")),
];

#[derive(Args, Clone)]
pub(super) struct ScoringArguments {
    /// Policy file (TOML); without it the built-in policy holds
    #[arg(long, value_name = "FILE")]
    pub(super) policy: Option<PathBuf>,
    /// Model card (JSON) with the .onnx file of the same name beside it, once for each stage; without it the built-in models score
    #[arg(long = "model", value_name = "FILE")]
    pub(super) models: Vec<PathBuf>,
    /// Which stages score [default: every stage there is a model of]
    #[arg(long, value_name = "WHICH")]
    pub(super) stages: Option<Which>,
    /// ONNX Runtime library; without it: ORT_DYLIB_PATH, beside the program, then where `make setup` puts it
    #[arg(long, value_name = "FILE")]
    pub(super) onnxruntime: Option<PathBuf>,
}

/// A stage, on the command line.
#[derive(Clone, Copy, ValueEnum)]
pub(super) enum Which {
    /// `watch` alone: cheapest
    Watch,
    /// `confirm` alone, asked always: most accurate
    Confirm,
}

/// A model file and its card.
pub(super) struct ModelFile {
    pub(super) card: Arc<Card>,
    onnx: Vec<u8>,
}

/// The files of [`Stages`].
pub(super) struct ModelFiles {
    pub(super) first: ModelFile,
    pub(super) confirm: Option<ModelFile>,
}

impl ScoringArguments {
    pub(super) fn policy(&self) -> anyhow::Result<Policy> {
        let Some(path) = &self.policy else { return Ok(Policy::default()) };
        let source =
            fs::read_to_string(path).with_context(|| format!("{}: cannot be read", path.display()))?;
        Policy::parse(&source).map_err(|error| anyhow!("{}: {error}", path.display()))
    }

    /// The models that score, `watch` first.
    pub(super) fn models(&self) -> anyhow::Result<ModelFiles> {
        let mut files = if self.models.is_empty() {
            let built_in =
                |(json, onnx): &(&str, &[u8])| ModelFile::new(json, onnx.to_vec(), "the built-in model");
            BUILT_IN.iter().map(built_in).collect::<Result<Vec<_>, _>>()?
        } else {
            self.models.iter().map(|path| ModelFile::read(path)).collect::<Result<_, _>>()?
        };
        files.sort_by_key(|file| file.card.stage);
        for (one, other) in files.iter().zip(files.iter().skip(1)) {
            if one.card.stage == other.card.stage {
                bail!(
                    "{} and {} are both for the same stage: name one for each",
                    one.card.name,
                    other.card.name
                );
            }
        }
        let wanted = |file: &ModelFile| match self.stages {
            None => true,
            Some(Which::Watch) => file.card.stage == Stage::Watch,
            Some(Which::Confirm) => file.card.stage == Stage::Confirm,
        };
        let mut files = files.into_iter().filter(wanted);
        let first = files.next().context("no model is left for the stage that --stages names")?;
        Ok(ModelFiles { first, confirm: files.next() })
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

    /// The same with these models, if there are any.
    pub(super) fn with_models(&self, models: &[PathBuf]) -> Self {
        let models = if models.is_empty() { &self.models } else { models };
        Self { models: models.to_vec(), ..self.clone() }
    }

    /// What holds for every call under this policy, and the models that score it.
    pub(super) fn call_config(&self, policy: &Policy) -> anyhow::Result<(Arc<CallConfig>, ModelFiles)> {
        let files = self.models()?;
        let confirm = files.confirm.as_ref().map(|file| file.card.model()).transpose()?;
        let stages = Stages { first: files.first.card.model()?, confirm };
        Ok((Arc::new(CallConfig { policy: policy.clone(), stages: Some(stages) }), files))
    }
}

impl ModelFile {
    fn read(path: &Path) -> anyhow::Result<Self> {
        let read =
            |path: &Path| fs::read(path).with_context(|| format!("{}: cannot be read", path.display()));
        let json =
            String::from_utf8(read(path)?).with_context(|| format!("{}: is no JSON", path.display()))?;
        Self::new(&json, read(&path.with_extension("onnx"))?, &path.display().to_string())
    }

    fn new(json: &str, onnx: Vec<u8>, place: &str) -> anyhow::Result<Self> {
        let card = Card::parse(json).with_context(|| place.to_owned())?;
        card.check_file(&onnx).with_context(|| place.to_owned())?;
        Ok(Self { card: Arc::new(card), onnx })
    }

    /// A session of this model.
    pub(super) fn scorer(&self, runtime: &Runtime) -> anyhow::Result<Scorer> {
        Ok(Scorer::load(runtime, Arc::clone(&self.card), &self.onnx)?)
    }
}

impl ModelFiles {
    /// The models, in the order in which they are asked.
    pub(super) fn all(&self) -> impl Iterator<Item = &ModelFile> {
        std::iter::once(&self.first).chain(&self.confirm)
    }

    /// Sessions of these models.
    pub(super) fn scorers(&self, runtime: &Runtime) -> anyhow::Result<Scorers> {
        let confirm = self.confirm.as_ref().map(|file| file.scorer(runtime)).transpose()?;
        Ok(Scorers::new(self.first.scorer(runtime)?, confirm))
    }
}
