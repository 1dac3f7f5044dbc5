//! Where models come from: what each kind of engine does to load one.

use hearth_cpu::{Cpu, CpuProgram};
use hearth_model::{Footprint, Model};
use hearth_program::{BuildError, Built, Program, Watch, build};
use hearth_reference::{Reference, ReferenceProgram};

use crate::api::{LoadError, LoadSpec};
use hearth_text::TextModel;

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
    ) -> Result<Built<Self::Program>, BuildError>;
}

impl Runtime for Cpu {
    type Program = CpuProgram;

    fn load(
        &self,
        spec: &LoadSpec,
        model: &Model,
        _: &TextModel,
        watch: &mut dyn Watch,
    ) -> Result<Built<CpuProgram>, BuildError> {
        self.build(&spec.path, model, &spec.shape(), watch)
    }
}

impl Runtime for Reference {
    type Program = ReferenceProgram;

    fn load(
        &self,
        spec: &LoadSpec,
        model: &Model,
        _: &TextModel,
        watch: &mut dyn Watch,
    ) -> Result<Built<ReferenceProgram>, BuildError> {
        self.build(&spec.path, model, &spec.shape(), watch)
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
    let model = build::read(&spec.path)?;
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
