//! The same bits for a token, whatever is computed beside it and by whom.

use hearth_cpu::KvStorage;
use hearth_kernels::isa::Isa;
use hearth_model::{DType, KvType};
use hearth_program::{Answers, PREFILL_CHUNK, Program, Row, Stage};

use crate::files::{SIZES, decode, mixture, model, program, tables, tokens};

fn bits(x: &[f32]) -> Vec<u32> {
    x.iter().map(|x| x.to_bits()).collect()
}

/// Token by token, as a prompt in pieces, in company, with guesses that are thrown away,
/// and with other threads and instructions.
#[test]
fn a_row_is_a_function_of_its_own_tokens() {
    const LEN: usize = 300;
    let (prompt, other) = (tokens(3, LEN), tokens(4, LEN));
    for (dtype, file, storage) in [
        (DType::Q4_1, model(&SIZES, DType::Q4_1), KvStorage::Kept(KvType::F16)),
        (DType::Q6_K, model(&SIZES, DType::Q6_K), KvStorage::Kept(KvType::Q8_0)),
        (DType::F16, model(&SIZES, DType::F16), KvStorage::Exact),
        (DType::Q4_K, mixture(&SIZES, DType::Q4_K, DType::F32), KvStorage::Exact),
        (DType::BF16, mixture(&SIZES, DType::BF16, DType::Q8_0), KvStorage::Exact),
    ] {
        let mut first = program(file.path(), 2, None, storage);
        let alone = prompt
            .iter()
            .enumerate()
            .map(|(at, token)| decode(&mut first, &tables(0), at, &[*token]).remove(0))
            .collect::<Vec<_>>();
        assert!(alone.iter().flatten().all(|x| x.is_finite()));
        // What is shown below: a prompt's last answer and what is decoded after a prompt
        // are those of tokens that were decoded one by one.
        assert!(first.decodes_as_it_prefills());

        for (threads, isa) in [(1, None), (3, None), (2, Some(Isa::Portable))] {
            let mut program = program(file.path(), threads, isa, storage);
            let mut answers = Answers::default();
            // A prompt in pieces, beside one that is some tokens ahead, and one that decodes.
            let (mine, theirs, third) = (tables(0), tables(1), tables(2));
            let mut answered = Vec::new();
            for start in (0..LEN).step_by(PREFILL_CHUNK) {
                let piece = &prompt[start..LEN.min(start + PREFILL_CHUNK)];
                let last = Stage::Prefill { last: start + piece.len() == LEN };
                let decoding = start / PREFILL_CHUNK;
                let rows = [
                    Row {
                        tables: &third,
                        start: decoding,
                        tokens: &other[decoding..=decoding],
                        stage: Stage::Decode,
                    },
                    Row { tables: &mine, start, tokens: piece, stage: last },
                    Row { tables: &theirs, start, tokens: piece, stage: Stage::Decode },
                ];
                program.step(&rows, &mut answers).unwrap();
                answered.extend((0..piece.len()).map(|nth| answers.get(2, nth).unwrap().to_vec()));
                if let Some(answer) = answers.get(1, 0) {
                    assert_eq!(bits(answer), bits(&alone[LEN - 1]), "{dtype}: the prompt's last");
                }
            }
            for (at, (answer, alone)) in answered.iter().zip(&alone).enumerate() {
                assert_eq!(bits(answer), bits(alone), "{dtype}, {threads} threads, {isa:?}, token {at}");
            }
            // Wrong guesses, written over.
            decode(&mut program, &mine, LEN, &other[..5]);
            let right = decode(&mut program, &mine, LEN, &prompt[..2]);
            let expected = decode(&mut program, &theirs, LEN, &prompt[..1]);
            assert_eq!(bits(&right[0]), bits(&expected[0]));
        }
    }
}

#[test]
fn rows_that_cannot_be_computed_are_refused() {
    let file = model(&SIZES, DType::F32);
    let mut program = program(file.path(), 2, None, KvStorage::Exact);
    let mut answers = Answers::default();
    let tables = tables(0);
    let row = |start, tokens| Row { tables: &tables, start, tokens, stage: Stage::Decode };
    let mut refused = |rows: &[Row<'_>]| program.step(rows, &mut answers).unwrap_err().message;
    assert!(refused(&[row(0, &[1 << 20])]).contains("no token"));
    assert!(refused(&[row(512, &[1])]).contains("ends at 513"));
    assert!(refused(&[row(0, &[])]).contains("no tokens"));
    assert!(refused(&[row(3, &[1]), row(4, &[1])]).contains("one page"));
    program.step(&[row(0, &[1])], &mut answers).unwrap();
    assert_eq!(answers.rows(), 1);
}
