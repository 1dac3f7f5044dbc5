//! What is refused.

use hearth_model::DType;

use super::made::{Fill, Made};
use crate::isa::Isa;
use crate::linear::{Activations, Columns, Matrix, Quantized, gather_row, multiply, quantize};
use crate::pack::{Layout, PackError, pack_rows};

fn rows(inputs: usize) -> Quantized {
    let mut out = Quantized::default();
    quantize(Isa::Portable, &vec![1.0; inputs * 2], inputs, &mut out);
    out
}

fn times(made: &Made, x: Activations<'_>, tiles: std::ops::Range<usize>, rows: usize, width: usize) {
    let mut out = vec![0.0; rows * width];
    multiply(Isa::detect(), &made.matrix(), x, tiles, &mut Columns::whole(&mut out, rows, width));
}

macro_rules! refused {
    ($($name:ident, $message:literal: $what:expr;)*) => {$(
        #[test]
        #[should_panic(expected = $message)]
        fn $name() {
            let _ = $what;
        }
    )*};
}

refused! {
    tiles_beyond_the_last, "no tiles":
        times(&Made::new(DType::Q8_0, 20, 64, Fill::Usual, 1), Activations::from(&rows(64)), 1..3, 2, 16);
    rows_of_another_length, "rows of 96":
        times(&Made::new(DType::Q8_0, 16, 64, Fill::Usual, 1), Activations::from(&rows(96)), 0..1, 2, 16);
    plain_rows_for_quantized_weights, "take quantized":
        times(&Made::new(DType::Q8_0, 16, 64, Fill::Usual, 1), Activations::from(&[0.0; 128][..]), 0..1, 2, 16);
    quantized_rows_for_plain_weights, "take plain":
        times(&Made::new(DType::F16, 16, 64, Fill::Usual, 1), Activations::from(&rows(64)), 0..1, 2, 16);
    plain_rows_that_are_not_whole, "not whole rows":
        times(&Made::new(DType::F16, 16, 64, Fill::Usual, 1), Activations::from(&[0.0; 100][..]), 0..1, 1, 16);
    columns_of_padding, "other columns":
        times(&Made::new(DType::Q8_0, 20, 64, Fill::Usual, 1), Activations::from(&rows(64)), 0..2, 2, 32);
    another_number_of_rows, "other rows":
        times(&Made::new(DType::Q8_0, 16, 64, Fill::Usual, 1), Activations::from(&rows(64)), 0..1, 3, 16);
    bytes_of_another_matrix, "another matrix":
        Matrix::new(Layout::of(DType::Q8_0, 16, 64).unwrap(), &[0; 64]);
    a_row_beyond_the_last, "no row 20":
        gather_row(&Made::new(DType::Q8_0, 20, 64, Fill::Usual, 1).matrix(), 20, &mut [0.0; 64]);
    blocks_that_are_not_whole, "not whole blocks":
        quantize(Isa::Portable, &[0.0; 33], 33, &mut Quantized::default());
}

#[test]
fn rows_that_are_not_whole_tiles() {
    let layout = Layout::of(DType::Q4_0, 40, 64).unwrap();
    let (row, tile) = (layout.row_bytes(), layout.tile_bytes());
    let pack = |first, rows: usize, extra: usize, tiles: usize| {
        pack_rows(&layout, first, &vec![0; rows * row + extra], &mut vec![0; tiles * tile])
    };
    assert_eq!(pack(0, 40, 0, 3), Ok(()));
    assert_eq!(pack(32, 8, 0, 1), Ok(()));
    for (first, rows, extra) in [(8, 16, 0), (0, 17, 0), (32, 16, 0), (0, 16, 1), (usize::MAX - 15, 16, 0)] {
        assert!(matches!(pack(first, rows, extra, 1), Err(PackError::Rows { .. })), "{first} {rows} {extra}");
    }
    assert_eq!(pack(0, 16, 0, 2), Err(PackError::Output { bytes: 2 * tile, wanted: tile }));
}
