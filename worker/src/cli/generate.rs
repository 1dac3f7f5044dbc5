//! `hearth-worker generate`: the worker alone, from a file.

use std::io::Write;
use std::path::PathBuf;
use std::sync::mpsc;
use std::time::Instant;

use anyhow::{Context, anyhow};
use clap::Args;
use hearth_engine::{
    Chat, ChatMessage, Engine, FinishReason, Gone, Input, Item, LoadEvent, LoadSpec, Request, Sampling,
    Shortcuts, Stop, Usage,
};
use hearth_model::KvType;

use super::engine::EngineCompute;

#[derive(Debug, Args)]
pub(super) struct GenerateArgs {
    /// A GGUF file.
    #[arg(long, value_name = "FILE")]
    model: PathBuf,
    /// The text to continue, or with --chat the user's message.
    #[arg(long, value_name = "TEXT")]
    prompt: String,
    /// Render the prompt as a chat, with the template in the file.
    #[arg(long)]
    chat: bool,
    /// A system message before it.
    #[arg(long, value_name = "TEXT", requires = "chat")]
    system: Option<String>,

    /// Tokens to generate at the most.
    #[arg(long, default_value_t = 128, value_name = "N")]
    max_tokens: u32,
    /// 0 always takes the likeliest token.
    #[arg(long, default_value_t = 0.0, value_name = "0..2")]
    temperature: f32,
    /// Keep the k likeliest tokens; 0 keeps all.
    #[arg(long, default_value_t = 0, value_name = "K")]
    top_k: u32,
    /// Keep the smallest set of tokens whose probabilities reach this sum.
    #[arg(long, default_value_t = 1.0, value_name = "0..1")]
    top_p: f32,
    /// Drop tokens less likely than this fraction of the likeliest.
    #[arg(long, default_value_t = 0.0, value_name = "0..1")]
    min_p: f32,
    /// The same seed gives the same text.
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
    /// End before this text; may be repeated.
    #[arg(long, value_name = "TEXT")]
    stop: Vec<String>,

    /// Tokens that prompt and answer may have together.
    #[arg(long, default_value_t = 2048, value_name = "N")]
    context: u32,
    /// What to compute on.
    #[arg(long, value_enum, default_value_t = EngineCompute::Cpu)]
    compute: EngineCompute,
}

/// The engine's name for the only model.
const ID: &str = "model";

impl GenerateArgs {
    pub(super) fn run(self) -> anyhow::Result<()> {
        let engine = Engine::start(self.compute.backend(None)).context("cannot start the engine")?;
        let began = Instant::now();
        load(&engine, &self)?;
        tracing::info!(seconds = began.elapsed().as_secs_f32(), "loaded");

        let began = Instant::now();
        let usage = answer(&engine, self.into_request())?;
        let seconds = began.elapsed().as_secs_f64();
        let Usage { prompt_tokens, cached_tokens: _, completion_tokens } = usage;
        tracing::info!(
            prompt_tokens,
            completion_tokens,
            tokens_per_second = f64::from(completion_tokens) / seconds,
            "done"
        );
        Ok(())
    }

    fn into_request(self) -> Request {
        let input = if self.chat {
            let system = self.system.map(|text| ChatMessage::new("system", text));
            let messages = system.into_iter().chain([ChatMessage::new("user", self.prompt)]).collect();
            Input::Chat(Chat::new(messages))
        } else {
            Input::Prompt(self.prompt)
        };
        Request {
            input,
            sampling: Sampling {
                temperature: self.temperature,
                top_k: self.top_k,
                top_p: self.top_p,
                min_p: self.min_p,
                seed: self.seed,
                ..Sampling::default()
            },
            stop: Stop {
                max_tokens: Some(self.max_tokens),
                sequences: self.stop,
                ignore_eos: false,
                min_tokens: 0,
            },
            constraint: None,
            shortcuts: Shortcuts::default(),
        }
    }
}

fn load(engine: &Engine, args: &GenerateArgs) -> anyhow::Result<()> {
    let (sender, events) = mpsc::channel();
    let spec = LoadSpec {
        id: ID.to_owned(),
        path: args.model.clone(),
        context_tokens: args.context,
        sequences: 1,
        kv_type: KvType::F16,
    };
    let _cancel = engine.load(
        spec,
        Box::new(move |event| {
            let _ = sender.send(event);
        }),
    );
    for event in events {
        match event {
            LoadEvent::Progress { .. } => {}
            LoadEvent::Loaded(_) => return Ok(()),
            LoadEvent::Failed(error) => return Err(error).context("cannot load the model"),
        }
    }
    Err(anyhow!("the engine ended while it loaded the model"))
}

/// Prints the answer as it comes.
fn answer(engine: &Engine, request: Request) -> anyhow::Result<Usage> {
    let (sender, items) = mpsc::channel();
    let sink = move |item| sender.send(item).map_err(|_| Gone);
    let _cancel = engine.generate(ID, request, Box::new(sink));
    let mut out = std::io::stdout().lock();
    for item in items {
        match item {
            Item::Delta { text, .. } => {
                out.write_all(text.as_bytes()).and_then(|()| out.flush()).context("cannot print")?;
            }
            Item::Finish { reason, usage, .. } => {
                writeln!(out).context("cannot print")?;
                if reason == FinishReason::Length {
                    tracing::info!("the answer was cut at --max-tokens or --context");
                }
                return Ok(usage);
            }
            Item::Failed(error) => return Err(error.into()),
        }
    }
    Err(anyhow!("the engine ended while it generated"))
}
