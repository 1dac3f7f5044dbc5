//! From a file to packed weights.
//!
//! Every thread reads pieces of a tensor into a buffer of its own and packs them where
//! they belong, so that there is one copy of the weights and no mapping of the file
//! that would count as memory or be pulled away by who truncates it.

use std::ops::Range;

use hearth_kernels::arena::{Arena, ArenaError, Floats, Places};
use hearth_kernels::elementwise;
use hearth_kernels::linear::Matrix;
use hearth_kernels::pack::Layout;
use hearth_kernels::pool::Pool;
use hearth_model::DType;
use hearth_program::arch::{Graph, Node, Norm, NormKind, Weight, WeightId, WeightShape};
use hearth_program::{BuildError, Watch};

use crate::file::File;

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
        graph: &Graph,
        file: &File,
        pool: &Pool,
        watch: &mut dyn Watch,
    ) -> Result<Self, BuildError> {
        let weights = &graph.weights;
        let total = weights.iter().map(Weight::file_bytes).sum();
        let mut done = 0;
        watch.progress(done, total)?;
        let mut told = |bytes: u64| {
            done += bytes;
            watch.progress(done, total)
        };
        let (places, packed, vectors) = plan(graph, file)?;
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
                        if tensor.dtype != layout.dtype() {
                            file.pack_widened(tensor, layout, rest)?;
                            told(tensor.bytes)?;
                            break;
                        }
                        for matrix in 0..each {
                            let (bytes, after) = rest.split_at_mut(layout.bytes());
                            rest = after;
                            file.pack(tensor, matrix, layout, bytes, pool, &mut told)?;
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

    /// Matrix `nth` of several, `[outputs, inputs]`.
    ///
    /// # Panics
    /// There is no such matrix: the graph contradicts itself.
    pub(crate) fn expert(&self, WeightId(id): WeightId, nth: usize) -> Matrix<'_> {
        match &self.places[id] {
            Place::Matrices { layout, at, count } if nth < *count => {
                let bytes = &self.packed[at.clone()][nth * layout.bytes()..][..layout.bytes()];
                Matrix::new(*layout, bytes)
            }
            Place::Vector(_) | Place::Matrices { .. } => panic!("weight {id} has no matrix {nth}"),
        }
    }

    /// What rows are normalised by.
    ///
    /// # Panics
    /// As [`Weights::vector`].
    pub(crate) fn norm(&self, norm: &Norm) -> elementwise::Norm<'_> {
        let Norm { kind, parts: _, weight, bias, epsilon } = *norm;
        elementwise::Norm {
            centred: kind == NormKind::Layer,
            weight: self.vector(weight),
            bias: bias.map(|bias| self.vector(bias)),
            epsilon,
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

/// The matrices that choose experts. What they choose by is not quantized: a score that
/// is a little off takes another expert.
fn routers(graph: &Graph) -> Vec<WeightId> {
    let router = |node: &Node| match node {
        Node::Experts { experts, .. } => Some(experts.router),
        _ => None,
    };
    graph.nodes().filter_map(router).collect()
}

/// The places of all weights, and how large an arena and how many numbers they take.
fn plan(graph: &Graph, file: &File) -> Result<(Vec<Place>, usize, usize), BuildError> {
    let (weights, routers) = (&graph.weights, routers(graph));
    let mut arena = Places::default();
    let mut numbers = 0;
    let mut places = Vec::with_capacity(weights.len());
    for (id, weight) in weights.iter().enumerate() {
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
        let widened = routers.contains(&WeightId(id)) && first.dtype.block_len() > 1;
        let dtype = if widened { DType::F32 } else { first.dtype };
        let layout = Layout::of(dtype, outputs as u64, inputs as u64);
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
