//! From a file to packed weights.
//!
//! Every thread reads pieces of a tensor into a buffer of its own and packs them where
//! they belong, so that there is one copy of the weights and no mapping of the file
//! that would count as memory or be pulled away by who truncates it.

use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use hearth_kernels::arena::{Arena, ArenaError, Floats, Places};
use hearth_kernels::linear::Matrix;
use hearth_kernels::pack::{Layout, TILE, pack_rows};
use hearth_kernels::pool::{Chunks, Pool};
use hearth_model::Tensor;
use hearth_model::dequant::dequantize;
use hearth_program::arch::{Weight, WeightId, WeightShape};
use hearth_program::{BuildError, Watch};

/// Bytes of a file that are packed between two looks at who waits.
const STEP_BYTES: usize = 16 << 20;
/// Bytes that a thread reads at a time: a piece stays in the second level of cache.
const READ_BYTES: usize = 256 << 10;

/// The weights of a graph, by [`WeightId`].
#[derive(Debug)]
pub(crate) struct Weights {
    packed: Arena,
    vectors: Floats,
    places: Vec<Place>,
}

#[derive(Clone, Debug)]
enum Place {
    /// In `vectors`.
    Vector(Range<usize>),
    /// In `packed`: matrices of the same outline, one after another.
    Matrices { layout: Layout, at: Range<usize>, count: usize },
}

impl Weights {
    /// Reads the weights in order, and tells after each step how many bytes of the file
    /// are done.
    pub(crate) fn read(
        weights: &[Weight],
        file: &File,
        pool: &Pool,
        watch: &mut dyn Watch,
    ) -> Result<Self, BuildError> {
        let total = weights.iter().map(Weight::file_bytes).sum();
        let mut done = 0;
        watch.progress(done, total)?;
        let mut told = |bytes: u64| {
            done += bytes;
            watch.progress(done, total)
        };
        let (places, packed, vectors) = plan(weights, file)?;
        let mut read = Self {
            packed: Arena::new(packed).map_err(short)?,
            vectors: Floats::zeros(vectors).map_err(short)?,
            places,
        };
        for (weight, place) in weights.iter().zip(&read.places) {
            match place {
                Place::Vector(at) => {
                    let mut rest = &mut read.vectors[at.clone()];
                    for tensor in &weight.tensors {
                        let (numbers, after) = rest.split_at_mut(file.elements(tensor)?);
                        rest = after;
                        file.numbers(tensor, numbers)?;
                        told(tensor.bytes)?;
                    }
                    read.vectors[at.clone()].iter_mut().for_each(|number| *number += weight.plus);
                }
                Place::Matrices { layout, at, count } => {
                    let each = count / weight.tensors.len().max(1);
                    let mut rest = &mut read.packed[at.clone()];
                    for tensor in &weight.tensors {
                        for matrix in 0..each {
                            let (bytes, after) = rest.split_at_mut(layout.bytes());
                            rest = after;
                            let from =
                                tensor.offset + (matrix * layout.outputs() * layout.row_bytes()) as u64;
                            file.pack(layout, from, bytes, pool, &mut told)?;
                        }
                    }
                }
            }
        }
        Ok(read)
    }

    /// Bytes of memory.
    pub(crate) fn bytes(&self) -> usize {
        self.packed.len() + self.vectors.bytes()
    }

    /// A vector.
    ///
    /// # Panics
    /// It is none: the graph contradicts itself.
    pub(crate) fn vector(&self, WeightId(id): WeightId) -> &[f32] {
        match &self.places[id] {
            Place::Vector(at) => &self.vectors[at.clone()],
            Place::Matrices { .. } => panic!("weight {id} is not a vector, as is needed"),
        }
    }

    /// A matrix, `[outputs, inputs]`.
    ///
    /// # Panics
    /// It is none: the graph contradicts itself.
    pub(crate) fn matrix(&self, WeightId(id): WeightId) -> Matrix<'_> {
        match &self.places[id] {
            Place::Matrices { layout, at, count: 1 } => Matrix::new(*layout, &self.packed[at.clone()]),
            Place::Vector(_) | Place::Matrices { .. } => panic!("weight {id} is not a matrix, as is needed"),
        }
    }

    /// The outline of a weight's matrices, if it is one or some.
    pub(crate) fn layout(&self, WeightId(id): WeightId) -> Option<Layout> {
        match &self.places[id] {
            Place::Vector(_) => None,
            Place::Matrices { layout, .. } => Some(*layout),
        }
    }
}

/// The places of all weights, and how large an arena and how many numbers they take.
fn plan(weights: &[Weight], file: &File) -> Result<(Vec<Place>, usize, usize), BuildError> {
    let mut arena = Places::default();
    let mut numbers = 0;
    let mut places = Vec::with_capacity(weights.len());
    for weight in weights {
        let Some(first) = weight.tensors.first() else {
            return Err(file.refuse("a weight has no tensor".into()));
        };
        let refuse = |message: &str| Err(file.refuse(format!("tensor `{}`: {message}", first.name)));
        let (count, outputs, inputs) = match weight.shape {
            WeightShape::Vector { len } => {
                places.push(Place::Vector(numbers..numbers + len));
                numbers += len;
                continue;
            }
            WeightShape::Matrix { outputs, inputs } => (1, outputs, inputs),
            WeightShape::Experts { experts, outputs, inputs } => (experts, outputs, inputs),
        };
        let elements = (outputs as u64).checked_mul(inputs as u64).and_then(|n| n.checked_mul(count as u64));
        if elements != Some(weight.elements()) || count % weight.tensors.len() != 0 {
            return refuse("its matrices are not those that the model needs");
        }
        if weight.plus != 0.0 || weight.tensors.iter().any(|tensor| tensor.dtype != first.dtype) {
            return refuse("its matrices are not of one type");
        }
        let layout = Layout::of(first.dtype, outputs as u64, inputs as u64);
        let layout = layout.map_err(|error| file.refuse(format!("tensor `{}`: {error}", first.name)))?;
        let at = layout.bytes().checked_mul(count).and_then(|bytes| arena.take(bytes));
        let Some(at) = at else { return refuse("it is larger than this machine's memory") };
        places.push(Place::Matrices { layout, at, count });
    }
    Ok((places, arena.bytes(), numbers))
}

/// What is told where memory is short.
pub(crate) fn short(error: ArenaError) -> BuildError {
    // What is free is not known: the system refused to promise more.
    BuildError::OutOfMemory { needed: error.bytes as u64, free: 0 }
}

/// A model file.
#[derive(Debug)]
pub(crate) struct File {
    path: PathBuf,
    file: std::fs::File,
}

impl File {
    pub(crate) fn open(path: &Path) -> Result<Self, BuildError> {
        let path = path.to_owned();
        match std::fs::File::open(&path) {
            Ok(file) => Ok(Self { path, file }),
            Err(source) => Err(BuildError::File { path, source }),
        }
    }

    /// The file is not a model that can be run.
    pub(crate) fn refuse(&self, message: String) -> BuildError {
        BuildError::Model { path: self.path.clone(), message }
    }

    fn unreadable(&self, source: std::io::Error) -> BuildError {
        BuildError::File { path: self.path.clone(), source }
    }

    /// Elements of a tensor that is to be held in memory.
    pub(crate) fn elements(&self, tensor: &Tensor) -> Result<usize, BuildError> {
        let refuse =
            |_| self.refuse(format!("tensor `{}` is larger than this machine's memory", tensor.name));
        usize::try_from(tensor.elements()).map_err(refuse)
    }

    /// Reads a small tensor's elements.
    pub(crate) fn numbers(&self, tensor: &Tensor, out: &mut [f32]) -> Result<(), BuildError> {
        let too_large = |_| self.refuse(format!("tensor `{}` is too large", tensor.name));
        let mut bytes = vec![0; usize::try_from(tensor.bytes).map_err(too_large)?];
        self.file.read_exact_at(&mut bytes, tensor.offset).map_err(|error| self.unreadable(error))?;
        dequantize(tensor.dtype, &bytes, out)
            .map_err(|error| self.refuse(format!("tensor `{}`: {error}", tensor.name)))
    }

    /// Packs the matrix whose rows begin at `from`.
    fn pack(
        &self,
        layout: &Layout,
        from: u64,
        out: &mut [u8],
        pool: &Pool,
        told: &mut dyn FnMut(u64) -> Result<(), BuildError>,
    ) -> Result<(), BuildError> {
        let tile_rows = TILE * layout.row_bytes();
        let tiles = (READ_BYTES / tile_rows).max(1);
        let (piece_rows, piece_bytes) = (tiles * TILE, tiles * layout.tile_bytes());
        let pieces = (STEP_BYTES / (tiles * tile_rows)).max(1);
        let buffers = (0..pool.threads()).map(|_| Mutex::new(Vec::new())).collect::<Vec<_>>();
        let failed = Mutex::new(None);
        for (step, out) in out.chunks_mut(pieces * piece_bytes).enumerate() {
            let first = step * pieces * piece_rows;
            pool.over(Chunks::new(out, piece_bytes), |piece, out, thread| {
                let first = first + piece * piece_rows;
                let rows = piece_rows.min(layout.outputs() - first);
                let mut buffer = buffers[thread].lock().unwrap_or_else(PoisonError::into_inner);
                buffer.resize(rows * layout.row_bytes(), 0);
                let at = from + (first * layout.row_bytes()) as u64;
                let read = self.file.read_exact_at(&mut buffer, at).map_err(|error| self.unreadable(error));
                let packed = read.and_then(|()| {
                    let internal = |error: hearth_kernels::pack::PackError| BuildError::Internal {
                        message: error.to_string(),
                    };
                    pack_rows(layout, first, &buffer, out).map_err(internal)
                });
                if let Err(error) = packed {
                    failed.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
                }
            });
            if let Some(error) = failed.lock().unwrap_or_else(PoisonError::into_inner).take() {
                return Err(error);
            }
            let rows = (pieces * piece_rows).min(layout.outputs() - first);
            told((rows * layout.row_bytes()) as u64)?;
        }
        Ok(())
    }
}
