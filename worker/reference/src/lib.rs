//! The reference: a graph's nodes, one after another, in plain `f32` tensors.
//!
//! It is the oracle that faster engines are tested against, so it does nothing
//! clever. Every sequence of a step is computed on its own, which makes results
//! independent of the batch by construction; on the CPU the sequences of a step
//! run side by side.

mod attention;
mod device;
mod interpret;
mod kv;
mod measure;
mod rope;
mod weights;

use std::path::Path;
use std::sync::Arc;

use burn::tensor::Device;
use hearth_model::footprint::SIDE_BY_SIDE;
use hearth_model::{Model, Shape};
use hearth_program::arch::{self, Graph};
use hearth_program::{BuildError, Built, Program, Row, StepError, Unwatched, Watch, build};
use rayon::iter::{IntoParallelRefMutIterator, ParallelIterator};

pub use device::{Compute, OpenError};
pub use kv::{KvCache, KvStorage};

use kv::KvLayout;
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
        let program = ReferenceProgram::read(path, model, KvStorage::Kept(shape.kv_type), self, watch)?;
        let measured = measure::footprint(&program, shape, model.dims.vocab);
        Ok(Built { program, measured })
    }
}

/// A model in plain tensors.
pub struct ReferenceProgram {
    graph: Graph,
    weights: Weights,
    rope: RopeTable,
    layout: Arc<KvLayout>,
    compute: Compute,
}

impl ReferenceProgram {
    /// The program of a file, to be stepped by hand: what another program's
    /// results are compared with.
    ///
    /// # Errors
    /// The device is not there, or the file cannot be read as a model.
    pub fn open(path: &Path, storage: KvStorage, compute: Compute) -> Result<Self, BuildError> {
        let reference =
            Reference::open(compute).map_err(|error| BuildError::Internal { message: error.to_string() })?;
        Self::read(path, &build::read(path)?, storage, &reference, &mut Unwatched)
    }

    fn read(
        path: &Path,
        model: &Model,
        storage: KvStorage,
        reference: &Reference,
        watch: &mut dyn Watch,
    ) -> Result<Self, BuildError> {
        let Reference { compute, device } = reference;
        let graph = arch::graph(model);
        let mut file = weights::File::open(path)?;
        let rope = RopeTable::read(&graph.rope, &mut file, device)?;
        let weights = Weights::read(&graph.weights, &mut file, device, watch)?;
        let layout = Arc::new(KvLayout::new(&graph, storage, device.clone()));
        Ok(Self { graph, weights, rope, layout, compute: *compute })
    }
}

impl Program for ReferenceProgram {
    type Cache = KvCache;

    fn cache(&self) -> KvCache {
        KvCache::new(Arc::clone(&self.layout), self.graph.layers.len())
    }

    fn step(&mut self, batch: &mut [Row<'_, KvCache>]) -> Result<Vec<Option<Vec<f32>>>, StepError> {
        let run = |row: &mut Row<'_, KvCache>| self.run(row);
        match self.compute {
            Compute::Cpu => {
                // Scratch is counted for so many.
                let group = |rows: &mut [Row<'_, KvCache>]| rows.par_iter_mut().map(run).collect::<Vec<_>>();
                batch.chunks_mut(SIDE_BY_SIDE as usize).flat_map(group).collect()
            }
            // A device works through one queue.
            Compute::Cuda(_) | Compute::Vulkan(_) | Compute::Metal => batch.iter_mut().map(run).collect(),
        }
    }
}
