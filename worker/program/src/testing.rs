//! Takes programs through the goldens of families, for their tests.

use std::path::PathBuf;

use hearth_model::testing::{FamilyGolden, FamilyPrompt};

use crate::{Answers, PREFILL_CHUNK, PageId, Program, Row, Stage};

/// A file of a family's checkpoint, in a folder with the descriptions that belong to it.
/// It goes with the value.
#[derive(Debug)]
pub struct FamilyFile {
    folder: tempfile::TempDir,
    name: String,
}

impl FamilyFile {
    /// A file of these bytes, of either format.
    ///
    /// # Panics
    /// It cannot be written.
    #[must_use]
    pub fn new(golden: &FamilyGolden, bytes: &[u8]) -> Self {
        Self::of_files(golden, vec![("model".to_owned(), bytes.to_vec())])
    }

    /// Files of these names and bytes, of which the last is what is read.
    ///
    /// # Panics
    /// They cannot be written, or there are none.
    #[must_use]
    pub fn of_files(golden: &FamilyGolden, mut files: Vec<(String, Vec<u8>)>) -> Self {
        let name = files.last().expect("a file").0.clone();
        files.push(("config.json".to_owned(), golden.config.to_string().into_bytes()));
        if let Some(pooling) = &golden.pooling {
            let mode = match pooling.as_str() {
                "mean" => "mean_tokens",
                "first" => "cls_token",
                _ => "lasttoken",
            };
            let json = format!("{{\"pooling_mode_{mode}\":true}}");
            files.push(("1_Pooling/config.json".to_owned(), json.into_bytes()));
        }
        let folder = tempfile::tempdir().expect("a folder");
        for (name, bytes) in files {
            let path = folder.path().join(name);
            std::fs::create_dir_all(path.parent().expect("a file in the folder")).expect("a folder");
            std::fs::write(path, bytes).expect("a file");
        }
        Self { folder, name }
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> PathBuf {
        self.folder.path().join(&self.name)
    }
}

/// How a prompt is cut into steps. What sees ahead takes a text as a whole, always.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Steps {
    /// As an engine does: the prompt in pieces, and what follows it token by token.
    Pieces,
    /// Token by token.
    Single,
    /// A piece of some tokens at first, and everything else as one row of guesses.
    Guesses,
}

/// Takes a prompt through a program, and returns the answers to its last tokens.
///
/// # Panics
/// The program refuses a step.
pub fn answers(program: &mut dyn Program, prompt: &FamilyPrompt, steps: Steps) -> Vec<Vec<f32>> {
    let FamilyPrompt { tokens, answers: expected, .. } = prompt;
    let pages = program.pages().groups.iter().map(|group| group.pages);
    let tables: Vec<Vec<PageId>> = pages.map(|pages| (0..pages as u32).map(PageId).collect()).collect();
    // The last answer of a prompt is to its last token.
    let read = tokens.len() + 1 - expected.len();
    let piece = match steps {
        _ if tables.is_empty() => read,
        Steps::Pieces => PREFILL_CHUNK,
        Steps::Single => 1,
        Steps::Guesses => read.div_ceil(2),
    };
    let mut rows = Vec::new();
    for start in (0..read).step_by(piece) {
        let end = read.min(start + piece);
        rows.push((start, end, Stage::Prefill { last: end == read }));
    }
    match steps {
        Steps::Guesses if read < tokens.len() => rows.push((read, tokens.len(), Stage::Decode)),
        _ => rows.extend((read..tokens.len()).map(|at| (at, at + 1, Stage::Decode))),
    }
    let mut found = Vec::new();
    for (start, end, stage) in rows {
        let mut answers = Answers::default();
        let row = Row { tables: &tables, start, tokens: &tokens[start..end], stage };
        program.step(&[row], &mut answers).expect("a row that can be computed");
        found.extend((0..answers.count(0)).filter_map(|nth| answers.get(0, nth).map(<[f32]>::to_vec)));
    }
    found
}

/// The largest difference from the answers expected, relative to the largest of them.
///
/// # Panics
/// They are not as many, or not as long.
#[must_use]
pub fn error(found: &[Vec<f32>], expected: &[Vec<f32>]) -> f32 {
    assert_eq!(found.len(), expected.len());
    assert!(found.iter().zip(expected).all(|(a, b)| a.len() == b.len()), "answers of another length");
    let pairs = || found.iter().flatten().zip(expected.iter().flatten());
    let largest = pairs().map(|(_, b)| b.abs()).fold(0.0, f32::max);
    // Not a number is not within any bound.
    let worst = pairs().map(|(a, b)| (a - b).abs()).fold(0.0, |a, b| if b <= a { a } else { b });
    worst / largest
}
