//! How far an engine's logits are from the oracle's: `f32` arithmetic on the
//! dequantized weights of the same file, keys and values kept as they are. Prints
//! one JSON object: by each path the Kullback-Leibler divergence from the oracle,
//! ours and llama.cpp's, and how often the same token is found likeliest.

mod compare;
mod programs;
mod theirs;

use std::num::NonZeroUsize;
use std::path::PathBuf;

use anyhow::{Context, ensure};
use clap::Parser;
use hearth_text::tokenizer::Tokenizer;
use serde::Serialize;

use compare::{Distance, Distances, Mean};

/// Compares engines' logits with the oracle's.
#[derive(Parser)]
struct Args {
    /// A GGUF file.
    #[arg(long, value_name = "FILE")]
    model: PathBuf,
    /// What is read.
    #[arg(long, value_name = "FILE")]
    text: PathBuf,
    /// The program that writes llama.cpp's logits.
    #[arg(long, value_name = "FILE")]
    llama: PathBuf,
    /// Tokens that are read from an empty context each.
    #[arg(long, default_value_t = 256, value_name = "TOKENS")]
    piece: usize,
    /// Pieces at the most; the text may be shorter.
    #[arg(long, default_value_t = 8, value_name = "N")]
    pieces: usize,
    /// Threads of each engine.
    #[arg(long, default_value = "2", value_name = "N")]
    threads: NonZeroUsize,
}

#[derive(Serialize)]
struct Report {
    tokens: usize,
    rows: Vec<Row>,
}

/// Both engines by one path, at the same positions.
#[derive(Serialize)]
struct Row {
    path: &'static str,
    ours: Distance,
    llama: Distance,
    /// How much farther from the oracle ours is, in nats.
    farther: Mean,
}

impl Row {
    fn new(path: &'static str, ours: Distances, llama: Distances) -> Self {
        let farther = ours.beyond(&llama);
        Self { path, ours: ours.sum_up(), llama: llama.sum_up(), farther }
    }
}

fn main() -> anyhow::Result<()> {
    let Args { model: path, text, llama, piece, pieces, threads } = Args::parse();
    let model = hearth_program::build::read(&path)?;
    let spec = model.tokenizer.as_ref().context("the file has no tokenizer")?;
    let tokenizer = Tokenizer::new(spec)?;
    let text = std::fs::read_to_string(&text).with_context(|| format!("cannot read {}", text.display()))?;
    let ids = tokenizer.encode(&text, false)?;
    // Some models are lost without their start token.
    let start = spec.bos.filter(|_| spec.add_bos);
    let room = piece.checked_sub(usize::from(start.is_some())).filter(|room| *room > 0);
    let room = room.context("a piece holds at least one token of text")?;
    let texts: Vec<Vec<u32>> = ids
        .chunks_exact(room)
        .take(pieces)
        .map(|piece| start.into_iter().chain(piece.iter().copied()).collect())
        .collect();
    ensure!(!texts.is_empty(), "the text has {} tokens and a piece has {piece}", ids.len());

    let mut oracle = programs::oracle(&path, piece)?;
    let mut ours = programs::ours(&path, piece, Some(threads))?;
    let mut decode = theirs::Logits::start(&llama, &path, 1, threads, &texts)?;
    let mut prefill = theirs::Logits::start(&llama, &path, piece, threads, &texts)?;
    let [mut our_decode, mut our_prefill, mut their_decode, mut their_prefill] =
        std::array::from_fn(|_| Distances::default());
    let width = oracle.width();
    let [mut wanted, mut got, mut theirs] = [const { Vec::new() }; 3];
    for text in &texts {
        oracle.decode(text, &mut wanted)?;
        ours.decode(text, &mut got)?;
        our_decode.add_all(&wanted, &got, width);
        decode.read(text.len() * width, &mut got)?;
        their_decode.add_all(&wanted, &got, width);
        // A step of ours answers for its last token only.
        prefill.read(text.len() * width, &mut theirs)?;
        for end in programs::prefill_ends(text.len()) {
            let last = (end - 1) * width..end * width;
            their_prefill.add_all(&wanted[last.clone()], &theirs[last.clone()], width);
            ours.prefill(&text[..end], &mut got)?;
            our_prefill.add_all(&wanted[last], &got, width);
        }
    }
    let rows =
        vec![Row::new("decode", our_decode, their_decode), Row::new("prefill", our_prefill, their_prefill)];
    let report = Report { tokens: texts.iter().map(Vec::len).sum(), rows };
    println!("{}", serde_json::to_string(&report)?);
    Ok(())
}
