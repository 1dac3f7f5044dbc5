use proptest::prelude::*;

use super::*;
use crate::isa::Isa;
use crate::lanes::{Lanes, kernel};

kernel! {
    fn widen(form: &PageForm, page: &[u8], head: usize, keys: &mut [f32], values: &mut [f32]) as widen_body {}
}

unsafe fn widen_body<L: Lanes>(
    form: &PageForm,
    page: &[u8],
    head: usize,
    keys: &mut [f32],
    values: &mut [f32],
) {
    let (k, v) = form.head(page, head);
    // SAFETY: the caller's contract.
    unsafe {
        widen_keys::<L>(form, k, keys);
        widen_values::<L>(form, v, values);
    }
}

#[test]
fn bytes_are_those_of_the_numbers() {
    let bytes = |kind, heads, key, value| PageForm::new(kind, heads, key, value).unwrap().bytes();
    assert_eq!(bytes(Kind::F32, 3, 64, 64), 3 * 32 * 128 * 4);
    assert_eq!(bytes(Kind::F16, 3, 64, 64), 3 * 32 * 128 * 2);
    assert_eq!(bytes(Kind::Q8_0, 3, 64, 64), 3 * 32 * 4 * 34);
    // Values are whole vectors.
    assert_eq!(bytes(Kind::F16, 1, 20, 20), 32 * (20 + 32) * 2);
    assert_eq!(bytes(Kind::Q8_0, 1, 20, 40), 32 * 3 * 34);
    assert_eq!(PageForm::new(Kind::F16, 0, 64, 64), None);
    assert_eq!(PageForm::new(Kind::F16, 1, usize::MAX / 2, 64), None);
    for kind in [Kind::F32, Kind::F16, Kind::Q8_0] {
        assert!(bytes(kind, 1, 7, 9).is_multiple_of(64));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn what_is_appended_is_read(heads in 1usize..4, key_dim in 1usize..70, value_dim in 1usize..70, seed in 0u32..1000) {
        let number = |i: usize| (((i as u32).wrapping_mul(2_654_435_761) ^ seed) % 2001) as f32 / 500.0 - 2.0;
        let keys = (0..PAGE_TOKENS * heads * key_dim).map(number).collect::<Vec<_>>();
        let values = (0..PAGE_TOKENS * heads * value_dim).map(|i| number(i + 77)).collect::<Vec<_>>();
        // Half precision keeps 11 bits; bytes keep a 127th of the largest, halved.
        for (kind, error) in [(Kind::F32, 0.0), (Kind::F16, 2.0 / 2048.0), (Kind::Q8_0, 2.02 / 254.0)] {
            let form = PageForm::new(kind, heads, key_dim, value_dim).unwrap();
            let mut first = None;
            for isa in Isa::available() {
                let mut page = vec![0; form.bytes()];
                // In another order than that of slots.
                for slot in (0..PAGE_TOKENS).map(|i| i * 5 % PAGE_TOKENS) {
                    let (k, v) = (heads * key_dim, heads * value_dim);
                    form.append(isa, &mut page, slot, &keys[slot * k..][..k], &values[slot * v..][..v]);
                }
                let padded = form.padded_value_dim();
                for head in 0..heads {
                    let (mut k, mut v) = (vec![f32::NAN; key_dim * 32], vec![f32::NAN; padded * 32]);
                    widen(isa, &form, &page, head, &mut k, &mut v);
                    for token in 0..PAGE_TOKENS {
                        for d in 0..key_dim {
                            let should = keys[(token * heads + head) * key_dim + d];
                            prop_assert!((k[d * 32 + token] - should).abs() <= error);
                        }
                        for d in 0..padded {
                            let should = if d < value_dim { values[(token * heads + head) * value_dim + d] } else { 0.0 };
                            prop_assert!((v[token * padded + d] - should).abs() <= error);
                        }
                    }
                }
                prop_assert_eq!(first.get_or_insert(page.clone()), &page);
            }
        }
    }
}

#[test]
fn what_is_not_finite_shows() {
    for kind in [Kind::F32, Kind::F16, Kind::Q8_0] {
        let form = PageForm::new(kind, 1, 32, 32).unwrap();
        let mut page = vec![0; form.bytes()];
        let mut x = [1.0; 32];
        x[3] = f32::NAN;
        form.append(Isa::detect(), &mut page, 5, &x, &x);
        let (mut k, mut v) = (vec![0.0; 32 * 32], vec![0.0; 32 * 32]);
        widen(Isa::detect(), &form, &page, 0, &mut k, &mut v);
        assert!(k[3 * 32 + 5].is_nan() && v[5 * 32 + 3].is_nan());
        assert!(k[3 * 32 + 4] == 0.0 && v[4 * 32 + 3] == 0.0);
    }
}
