//! Where models come from: what each kind of engine does to load one.

use std::path::Path;

use hearth_model::{Footprint, Model, gguf};

use crate::api::{LoadError, LoadSpec, Phase};
use crate::program::Program;
use crate::text::TextModel;

/// A kind of engine.
pub(crate) trait Runtime: Send + Sync + 'static {
    /// What it makes of a model.
    type Program: Program + 'static;

    /// Reads the model's file and puts it on the device. Runs on a thread of its
    /// own, so it may take its time, but it looks at `watch` at least every few
    /// hundred milliseconds.
    fn load(
        &self,
        spec: &LoadSpec,
        model: &Model,
        text: &TextModel,
        watch: &mut dyn Watch,
    ) -> Result<Built<Self::Program>, LoadError>;
}

/// What a runtime made of a model.
pub(crate) struct Built<P> {
    pub(crate) program: P,
    pub(crate) measured: Footprint,
}

/// Who waits for a load.
pub(crate) trait Watch {
    /// Tells how far it is.
    ///
    /// # Errors
    /// [`LoadError::Cancelled`] when nobody waits any more.
    fn progress(&mut self, phase: Phase, done: u64, total: u64) -> Result<(), LoadError>;
}

/// Nobody waits.
pub(crate) struct Unwatched;

impl Watch for Unwatched {
    fn progress(&mut self, _: Phase, _: u64, _: u64) -> Result<(), LoadError> {
        Ok(())
    }
}

/// A model that is on the device and can read.
pub(crate) struct Loaded<P> {
    pub(crate) program: P,
    pub(crate) text: TextModel,
    pub(crate) measured: Footprint,
}

/// Loads a model with all that does not depend on the kind of engine.
pub(crate) fn load<R: Runtime>(
    runtime: &R,
    spec: &LoadSpec,
    watch: &mut dyn Watch,
) -> Result<Loaded<R::Program>, LoadError> {
    check(spec)?;
    let model = read(&spec.path)?;
    let most = model.dims.context_length;
    if spec.context_tokens > most {
        let message = format!("the model was trained for {most} tokens: ask for at most that");
        return Err(LoadError::Invalid {
            field: "context_tokens",
            value: spec.context_tokens.to_string(),
            message,
        });
    }
    let text = TextModel::new(&model, spec.context_tokens)?;
    let vocabulary = text.tokenizer().vocabulary();
    if vocabulary != model.dims.vocab as usize {
        let message = format!("{vocabulary} tokens in the vocabulary, {} in the head", model.dims.vocab);
        return Err(LoadError::Model { path: spec.path.clone(), message });
    }
    let Built { program, measured } = runtime.load(spec, &model, &text, watch)?;
    Ok(Loaded { program, text, measured })
}

fn check(spec: &LoadSpec) -> Result<(), LoadError> {
    let LoadSpec { id, path: _, context_tokens, sequences, kv_type: _ } = spec;
    let invalid = |field, value: &dyn ToString, message: &str| {
        Err(LoadError::Invalid { field, value: value.to_string(), message: message.into() })
    };
    if id.is_empty() {
        return invalid("id", &"empty", "give the model a name");
    }
    if *context_tokens < 2 {
        return invalid("context_tokens", context_tokens, "a token of prompt and one of output take 2");
    }
    if *sequences == 0 {
        return invalid("sequences", sequences, "give at least 1");
    }
    Ok(())
}

/// Describes a file.
pub(crate) fn read(path: &Path) -> Result<Model, LoadError> {
    let refuse = |message: String| LoadError::Model { path: path.to_owned(), message };
    let header = gguf::read_file(path).map_err(|error| match error {
        hearth_model::ReadError::Io { source, .. } => LoadError::File { path: path.to_owned(), source },
        hearth_model::ReadError::Header { source, .. } => refuse(source.to_string()),
    })?;
    let model = Model::from_gguf(&header).map_err(|error| refuse(error.to_string()))?;
    let bytes =
        std::fs::metadata(path).map_err(|source| LoadError::File { path: path.to_owned(), source })?.len();
    if bytes < model.min_file_bytes {
        let needed = model.min_file_bytes;
        return Err(refuse(format!("it has {bytes} bytes and its tensors end at {needed}: it is cut short")));
    }
    Ok(model)
}
