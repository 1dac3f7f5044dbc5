//! Weights on the device, widened to `f32`.

use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use burn::tensor::{Device, Tensor, TensorData};
use hearth_model::dequant::dequantize;
use rayon::iter::{IndexedParallelIterator, ParallelIterator};
use rayon::slice::{ParallelSlice, ParallelSliceMut};

use crate::api::{LoadError, Phase};
use crate::arch::{Weight, WeightId, WeightShape};
use crate::loader::Watch;

/// The weights of a graph, by [`WeightId`].
pub(super) struct Weights {
    loaded: Vec<Loaded>,
    bytes: u64,
}

enum Loaded {
    Vector(Tensor<1>),
    Matrix(Tensor<2>),
}

impl Weights {
    /// Reads the weights in order, and tells after each how many bytes of the
    /// file are done.
    pub(super) fn read(
        weights: &[Weight],
        file: &mut File,
        device: &Device,
        watch: &mut dyn Watch,
    ) -> Result<Self, LoadError> {
        let total = weights.iter().map(|weight| weight.tensor.bytes).sum();
        let mut read = Self { loaded: Vec::with_capacity(weights.len()), bytes: 0 };
        let mut done = 0;
        watch.progress(Phase::Loading, done, total)?;
        for Weight { tensor, shape } in weights {
            let numbers = file.numbers(tensor)?;
            read.bytes += size_of_val(numbers.as_slice()) as u64;
            read.loaded.push(match *shape {
                WeightShape::Vector { len } => {
                    Loaded::Vector(Tensor::from_data(TensorData::new(numbers, [len]), device))
                }
                WeightShape::Matrix { outputs, inputs } => {
                    Loaded::Matrix(Tensor::from_data(TensorData::new(numbers, [outputs, inputs]), device))
                }
            });
            done += tensor.bytes;
            watch.progress(Phase::Loading, done, total)?;
        }
        Ok(read)
    }

    /// Bytes on the device.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// A vector.
    ///
    /// # Panics
    /// It is a matrix: the graph contradicts itself.
    pub(super) fn vector(&self, WeightId(id): WeightId) -> Tensor<1> {
        match &self.loaded[id] {
            Loaded::Vector(tensor) => tensor.clone(),
            Loaded::Matrix(_) => panic!("weight {id} is a matrix where a vector is needed"),
        }
    }

    /// A matrix, `[outputs, inputs]`.
    ///
    /// # Panics
    /// It is a vector: the graph contradicts itself.
    pub(super) fn matrix(&self, WeightId(id): WeightId) -> Tensor<2> {
        match &self.loaded[id] {
            Loaded::Matrix(tensor) => tensor.clone(),
            Loaded::Vector(_) => panic!("weight {id} is a vector where a matrix is needed"),
        }
    }
}

/// A model file.
pub(super) struct File {
    path: PathBuf,
    file: std::fs::File,
}

impl File {
    pub(super) fn open(path: &Path) -> Result<Self, LoadError> {
        let file =
            std::fs::File::open(path).map_err(|source| LoadError::File { path: path.to_owned(), source })?;
        Ok(Self { path: path.to_owned(), file })
    }

    /// A tensor's elements.
    pub(super) fn numbers(&mut self, tensor: &hearth_model::Tensor) -> Result<Vec<f32>, LoadError> {
        let unreadable = |source| LoadError::File { path: self.path.clone(), source };
        let mut packed = vec![0; usize::try_from(tensor.bytes).map_err(|_| self.too_large(tensor))?];
        let elements = usize::try_from(tensor.elements()).map_err(|_| self.too_large(tensor))?;
        self.file.seek(SeekFrom::Start(tensor.offset)).map_err(unreadable)?;
        self.file.read_exact(&mut packed).map_err(unreadable)?;

        // About a megabyte of elements a task, and whole blocks.
        let blocks = 1 << 10;
        let (block_len, block_bytes) =
            (tensor.dtype.block_len() as usize, tensor.dtype.block_bytes() as usize);
        let mut numbers = vec![0.0; elements];
        numbers
            .par_chunks_mut(blocks * block_len)
            .zip(packed.par_chunks(blocks * block_bytes))
            .try_for_each(|(numbers, packed)| dequantize(tensor.dtype, packed, numbers))
            .map_err(|error| LoadError::Model {
                path: self.path.clone(),
                message: format!("tensor `{}`: {error}", tensor.name),
            })?;
        Ok(numbers)
    }

    fn too_large(&self, tensor: &hearth_model::Tensor) -> LoadError {
        let message =
            format!("tensor `{}` has {} bytes, more than this machine addresses", tensor.name, tensor.bytes);
        LoadError::Model { path: self.path.clone(), message }
    }
}
