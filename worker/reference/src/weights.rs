//! Weights on the device, widened to `f32`.

use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use burn::tensor::{Device, Tensor, TensorData};
use hearth_model::dequant::dequantize;
use rayon::iter::{IndexedParallelIterator, ParallelIterator};
use rayon::slice::{ParallelSlice, ParallelSliceMut};

use hearth_program::BuildError;
use hearth_program::Watch;
use hearth_program::arch::{Weight, WeightId, WeightShape};

/// The weights of a graph, by [`WeightId`].
pub(crate) struct Weights {
    loaded: Vec<Loaded>,
    bytes: u64,
}

enum Loaded {
    Vector(Tensor<1>),
    Matrix(Tensor<2>),
    Experts(Tensor<3>),
}

impl Weights {
    /// Reads the weights in order, and tells after each slice of one how many
    /// bytes of the file are done.
    pub(crate) fn read(
        weights: &[Weight],
        file: &mut File,
        device: &Device,
        watch: &mut dyn Watch,
    ) -> Result<Self, BuildError> {
        let total = weights.iter().map(Weight::file_bytes).sum();
        let mut read = Self { loaded: Vec::with_capacity(weights.len()), bytes: 0 };
        let mut done = 0;
        watch.progress(done, total)?;
        for Weight { tensors, shape, plus } in weights {
            let mut numbers = Vec::new();
            for tensor in tensors {
                let more = file.numbers_watched(tensor, &mut |bytes| {
                    done += bytes;
                    watch.progress(done, total)
                })?;
                if numbers.is_empty() { numbers = more } else { numbers.extend(more) }
            }
            if *plus != 0.0 {
                numbers.iter_mut().for_each(|number| *number += plus);
            }
            read.bytes += size_of_val(numbers.as_slice()) as u64;
            read.loaded.push(match *shape {
                WeightShape::Vector { len } => {
                    Loaded::Vector(Tensor::from_data(TensorData::new(numbers, [len]), device))
                }
                WeightShape::Matrix { outputs, inputs } => {
                    Loaded::Matrix(Tensor::from_data(TensorData::new(numbers, [outputs, inputs]), device))
                }
                WeightShape::Experts { experts, outputs, inputs } => {
                    let numbers = TensorData::new(numbers, [experts, outputs, inputs]);
                    Loaded::Experts(Tensor::from_data(numbers, device))
                }
            });
        }
        Ok(read)
    }

    /// Bytes on the device.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// A vector.
    ///
    /// # Panics
    /// It is none: the graph contradicts itself.
    pub(crate) fn vector(&self, WeightId(id): WeightId) -> Tensor<1> {
        match &self.loaded[id] {
            Loaded::Vector(tensor) => tensor.clone(),
            Loaded::Matrix(_) | Loaded::Experts(_) => panic!("weight {id} is not a vector, as is needed"),
        }
    }

    /// A matrix, `[outputs, inputs]`.
    ///
    /// # Panics
    /// It is none: the graph contradicts itself.
    pub(crate) fn matrix(&self, WeightId(id): WeightId) -> Tensor<2> {
        match &self.loaded[id] {
            Loaded::Matrix(tensor) => tensor.clone(),
            Loaded::Vector(_) | Loaded::Experts(_) => panic!("weight {id} is not a matrix, as is needed"),
        }
    }

    /// The matrix of an expert, `[outputs, inputs]`.
    ///
    /// # Panics
    /// They are no experts, or not so many: the graph contradicts itself.
    pub(crate) fn expert(&self, WeightId(id): WeightId, expert: usize) -> Tensor<2> {
        match &self.loaded[id] {
            Loaded::Experts(tensor) => {
                let [_, outputs, inputs] = tensor.dims();
                let one = tensor.clone().slice([expert..expert + 1, 0..outputs, 0..inputs]);
                one.reshape([outputs, inputs])
            }
            Loaded::Vector(_) | Loaded::Matrix(_) => panic!("weight {id} is not experts, as is needed"),
        }
    }
}

/// Bytes of a tensor that are read and widened at a time: a fraction of a second,
/// so that a load that nobody waits for any more soon ends.
const SLICE_BYTES: usize = 16 << 20;

/// The file of a model, or the files.
pub(crate) struct File {
    parts: Vec<(PathBuf, std::fs::File)>,
    slice_bytes: usize,
}

impl File {
    pub(crate) fn open(paths: Vec<PathBuf>) -> Result<Self, BuildError> {
        let part = |path: PathBuf| match std::fs::File::open(&path) {
            Ok(file) => Ok((path, file)),
            Err(source) => Err(BuildError::File { path, source }),
        };
        let parts = paths.into_iter().map(part).collect::<Result<_, _>>()?;
        Ok(Self { parts, slice_bytes: SLICE_BYTES })
    }

    /// The elements of a small tensor.
    pub(crate) fn numbers(&mut self, tensor: &hearth_model::Tensor) -> Result<Vec<f32>, BuildError> {
        self.numbers_watched(tensor, &mut |_| Ok(()))
    }

    /// A tensor's elements. `read` is told the bytes of each slice, of at most
    /// [`SLICE_BYTES`], once it is widened, and may end the reading.
    fn numbers_watched(
        &mut self,
        tensor: &hearth_model::Tensor,
        read: &mut dyn FnMut(u64) -> Result<(), BuildError>,
    ) -> Result<Vec<f32>, BuildError> {
        let Self { parts, slice_bytes } = self;
        let Some((path, file)) = parts.get_mut(tensor.file) else {
            let message = format!("tensor `{}` is in a file that is not there", tensor.name);
            return Err(BuildError::Internal { message });
        };
        let bytes = usize::try_from(tensor.bytes).map_err(|_| too_large(path, tensor))?;
        let elements = usize::try_from(tensor.elements()).map_err(|_| too_large(path, tensor))?;
        let unreadable = |source| BuildError::File { path: path.clone(), source };
        file.seek(SeekFrom::Start(tensor.offset)).map_err(unreadable)?;

        let (block_len, block_bytes) =
            (tensor.dtype.block_len() as usize, tensor.dtype.block_bytes() as usize);
        let slice_blocks = *slice_bytes / block_bytes;
        let mut packed = vec![0; bytes.min(slice_blocks * block_bytes)];
        let mut numbers = vec![0.0; elements];
        for numbers in numbers.chunks_mut(slice_blocks * block_len) {
            let packed = &mut packed[..numbers.len() / block_len * block_bytes];
            file.read_exact(packed).map_err(unreadable)?;
            // Tasks of some ten thousand elements, and whole blocks.
            let blocks = 1 << 10;
            numbers
                .par_chunks_mut(blocks * block_len)
                .zip(packed.par_chunks(blocks * block_bytes))
                .try_for_each(|(numbers, packed)| dequantize(tensor.dtype, packed, numbers))
                .map_err(|error| BuildError::Model {
                    path: path.clone(),
                    message: format!("tensor `{}`: {error}", tensor.name),
                })?;
            read(packed.len() as u64)?;
        }
        Ok(numbers)
    }
}

fn too_large(path: &Path, tensor: &hearth_model::Tensor) -> BuildError {
    let message =
        format!("tensor `{}` has {} bytes, more than this machine addresses", tensor.name, tensor.bytes);
    BuildError::Model { path: path.to_owned(), message }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use burn::tensor::Device;
    use hearth_model::{DType, Tensor};

    use super::{File, Weights};
    use hearth_program::BuildError;
    use hearth_program::Watch;
    use hearth_program::arch::{Weight, WeightShape};

    /// Notes what it is told, and stops when it was told so often.
    struct Patience {
        told: Vec<u64>,
        calls: usize,
    }

    impl Watch for Patience {
        fn progress(&mut self, done: u64, _: u64) -> Result<(), BuildError> {
            self.told.push(done);
            if self.told.len() == self.calls { Err(BuildError::Cancelled) } else { Ok(()) }
        }
    }

    #[test]
    fn a_large_tensor_is_read_in_slices_and_each_is_told() {
        // Two slices of 5 blocks, which do not fill them, and a bit. The low nibbles
        // of every block count up, at a scale of 1.
        let (slice_bytes, blocks) = (100, 13);
        let block = |i: usize| [0, 0x3c].into_iter().chain([i as u8; 16]);
        let bytes = (0..blocks).flat_map(block).collect::<Vec<u8>>();
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(&[7; 32]).unwrap();
        file.write_all(&bytes).unwrap();
        let shape = vec![blocks as u64, 32];
        let total = bytes.len() as u64;
        let tensor =
            Tensor { name: "t".into(), dtype: DType::Q4_0, shape, file: 0, offset: 32, bytes: total };
        let mut file = File { slice_bytes, ..File::open(vec![file.path().to_owned()]).unwrap() };

        let numbers = file.numbers(&tensor).unwrap();
        assert_eq!(numbers.len(), blocks * 32);
        for (i, block) in numbers.chunks(32).enumerate() {
            assert_eq!((block[0], block[31]), (i as f32 - 8.0, -8.0), "block {i}");
        }

        let weight = [Weight {
            tensors: vec![tensor],
            shape: WeightShape::Matrix { outputs: blocks, inputs: 32 },
            plus: 0.0,
        }];
        let slice = 5 * 18;
        for (calls, told) in [(9, vec![0, slice, 2 * slice, total]), (2, vec![0, slice])] {
            let mut watch = Patience { told: Vec::new(), calls };
            let read = Weights::read(&weight, &mut file, &Device::flex(), &mut watch);
            assert_eq!((read.is_ok(), watch.told), (calls == 9, told));
        }
    }
}
