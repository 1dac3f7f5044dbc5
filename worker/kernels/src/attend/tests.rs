use proptest::prelude::*;

use super::*;
use crate::kv::Kind;

/// A layer's keys and values, as pages in some order and as numbers.
struct Sequence {
    form: PageForm,
    pages: Vec<Vec<u8>>,
    keys: Vec<f32>,
    values: Vec<f32>,
}

fn number(seed: u32, i: usize) -> f32 {
    let mixed = (i as u32 ^ seed.rotate_left(9)).wrapping_mul(2_654_435_761);
    ((mixed ^ mixed >> 15) % 4001) as f32 / 1000.0 - 2.0
}

impl Sequence {
    fn new(form: PageForm, tokens: usize, seed: u32) -> Self {
        let (k, v) = (form.kv_heads() * form.key_dim(), form.kv_heads() * form.value_dim());
        let keys = (0..tokens * k).map(|i| number(seed, i)).collect::<Vec<_>>();
        let values = (0..tokens * v).map(|i| number(seed + 1, i)).collect::<Vec<_>>();
        // What is not written may be anything but in a value's padding.
        let mut pages = vec![vec![0; form.bytes()]; tokens.div_ceil(PAGE_TOKENS)];
        for token in 0..tokens {
            let page = &mut pages[token / PAGE_TOKENS];
            let (k, v) = (&keys[token * k..][..k], &values[token * v..][..v]);
            form.append(Isa::detect(), page, token % PAGE_TOKENS, k, v);
        }
        Self { form, pages, keys, values }
    }

    fn whole(&self, isa: Isa, look: &Look, queries: Queries<'_>, kv_head: usize) -> Vec<f32> {
        let page = |n: usize| self.pages[n].as_slice();
        let task = Task { form: &self.form, look, page: &page, kv_head, queries };
        let columns = look.group * self.form.value_dim();
        let mut out = vec![f32::NAN; queries.tokens * columns];
        task.whole(isa, &mut Scratch::default(), &mut Block::whole(&mut out, columns));
        out
    }

    fn in_parts(&self, isa: Isa, look: &Look, queries: Queries<'_>, kv_head: usize) -> Vec<f32> {
        let page = |n: usize| self.pages[n].as_slice();
        let task = Task { form: &self.form, look, page: &page, kv_head, queries };
        let len = state_len(&self.form, task.rows());
        let splits = task.splits();
        let mut states = vec![f32::NAN; splits.len() * len];
        for (i, split) in splits.enumerate().collect::<Vec<_>>().into_iter().rev() {
            task.parts(isa, split..split + 1, &mut Scratch::default(), &mut states[i * len..][..len]);
        }
        let columns = look.group * self.form.value_dim();
        let mut out = vec![f32::NAN; queries.tokens * columns];
        finish(isa, &self.form, look.group, &mut states, &mut Block::whole(&mut out, columns));
        out
    }

    /// The definition in double precision.
    fn expected(&self, look: &Look, query: &[f32], position: usize, kv_head: usize) -> Vec<f64> {
        let (heads, kd, vd) = (self.form.kv_heads(), self.form.key_dim(), self.form.value_dim());
        let length = self.keys.len() / (heads * kd);
        let seen = match look.sight {
            Sight::Past { window } => window.map_or(0, |w| (position + 1).saturating_sub(w))..position + 1,
            Sight::All => 0..length,
        };
        let score = |t: usize| {
            let key = &self.keys[(t * heads + kv_head) * kd..][..kd];
            let dot = query.iter().zip(key).map(|(q, k)| f64::from(*q) * f64::from(*k)).sum::<f64>();
            let s = dot * f64::from(look.scale);
            look.soft_cap.map_or(s, |cap| f64::from(cap) * (s / f64::from(cap)).tanh())
        };
        let weights = seen.clone().map(|t| score(t).exp()).collect::<Vec<_>>();
        let sum = weights.iter().sum::<f64>();
        let value = |t: usize, d: usize| f64::from(self.values[(t * heads + kv_head) * vd + d]);
        let read = |d| weights.iter().zip(seen.clone()).map(|(w, t)| w * value(t, d)).sum::<f64>() / sum;
        (0..vd).map(read).collect()
    }
}

fn bits(x: &[f32]) -> Vec<u32> {
    x.iter().map(|x| x.to_bits()).collect()
}

fn looks() -> impl Strategy<Value = Look> {
    let cap = prop_oneof![Just(None), Just(Some(3.0))];
    let window = |window| Sight::Past { window };
    let sight = prop_oneof![
        Just(window(None)),
        (1usize..300).prop_map(move |tokens| window(Some(tokens))),
        Just(Sight::All)
    ];
    (1usize..6, cap, sight).prop_map(|(group, soft_cap, sight)| Look { group, scale: 0.2, soft_cap, sight })
}

fn dims() -> impl Strategy<Value = (usize, usize)> {
    prop_oneof![Just((64, 64)), Just((32, 96)), Just((128, 128)), (1usize..50, 1usize..50)]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    /// One path: the same bits for a token in a prompt, alone and in splits, with all
    /// sets of instructions; and near the definition.
    #[test]
    fn a_row_is_the_same_however_it_is_computed(
        look in looks(), (kd, vd) in dims(), heads in 1usize..3,
        position in 0usize..600, tokens in 1usize..40, seed in 0u32..1000,
    ) {
        let width = heads * look.group * kd;
        let queries = (0..tokens * width).map(|i| number(seed + 2, i)).collect::<Vec<_>>();
        for kind in [Kind::F32, Kind::F16, Kind::Q8_0] {
            let form = PageForm::new(kind, heads, kd, vd).unwrap();
            let sequence = Sequence::new(form, position + tokens, seed);
            for kv_head in 0..heads {
                let at = kv_head * look.group * kd;
                let length = position + tokens;
                let all = Queries { numbers: &queries[at..], stride: width, tokens, position, length };
                let prompt = sequence.whole(Isa::Portable, &look, all, kv_head);
                for isa in Isa::available() {
                    prop_assert_eq!(bits(&sequence.whole(isa, &look, all, kv_head)), bits(&prompt));
                    prop_assert_eq!(bits(&sequence.in_parts(isa, &look, all, kv_head)), bits(&prompt));
                }
                for (token, row) in prompt.chunks(look.group * vd).enumerate() {
                    let one = &queries[token * width + at..][..look.group * kd];
                    let alone = Queries { numbers: one, tokens: 1, position: position + token, ..all };
                    prop_assert_eq!(bits(&sequence.in_parts(Isa::detect(), &look, alone, kv_head)), bits(row));
                    if kind == Kind::F32 && token % 7 == 0 {
                        for (query, row) in one.chunks(kd).zip(row.chunks(vd)) {
                            let expected = sequence.expected(&look, query, position + token, kv_head);
                            for (is, should) in row.iter().zip(expected) {
                                prop_assert!((f64::from(*is) - should).abs() < 2e-5, "{is} {should}");
                            }
                        }
                    }
                }
            }
        }
    }
}

/// Slots behind a sequence's last token are never looked at, nor pages before its window.
#[test]
fn what_nobody_wrote_is_not_read() {
    let form = PageForm::new(Kind::F16, 1, 32, 32).unwrap();
    let look = Look { group: 2, scale: 0.2, soft_cap: None, sight: Sight::Past { window: Some(40) } };
    let query = (0..64).map(|i| number(5, i)).collect::<Vec<_>>();
    let queries = Queries { numbers: &query, stride: 64, tokens: 1, position: 200, length: 201 };
    let mut sequence = Sequence::new(form, 201, 1);
    let clean = sequence.whole(Isa::detect(), &look, queries, 0);
    // Tokens 161 to 200 are seen: pages 5 and 6. What is not a number stands elsewhere.
    for page in &mut sequence.pages[..5] {
        page.fill(0xff);
    }
    let nan = [f32::NAN; 32];
    for slot in 200 % 32 + 1..32 {
        form.append(Isa::detect(), &mut sequence.pages[6], slot, &nan, &nan);
    }
    form.append(Isa::detect(), &mut sequence.pages[5], 0, &nan, &nan);
    assert_eq!(bits(&sequence.whole(Isa::detect(), &look, queries, 0)), bits(&clean));
    assert!(clean.iter().all(|x| x.is_finite()));
}

#[test]
fn what_is_not_finite_shows() {
    let form = PageForm::new(Kind::F32, 1, 16, 16).unwrap();
    let look = Look { group: 1, scale: 1.0, soft_cap: None, sight: Sight::Past { window: None } };
    let queries = Queries { numbers: &[1.0; 16], stride: 16, tokens: 1, position: 150, length: 151 };
    for bad in [f32::NAN, f32::INFINITY] {
        let mut sequence = Sequence::new(form, 151, 1);
        form.append(Isa::detect(), &mut sequence.pages[0], 3, &[bad; 16], &[0.0; 16]);
        assert!(sequence.whole(Isa::detect(), &look, queries, 0).iter().all(|x| x.is_nan()));
    }
}
