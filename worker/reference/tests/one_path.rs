//! The same bits for a token, wherever rows begin and end.

use hearth_model::testing::{TinyLlama, family_goldens, tiny_llama_gguf};
use hearth_model::{DType, KvType, Shape};
use hearth_program::{Answers, PageId, Program, Row, Stage};
use hearth_reference::{Compute, KvStorage, ReferenceProgram};

const LEN: usize = 100;

struct Reader {
    program: ReferenceProgram,
    tables: Vec<Vec<PageId>>,
    answers: Answers,
    tokens: Vec<u32>,
    taken: usize,
}

impl Reader {
    fn new(file: &[u8]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("model");
        std::fs::write(&path, file).unwrap();
        let shape = Shape { context_tokens: 128, sequences: 1, kv_type: KvType::F16 };
        let storage = KvStorage::Kept(KvType::F16);
        let program = ReferenceProgram::open(&path, &shape, storage, Compute::Cpu).unwrap();
        let pages = program.pages().groups.iter().map(|group| group.pages as u32);
        let tables = pages.map(|pages| (0..4).map(|at| PageId(at % pages)).collect()).collect();
        let tokens = (0..LEN as u32).map(|at| 10 + at * 7919 % 61).collect();
        Self { program, tables, answers: Answers::default(), tokens, taken: 0 }
    }

    /// The answers to the next tokens.
    fn take(&mut self, len: usize, stage: Stage) -> Vec<Vec<u32>> {
        let Self { program, tables, answers, tokens, taken } = self;
        let row = Row { tables, start: *taken, tokens: &tokens[*taken..*taken + len], stage };
        program.step(&[row], answers).unwrap();
        *taken += len;
        let bits = |nth| answers.get(0, nth).unwrap().iter().map(|x| x.to_bits()).collect();
        (0..answers.count(0)).map(bits).collect()
    }

    /// All answers, where a prompt is cut like this and what follows is decoded in rows
    /// of so many.
    fn read(&mut self, cuts: &[usize], decoded: usize) -> Vec<Vec<u32>> {
        self.taken = 0;
        let mut answers = Vec::new();
        for (nth, cut) in cuts.iter().enumerate() {
            answers.extend(self.take(*cut, Stage::Prefill { last: nth + 1 == cuts.len() }));
        }
        while self.taken < LEN {
            answers.extend(self.take(decoded.min(LEN - self.taken), Stage::Decode));
        }
        answers
    }
}

#[test]
fn rows_may_begin_and_end_anywhere() {
    let mut models = vec![("tiny".to_owned(), tiny_llama_gguf(&TinyLlama::new(1)))];
    // Windows, caps, experts: whatever reads or chooses by rows.
    models.extend(family_goldens().iter().filter_map(|golden| {
        let generates = golden.pooling.is_none() && golden.prompts.iter().all(|p| p.context >= 64);
        generates.then(|| (golden.name.clone(), golden.gguf(DType::F32).build()))
    }));
    assert!(models.len() > 5, "{}", models.len());
    for (name, file) in models {
        let mut reader = Reader::new(&file);
        assert!(!reader.program.decodes_as_it_prefills());
        let whole = reader.read(&[90], 1);
        assert_eq!(whole.len(), 11);
        for cuts in [&[32, 58][..], &[16; 5], &[1, 89], &[64, 25, 1], &[7, 9, 64, 3, 7]] {
            let rest = 90 - cuts.iter().sum::<usize>();
            let mut cuts = cuts.to_vec();
            cuts.extend((rest > 0).then_some(rest));
            assert!(reader.read(&cuts, 4) == whole, "{name}: {cuts:?}");
        }
    }
}
