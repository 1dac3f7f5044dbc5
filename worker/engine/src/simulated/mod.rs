//! An engine without arithmetic: declared memory and speed, made-up text.
//!
//! It reads a model's header, vocabulary and template like any other and goes
//! through the same batcher, so that everything around an engine can be tested
//! without the time that weights take.

mod memory;
mod program;

use std::time::Duration;

use hearth_model::footprint::{Overheads, footprint};
use hearth_model::{Model, WeightStorage};
use hearth_program::{BuildError, Built, PageLayout, Watch};

use crate::api::{LoadSpec, SimulatedConfig, StartError};
use crate::loader::Runtime;
use hearth_text::TextModel;

pub use program::SimulatedProgram;

use memory::Memory;

/// How long a cancelled load takes to notice.
const SLICE: Duration = Duration::from_millis(20);

/// The simulated kind of engine.
pub(crate) struct Simulated {
    config: SimulatedConfig,
    memory: Memory,
}

impl Simulated {
    pub(crate) fn open(config: SimulatedConfig) -> Result<Self, StartError> {
        let SimulatedConfig {
            kind: _,
            memory_bytes,
            decode_tokens_per_second,
            prefill_tokens_per_second,
            load_bytes_per_second,
        } = config;
        for (field, value) in [
            ("decode_tokens_per_second", decode_tokens_per_second),
            ("prefill_tokens_per_second", prefill_tokens_per_second),
            ("load_bytes_per_second", load_bytes_per_second),
        ] {
            if !(value.is_finite() && value > 0.0) {
                return Err(StartError::Simulated { field, value });
            }
        }
        Ok(Self { config, memory: Memory::new(memory_bytes) })
    }

    /// Passes the time that the file would take.
    fn read(&self, bytes: u64, watch: &mut dyn Watch) -> Result<(), BuildError> {
        let slice = (self.config.load_bytes_per_second * SLICE.as_secs_f64()).max(1.0) as u64;
        let mut done = 0;
        while done < bytes {
            watch.progress(done, bytes)?;
            let now = slice.min(bytes - done);
            std::thread::sleep(SLICE.mul_f64(now as f64 / slice as f64));
            done += now;
        }
        watch.progress(bytes, bytes)
    }
}

impl Runtime for Simulated {
    type Program = SimulatedProgram;

    fn load(
        &self,
        spec: &LoadSpec,
        model: &Model,
        text: &TextModel,
        watch: &mut dyn Watch,
    ) -> Result<Built<SimulatedProgram>, BuildError> {
        let overhead = Overheads::DEFAULT;
        let measured =
            footprint(&model.dims, &spec.shape(), WeightStorage::Packed, overhead.of(self.config.kind))
                .map_err(|error| BuildError::Model { path: spec.path.clone(), message: error.to_string() })?;
        let held = self.memory.take(measured.total())?;
        self.read(model.min_file_bytes, watch)?;
        let layout = PageLayout::new((0..model.dims.layers).map(|_| None), &spec.shape());
        let program = SimulatedProgram::new(&self.config, text.tokenizer(), layout, held);
        Ok(Built { program, measured })
    }
}
