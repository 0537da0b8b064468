//! The model card: what a model was trained on, what it expects, how good it is. A mismatch refuses to load.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::{Calibration, Features, Stage};
use crate::{prosody::COLUMNS, units::hex};

/// The contract between a model and this program: inputs `frames` [lanes, window_frames, features] and `mask` [lanes,
/// window_frames], output `logits` [lanes, heads], all float32; stateless; all normalisation inside the graph.
pub const CONTRACT: &str = "warmline.score/1";

/// The version of the card's own format.
const SCHEMA: &str = "warmline.model-card/1";

/// Frames a window may have: 30 s of speech, and with 80 descriptors under 1 MB a call.
const WINDOW_FRAMES_MAX: usize = 3_000;

/// Windows a batch may have.
const LANES_MAX: usize = 64;

/// A model card, as it stands beside the `.onnx` file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Card {
    /// `warmline.model-card/1`.
    pub schema: String,
    /// What the model is called.
    pub name: String,
    /// Which training of it this is.
    pub version: String,
    /// [`CONTRACT`].
    pub contract: String,
    /// Which of the two stages it serves.
    pub stage: Stage,
    /// What it was trained on: [`FEATURE_SET`](crate::prosody::FEATURE_SET) or [`LOG_MEL_SET`](crate::prosody::LOG_MEL_SET).
    pub feature_set: String,
    /// Their names, in the order of the model's input.
    pub features: Vec<String>,
    /// Frames of speech in a window.
    pub window_frames: usize,
    /// Frames of media time between two scores.
    pub hop_frames: usize,
    /// Frames of speech without which nothing is scored.
    pub min_frames: usize,
    /// Windows in a batch: the batch always has this size, so that company changes nothing.
    pub lanes: usize,
    /// What each output means; the first is `frustration`.
    pub heads: Vec<String>,
    /// In words: what the graph does before the network.
    pub normalisation: String,
    /// Logit → probability.
    pub calibration: Calibration,
    /// SHA-256 of the `.onnx` file, in hexadecimal.
    pub sha256: String,
    /// Figures, with their protocol and intervals.
    #[serde(default)]
    pub metrics: Value,
    /// Command, seed, data and its licences.
    #[serde(default)]
    pub training: Value,
}

/// Why a card, or the model beside it, was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CardError {
    /// The card is no JSON, or lacks a field.
    #[error("the model card could not be read: {0}")]
    Malformed(String),
    /// The card asks for what this program does not do.
    #[error("the model card says `{field}` is {found}, and this program expects {expected}")]
    Mismatch {
        /// The field of the card.
        field: &'static str,
        /// What it holds.
        found: String,
        /// What would do.
        expected: String,
    },
    /// The card belongs to another model file.
    #[error(
        "the model file's SHA-256 is {found}, and its card says {expected}: the file is damaged, or the card is another model's"
    )]
    OtherModel {
        /// The file's.
        found: String,
        /// The card's.
        expected: String,
    },
}

/// What a call must know of the model that scores it.
#[derive(Clone, Debug, PartialEq)]
pub struct Model {
    /// Which stage asks.
    pub stage: Stage,
    /// `name version`, for events and packets.
    pub name: String,
    /// SHA-256 of the `.onnx` file, in hexadecimal.
    pub sha256: String,
    /// What a frame of its input holds.
    pub features: Features,
    /// Frames of speech in a window.
    pub window_frames: usize,
    /// Frames of media time between two scores.
    pub hop_frames: usize,
    /// Frames of speech without which nothing is scored.
    pub min_frames: usize,
    /// Logit → probability.
    pub calibration: Calibration,
}

impl Card {
    /// Reads a card and refuses one that this program cannot serve.
    pub fn parse(json: &str) -> Result<Self, CardError> {
        let card: Self =
            serde_json::from_str(json).map_err(|error| CardError::Malformed(error.to_string()))?;
        card.model()?;
        Ok(card)
    }

    /// Whether `onnx` is the file this card belongs to.
    pub fn check_file(&self, onnx: &[u8]) -> Result<(), CardError> {
        let found = hex(&Sha256::digest(onnx));
        if found.eq_ignore_ascii_case(&self.sha256) {
            Ok(())
        } else {
            Err(CardError::OtherModel { found, expected: self.sha256.clone() })
        }
    }

    /// What a call must know of the model.
    pub fn model(&self) -> Result<Model, CardError> {
        let expect = |holds: bool, field, found: &dyn ToString, expected: &str| {
            if holds {
                Ok(())
            } else {
                Err(CardError::Mismatch { field, found: found.to_string(), expected: expected.into() })
            }
        };
        expect(self.schema == SCHEMA, "schema", &self.schema, SCHEMA)?;
        expect(self.contract == CONTRACT, "contract", &self.contract, CONTRACT)?;
        expect(!self.features.is_empty(), "features", &"empty", "at least one")?;
        let features = Features::named(&self.feature_set, &self.features)?;
        let frames = (1..=WINDOW_FRAMES_MAX).contains(&self.window_frames);
        expect(frames, "window_frames", &self.window_frames, &format!("1 to {WINDOW_FRAMES_MAX}"))?;
        let min = (1..=self.window_frames).contains(&self.min_frames);
        expect(min, "min_frames", &self.min_frames, &format!("1 to window_frames ({})", self.window_frames))?;
        expect((1..=1_000).contains(&self.hop_frames), "hop_frames", &self.hop_frames, "1 to 1000")?;
        expect((1..=LANES_MAX).contains(&self.lanes), "lanes", &self.lanes, &format!("1 to {LANES_MAX}"))?;
        let heads = self.heads.iter().map(String::as_str).collect::<Vec<_>>();
        let known = matches!(heads.as_slice(), ["frustration"] | ["frustration", "speech"]);
        expect(known, "heads", &heads.join(", "), "frustration, or frustration and speech")?;
        let Calibration { slope, intercept, caller } = &self.calibration;
        expect(slope.is_finite() && *slope > 0.0, "calibration.slope", slope, "a positive number")?;
        expect(intercept.is_finite(), "calibration.intercept", intercept, "a finite number")?;
        if let Some(caller) = caller {
            expect(
                (0.0..=1.0).contains(&caller.weight),
                "calibration.caller.weight",
                &caller.weight,
                "0 to 1",
            )?;
            expect(
                caller.reference.is_finite(),
                "calibration.caller.reference",
                &caller.reference,
                "a finite number",
            )?;
        }
        Ok(Model {
            stage: self.stage,
            name: format!("{} {}", self.name, self.version),
            sha256: self.sha256.clone(),
            features,
            window_frames: self.window_frames,
            hop_frames: self.hop_frames,
            min_frames: self.min_frames,
            calibration: self.calibration.clone(),
        })
    }
}

impl Model {
    /// A model of the built-in contract over `names`, for tests and for scores of one's own.
    ///
    /// Unknown names are left out.
    pub fn of_features(names: &[&str]) -> Self {
        let places = names.iter().filter_map(|name| COLUMNS.iter().position(|c| c == name));
        Self {
            stage: Stage::Watch,
            name: "scores of one's own".into(),
            sha256: String::new(),
            features: Features::Descriptors(places.collect()),
            window_frames: 300,
            hop_frames: 50,
            min_frames: 100,
            calibration: Calibration { slope: 1.0, intercept: 0.0, caller: None },
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::prosody::{LOG_MEL_SET, log_mel_columns};

    fn card() -> Value {
        json!({
            "schema": "warmline.model-card/1", "name": "watch", "version": "1", "contract": "warmline.score/1",
            "stage": "watch", "feature_set": "prosody/1", "features": ["mel_00_db", "voicing"], "window_frames": 300,
            "hop_frames": 50, "min_frames": 100, "lanes": 1, "heads": ["frustration"], "normalisation": "in graph",
            "calibration": {"slope": 1.0, "intercept": 0.0},
            "sha256": "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
        })
    }

    #[test]
    fn a_card_that_fits_is_read() {
        let card = Card::parse(&card().to_string()).unwrap();
        let model = card.model().unwrap();
        let Features::Descriptors(columns) = &model.features else { panic!("{:?}", model.features) };
        assert_eq!(columns.iter().map(|&c| COLUMNS[c]).collect::<Vec<_>>(), ["mel_00_db", "voicing"]);
        card.check_file(b"").unwrap();
    }

    #[test]
    fn a_mismatch_says_what_differs() {
        for (field, value, says) in [
            (
                "feature_set",
                json!("prosody/2"),
                "`feature_set` is prosody/2, and this program expects prosody/1 or speech-log-mel/1",
            ),
            ("contract", json!("warmline.score/2"), "`contract` is warmline.score/2"),
            ("features", json!(["mel_00_db", "mel_99_db"]), "…mel_99_db…"),
            ("features", json!([]), "at least one"),
            ("lanes", json!(0), "`lanes` is 0, and this program expects 1 to 64"),
            ("min_frames", json!(301), "1 to window_frames (300)"),
            ("heads", json!(["speech"]), "frustration, or frustration and speech"),
            ("calibration", json!({"slope": -1.0, "intercept": 0.0}), "a positive number"),
            ("stage", json!("listen"), "unknown variant `listen`"),
            ("sha256", Value::Null, "could not be read"),
        ] {
            let mut changed = card();
            changed[field] = value;
            let error = Card::parse(&changed.to_string()).unwrap_err().to_string();
            assert!(error.contains(says), "{field}: {error}");
        }
    }

    #[test]
    fn a_model_with_a_front_end_of_its_own_is_given_all_bands_in_order() {
        let mut changed = card();
        changed["feature_set"] = json!(LOG_MEL_SET);
        changed["features"] = json!(log_mel_columns().to_vec());
        let model = Card::parse(&changed.to_string()).unwrap().model().unwrap();
        assert_eq!(model.features, Features::LogMel);
        changed["features"][3] = json!("log_mel_04");
        let error = Card::parse(&changed.to_string()).unwrap_err().to_string();
        assert!(error.contains("log_mel_00 to log_mel_60"), "{error}");
    }

    #[test]
    fn a_damaged_model_file_is_refused() {
        let error = Card::parse(&card().to_string()).unwrap().check_file(b"x").unwrap_err();
        assert!(matches!(error, CardError::OtherModel { .. }), "{error}");
    }
}
