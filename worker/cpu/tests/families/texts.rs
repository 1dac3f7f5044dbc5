//! Texts whose tokens see ahead: the same vector in any company, and what is refused.

use hearth_cpu::Cpu;
use hearth_kernels::isa::Isa;
use hearth_model::DType;
use hearth_model::testing::{FamilyGolden, family_goldens};
use hearth_program::testing::FamilyFile;
use hearth_program::{Answers, Program, Row, Stage};

use super::{cpu, open};

const LAST: Stage = Stage::Prefill { last: true };

fn row(tokens: &[u32]) -> Row<'_> {
    Row { tables: &[], start: 0, tokens, stage: LAST }
}

/// The bits of each row's vector.
fn vectors(program: &mut dyn Program, batch: &[Row<'_>]) -> Vec<Vec<u32>> {
    let mut answers = Answers::default();
    program.step(batch, &mut answers).unwrap();
    let bits = |row| answers.get(row, 0).unwrap().iter().map(|x| x.to_bits()).collect();
    (0..batch.len()).map(bits).collect()
}

fn encoders() -> Vec<FamilyGolden> {
    let goldens = family_goldens().into_iter().filter(|golden| golden.name.contains("bert"));
    let goldens = goldens.collect::<Vec<_>>();
    assert_eq!(goldens.len(), 2);
    goldens
}

#[test]
fn a_texts_vector_is_its_own() {
    for golden in encoders() {
        let file = FamilyFile::new(&golden, &golden.safetensors(DType::F32));
        let [short, long] = [&golden.prompts[0].tokens[..], &golden.prompts[1].tokens[..]];
        let (context, one) = (golden.prompts[1].context, &long[..1]);
        let mut alone = open(&cpu(2), &file, context);
        let expected = [short, long, one].map(|text| vectors(&mut alone, &[row(text)]).remove(0));
        for (threads, isa) in [(1, None), (3, None), (2, Some(Isa::Portable))] {
            let cpu = isa.into_iter().fold(cpu(threads), Cpu::with_isa);
            let mut program = open(&cpu, &file, context);
            // More than there are rows, and pages, for at a time.
            let batch = [0, 1, 2, 1, 1, 0, 2].map(|which| [short, long, one][which]);
            let found = vectors(&mut program, &batch.map(row));
            let should = [0, 1, 2, 1, 1, 0, 2].map(|which: usize| expected[which].clone());
            assert_eq!(found, should, "{} {threads} {isa:?}", golden.name);
        }
    }
}

#[test]
fn parts_of_texts_are_refused() {
    for golden in encoders() {
        let file = FamilyFile::new(&golden, &golden.gguf(DType::F32).build());
        let mut program = open(&cpu(2), &file, 16);
        let text = [1; 17];
        let mut refused = |row: Row<'_>| program.step(&[row], &mut Answers::default()).unwrap_err().message;
        let fits = row(&text[..16]);
        assert!(refused(row(&text)).contains("ends at 17"));
        assert!(refused(Row { start: 1, tokens: &text[..2], ..fits }).contains("whole"));
        assert!(refused(Row { stage: Stage::Prefill { last: false }, ..fits }).contains("whole"));
        assert!(refused(Row { stage: Stage::Decode, ..fits }).contains("whole"));
        assert_eq!(vectors(&mut program, &[fits]).len(), 1);
    }
}
