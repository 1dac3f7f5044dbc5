//! What nodes multiply with.

use hearth_model::Tensor;

/// Numbers that the graph needs, and as what.
#[derive(Clone, Debug, PartialEq)]
pub struct Weight {
    /// Where its rows lie in the file, one tensor after another: a single one, but
    /// for experts that the file keeps apart. Some rows of a fused tensor are a
    /// tensor of their own here.
    pub tensors: Vec<Tensor>,
    /// What shape it has.
    pub shape: WeightShape,
    /// Added to every element while it is read: 1 where a file holds how far a norm's
    /// weight is from 1, else 0.
    pub plus: f32,
}

impl Weight {
    /// Bytes that it takes in the file.
    #[must_use]
    pub fn file_bytes(&self) -> u64 {
        // Parts of one file: their sum fits.
        self.tensors.iter().map(|tensor| tensor.bytes).sum()
    }

    /// Elements of all its tensors.
    #[must_use]
    pub fn elements(&self) -> u64 {
        self.tensors.iter().map(Tensor::elements).sum()
    }
}

/// The shape of a weight.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WeightShape {
    /// `[len]`.
    Vector {
        /// Elements.
        len: usize,
    },
    /// `[outputs, inputs]`, inputs next to each other.
    Matrix {
        /// Rows.
        outputs: usize,
        /// Columns.
        inputs: usize,
    },
    /// A matrix an expert: `[experts, outputs, inputs]`.
    Experts {
        /// Matrices.
        experts: usize,
        /// Rows of each.
        outputs: usize,
        /// Columns of each.
        inputs: usize,
    },
}

/// An index into [`super::Graph::weights`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct WeightId(pub usize);
