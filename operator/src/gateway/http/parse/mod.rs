//! OpenAI requests, parsed once into requests of `hearth.inference.v1`.
//!
//! Fields that are not known are ignored, as OpenAI's own server does. Fields that are known,
//! not supported, and would change what the client gets, are refused by name: an answer that is
//! silently another one is worse than an error.

mod chat;
mod completion;
mod constraint;
mod fields;
mod message;
mod options;
mod sampling;
mod tools;
mod weight;

use hearth_proto::inference::v1::GenerateRequest;

pub(super) use self::weight::weight;
pub use self::{chat::chat, completion::completion};

/// What a model may call.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tools {
    /// Names of functions.
    pub names: Vec<String>,
    /// The first call is the last.
    pub only_one: bool,
}

/// A request and how to answer it.
#[derive(Clone, Debug, PartialEq)]
pub struct Parsed {
    /// What to generate.
    pub request: GenerateRequest,
    /// How many answers to generate.
    pub choices: u32,
    /// What the model may call.
    pub tools: Tools,
    /// Answer as server-sent events.
    pub stream: bool,
    /// Close the stream with a chunk that holds the usage.
    pub include_usage: bool,
}
