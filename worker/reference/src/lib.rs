//! The reference: a graph's nodes, one after another, in plain `f32` tensors.
//!
//! It is the oracle that faster engines are tested against, so it does nothing
//! clever. Every sequence of a step is computed on its own, which makes results
//! independent of the batch by construction; on the CPU the sequences of a step
//! run side by side.

mod attention;
mod device;
mod experts;
mod functions;
mod interpret;
mod kv;
mod measure;
mod rope;
mod weights;

use std::path::Path;

use burn::tensor::Device;
use hearth_model::footprint::SIDE_BY_SIDE;
use hearth_model::{Model, Shape};
use hearth_program::arch::{self, Graph};
use hearth_program::{
    Answers, BuildError, Built, Output, PageLayout, Program, Row, StepError, Unwatched, Watch, build,
};
use rayon::iter::{IntoParallelRefIterator, ParallelIterator};

pub use device::{Compute, OpenError};
pub use kv::KvStorage;

use kv::Kv;
use rope::RopeTable;
use weights::Weights;

/// A device that the reference computes on.
#[derive(Debug)]
pub struct Reference {
    compute: Compute,
    device: Device,
}

impl Reference {
    /// Opens the device.
    ///
    /// # Errors
    /// The build lacks it, or it does not answer.
    pub fn open(compute: Compute) -> Result<Self, OpenError> {
        Ok(Self { compute, device: device::open(compute)? })
    }

    /// Builds the program of a model whose file is at `path`.
    ///
    /// # Errors
    /// The file cannot be read, or nobody waits any more.
    pub fn build(
        &self,
        path: &Path,
        model: &Model,
        shape: &Shape,
        watch: &mut dyn Watch,
    ) -> Result<Built<ReferenceProgram>, BuildError> {
        let program =
            ReferenceProgram::read(path, model, shape, KvStorage::Kept(shape.kv_type), self, watch)?;
        let measured = measure::footprint(&program, shape, model.dims.vocab);
        Ok(Built { program, measured })
    }
}

/// A model in plain tensors.
pub struct ReferenceProgram {
    graph: Graph,
    weights: Weights,
    ropes: Vec<RopeTable>,
    kv: Kv,
    compute: Compute,
}

impl ReferenceProgram {
    /// The program of a file, to be stepped by hand: what another program's
    /// results are compared with. Keys and values are kept as `storage` says, not as
    /// `shape` does.
    ///
    /// # Errors
    /// The device is not there, or the file cannot be read as a model.
    pub fn open(
        path: &Path,
        shape: &Shape,
        storage: KvStorage,
        compute: Compute,
    ) -> Result<Self, BuildError> {
        let reference =
            Reference::open(compute).map_err(|error| BuildError::Internal { message: error.to_string() })?;
        Self::read(path, &build::read(path)?, shape, storage, &reference, &mut Unwatched)
    }

    fn read(
        path: &Path,
        model: &Model,
        shape: &Shape,
        storage: KvStorage,
        reference: &Reference,
        watch: &mut dyn Watch,
    ) -> Result<Self, BuildError> {
        let Reference { compute, device } = reference;
        let graph = arch::graph(model);
        let mut file = weights::File::open(build::files(path, model))?;
        let ropes =
            graph.ropes.iter().map(|rope| RopeTable::read(rope, shape.context_tokens, &mut file, device));
        let ropes = ropes.collect::<Result<Vec<_>, _>>()?;
        let weights = Weights::read(&graph.weights, &mut file, device, watch)?;
        let layout = PageLayout::new(graph.windows(), shape);
        let kv = Kv::new(layout, &graph.layers[0].attention, storage, device);
        Ok(Self { graph, weights, ropes, kv, compute: *compute })
    }
}

impl ReferenceProgram {
    /// Bytes of all pages on the device.
    #[must_use]
    pub fn pages_bytes(&self) -> u64 {
        self.kv.bytes()
    }
}

impl Program for ReferenceProgram {
    fn pages(&self) -> &PageLayout {
        self.kv.layout()
    }

    fn output(&self) -> Output {
        self.graph.output()
    }

    fn step(&mut self, batch: &[Row<'_>], answers: &mut Answers) -> Result<(), StepError> {
        let program = &*self;
        let run = |row: &Row<'_>| program.run(row);
        let computed = match program.compute {
            Compute::Cpu => {
                // Scratch is counted for so many.
                let group = |rows: &[Row<'_>]| rows.par_iter().map(run).collect::<Vec<_>>();
                batch.chunks(SIDE_BY_SIDE as usize).flat_map(group).collect::<Result<Vec<_>, _>>()?
            }
            // A device works through one queue.
            Compute::Cuda(_) | Compute::Vulkan(_) | Compute::Metal => {
                batch.iter().map(run).collect::<Result<Vec<_>, _>>()?
            }
        };
        let numbers = answers.prepare(self.output().width(), batch);
        let mut at = 0;
        for answer in computed {
            numbers[at..at + answer.len()].copy_from_slice(&answer);
            at += answer.len();
        }
        Ok(())
    }
}
