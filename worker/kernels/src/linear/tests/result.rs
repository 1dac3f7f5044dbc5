//! What the result is.

use hearth_model::{DType, dequant::dequantize};

use super::made::{Fill, Made, Numbers, activations, same, whole};
use crate::isa::Isa;
use crate::linear::{Activations, Columns, OutView, Quantized, gather_row, multiply, quantize};
use crate::pack::{Layout, TILE, pack_rows};

/// Packing loses nothing: rows read back are what the file's bytes stand for.
#[test]
fn rows_come_back_to_the_bit() {
    for dtype in DType::READABLE {
        for fill in [Fill::Usual, Fill::Ones, Fill::Zeros, Fill::Extreme] {
            for inputs in [32, 288, 576] {
                let inputs = whole(*dtype, inputs);
                let made = Made::new(*dtype, 19, inputs, fill, 3);
                let mut rows = vec![0.0; 19 * inputs];
                dequantize(*dtype, &made.file, &mut rows).unwrap();
                let mut out = vec![0.0; inputs];
                for (i, row) in rows.chunks_exact(inputs).enumerate() {
                    gather_row(&made.matrix(), i, &mut out);
                    assert!(same(&out, row), "{dtype} {fill:?} {inputs} row {i}");
                }
            }
        }
    }
}

/// Within rounding, the twin is the product of what the weights and the activations
/// stand for.
#[test]
fn the_twin_is_the_product_of_what_codes_stand_for() {
    for dtype in DType::READABLE {
        let (rows, outputs, inputs) = (6, 20, whole(*dtype, 576));
        let made = Made::new(*dtype, outputs, inputs, Fill::Usual, 17);
        let mut x = activations(rows, inputs, &mut Numbers(18));
        let out = made.times(Isa::Portable, &x);
        if made.layout.is_quantized() {
            let mut quantized = Quantized::default();
            quantize(Isa::Portable, &x, inputs, &mut quantized);
            x.chunks_exact_mut(inputs).enumerate().for_each(|(i, x)| quantized.dequantize(i, x));
        }
        let mut weights = vec![0.0; outputs * inputs];
        dequantize(*dtype, &made.file, &mut weights).unwrap();
        for (x, out) in x.chunks_exact(inputs).zip(out.chunks_exact(outputs)) {
            for (w, out) in weights.chunks_exact(inputs).zip(out) {
                let products = w.iter().zip(x).map(|(w, x)| f64::from(*w) * f64::from(*x));
                let (sum, size) = products.fold((0.0, 0.0), |(sum, size), p| (sum + p, size + p.abs()));
                let error = (f64::from(*out) - sum).abs();
                assert!(error <= 4e-6 * size, "{dtype}: {error} of {size}");
            }
        }
    }
}

/// A row's result does not depend on its company.
#[test]
fn a_row_alone_is_the_row_in_a_batch() {
    for dtype in DType::READABLE {
        let (rows, inputs) = (29, whole(*dtype, 96));
        let made = Made::new(*dtype, 33, inputs, Fill::Usual, 23);
        let x = activations(rows, inputs, &mut Numbers(24));
        for isa in Isa::available() {
            let all = made.times(isa, &x);
            for (x, together) in x.chunks_exact(inputs).zip(all.chunks_exact(33)) {
                assert!(same(&made.times(isa, x), together), "{isa:?} {dtype}");
            }
            let part = made.times(isa, &x[5 * inputs..18 * inputs]);
            assert!(same(&part, &all[5 * 33..18 * 33]), "{isa:?} {dtype}");
        }
    }
}

/// Tasks with ranges of tiles, in any order, into a wider output.
#[test]
fn ranges_of_tiles_are_the_whole() {
    let made = Made::new(DType::Q5_0, 77, 64, Fill::Usual, 31);
    let x = activations(3, 64, &mut Numbers(32));
    let whole = made.times(Isa::detect(), &x);
    let mut quantized = Quantized::default();
    quantize(Isa::detect(), &x, 64, &mut quantized);
    let mut out = vec![-1.0; 3 * 100];
    let view = OutView::new(&mut out, 3, 100);
    for tiles in [3..5, 0..1, 1..3] {
        // SAFETY: one part lives at a time.
        let mut part = unsafe { view.columns(10 + tiles.start * TILE..10 + (tiles.end * TILE).min(77)) };
        multiply(Isa::detect(), &made.matrix(), Activations::from(&quantized), tiles, &mut part);
    }
    for (out, whole) in out.chunks_exact(100).zip(whole.chunks_exact(77)) {
        assert!(same(&out[10..87], whole));
        assert!(out[..10].iter().chain(&out[87..]).all(|x| *x == -1.0));
    }
}

#[test]
fn no_rows_are_no_results() {
    let made = Made::new(DType::Q8_0, 16, 32, Fill::Usual, 1);
    let mut columns = Columns::whole(&mut [], 0, 16);
    multiply(Isa::detect(), &made.matrix(), Activations::from(&Quantized::default()), 0..1, &mut columns);
}

/// Several calls pack what one does.
#[test]
fn parts_of_a_matrix_are_packed_apart() {
    let made = Made::new(DType::Q4_K, 50, 512, Fill::Usual, 41);
    let layout = Layout::of(DType::Q4_K, 50, 512).unwrap();
    let mut out = vec![1; layout.bytes()];
    let (a, b) = out.split_at_mut(2 * layout.tile_bytes());
    let (rows_a, rows_b) = made.file.split_at(32 * layout.row_bytes());
    pack_rows(&layout, 32, rows_b, b).unwrap();
    pack_rows(&layout, 0, rows_a, a).unwrap();
    assert_eq!(out, made.matrix().bytes);
}

/// What is not finite does not become a number.
#[test]
fn a_bad_activation_shows_in_every_output() {
    for dtype in DType::READABLE {
        let inputs = whole(*dtype, 64);
        let made = Made::new(*dtype, 16, inputs, Fill::Usual, 51);
        for isa in Isa::available() {
            let mut x = vec![0.5; inputs];
            x[40 % inputs] = f32::NAN;
            assert!(made.times(isa, &x).iter().all(|y| y.is_nan()), "{isa:?} {dtype}");
        }
    }
}
