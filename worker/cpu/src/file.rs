//! Reading a model file: numbers, and matrices that are packed on the way.

use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use hearth_kernels::pack::{Layout, PackError, TILE, pack_rows};
use hearth_kernels::pool::{Chunks, Pool};
use hearth_model::dequant::dequantize;
use hearth_model::{Model, Tensor};
use hearth_program::{BuildError, build};

/// Bytes of a file that are packed between two looks at who waits.
const STEP_BYTES: usize = 16 << 20;
/// Bytes that a thread reads at a time: a piece stays in the second level of cache.
const READ_BYTES: usize = 256 << 10;

/// The file of a model, or the files.
#[derive(Debug)]
pub(crate) struct File {
    /// What the model was read at.
    path: PathBuf,
    parts: Vec<Part>,
}

#[derive(Debug)]
struct Part {
    path: PathBuf,
    file: std::fs::File,
}

impl Part {
    fn read(&self, bytes: &mut [u8], at: u64) -> Result<(), BuildError> {
        let unreadable = |source| BuildError::File { path: self.path.clone(), source };
        self.file.read_exact_at(bytes, at).map_err(unreadable)
    }
}

impl File {
    pub(crate) fn open(path: &Path, model: &Model) -> Result<Self, BuildError> {
        let part = |path: PathBuf| match std::fs::File::open(&path) {
            Ok(file) => Ok(Part { path, file }),
            Err(source) => Err(BuildError::File { path, source }),
        };
        let parts = build::files(path, model).into_iter().map(part).collect::<Result<_, _>>()?;
        Ok(Self { path: path.to_owned(), parts })
    }

    /// The file is not a model that can be run.
    pub(crate) fn refuse(&self, message: String) -> BuildError {
        BuildError::Model { path: self.path.clone(), message }
    }

    /// The file that a tensor lies in.
    fn part(&self, tensor: &Tensor) -> Result<&Part, BuildError> {
        let missing = || self.refuse(format!("tensor `{}` is in none of its files", tensor.name));
        self.parts.get(tensor.file).ok_or_else(missing)
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
        self.part(tensor)?.read(&mut bytes, tensor.offset)?;
        dequantize(tensor.dtype, &bytes, out)
            .map_err(|error| self.refuse(format!("tensor `{}`: {error}", tensor.name)))
    }

    /// Packs matrix `nth` of a tensor.
    pub(crate) fn pack(
        &self,
        tensor: &Tensor,
        nth: usize,
        layout: &Layout,
        out: &mut [u8],
        pool: &Pool,
        told: &mut dyn FnMut(u64) -> Result<(), BuildError>,
    ) -> Result<(), BuildError> {
        let part = self.part(tensor)?;
        let from = tensor.offset + (nth * layout.outputs() * layout.row_bytes()) as u64;
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
                let packed = part
                    .read(&mut buffer, at)
                    .and_then(|()| pack_rows(layout, first, &buffer, out).map_err(internal));
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

    /// Packs the matrix of a tensor in 32-bit floats, whatever its type: a small one.
    pub(crate) fn pack_widened(
        &self,
        tensor: &Tensor,
        layout: &Layout,
        out: &mut [u8],
    ) -> Result<(), BuildError> {
        let mut numbers = vec![0.0; self.elements(tensor)?];
        self.numbers(tensor, &mut numbers)?;
        let bytes = numbers.iter().flat_map(|number| number.to_le_bytes()).collect::<Vec<_>>();
        pack_rows(layout, 0, &bytes, out).map_err(internal)
    }
}

/// What was planned does not fit what is read.
fn internal(error: PackError) -> BuildError {
    BuildError::Internal { message: error.to_string() }
}
