//! A request as it goes to workers: checked and encoded once, shared by every try of every
//! choice.

use std::sync::Arc;

use bytes::{BufMut as _, Bytes};
use hearth_proto::{
    FORWARDED_MESSAGE,
    inference::v1::{GenerateRequest, GenerateResponse, SamplingOptions},
};
use prost::Message as _;
use tonic::{
    Status,
    codec::{Codec, EncodeBuf, Encoder},
};
use tonic_prost::{ProstCodec, ProstDecoder};

use super::demand;
use crate::gateway::{balance::Demand, memory::Held, refusal::Refusal, validate};

/// A request to generate that was checked. Clones share its bytes.
#[derive(Clone, Debug)]
pub struct Message {
    model: Arc<str>,
    demand: Demand,
    bytes: Bytes,
    /// The seed that `bytes` hold.
    seed: Option<u64>,
    /// Which of the answers to the request this one asks for.
    nth: u32,
    _held: Arc<Held>,
}

impl Message {
    /// Checks a request and encodes it; `held` becomes what that takes.
    ///
    /// # Errors
    /// When a field is wrong, when the whole is more than a worker takes, or when there is no
    /// memory for it.
    pub(super) fn new(request: &GenerateRequest, mut held: Held) -> Result<Self, Refusal> {
        validate::generate(request)?;
        validate::size(request.encoded_len(), FORWARDED_MESSAGE)?;
        held.resize(held.bytes().max(request.encoded_len()))?;
        let bytes = Bytes::from(request.encode_to_vec());
        held.resize(bytes.len())?;
        Ok(Self {
            model: request.model.as_str().into(),
            demand: demand(request),
            bytes,
            seed: request.sampling.as_ref().and_then(|sampling| sampling.seed),
            nth: 0,
            _held: Arc::new(held),
        })
    }

    /// The same for another answer. Its seed, if there is one, follows from the first one's.
    #[must_use]
    pub fn nth(&self, nth: u32) -> Self {
        Self { nth, ..self.clone() }
    }

    pub(super) fn model(&self) -> &Arc<str> {
        &self.model
    }

    pub(super) fn demand(&self) -> Demand {
        self.demand
    }

    /// What comes after the shared bytes: of a field that is there twice the last one counts, and
    /// messages that are there twice become one.
    fn rest(&self) -> Option<GenerateRequest> {
        let seed = self.seed.filter(|_| self.nth > 0)?;
        // Draws of neighbouring seeds have nothing in common.
        let seed = Some(seed.wrapping_add(self.nth.into()));
        let sampling = Some(SamplingOptions { seed, ..SamplingOptions::default() });
        Some(GenerateRequest { sampling, ..GenerateRequest::default() })
    }
}

/// Sends a [`Message`] as it is.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct MessageCodec;

impl Codec for MessageCodec {
    type Encode = Message;
    type Decode = GenerateResponse;
    type Encoder = Self;
    type Decoder = ProstDecoder<GenerateResponse>;

    fn encoder(&mut self) -> Self {
        *self
    }

    fn decoder(&mut self) -> Self::Decoder {
        ProstCodec::<GenerateRequest, _>::default().decoder()
    }
}

impl Encoder for MessageCodec {
    type Item = Message;
    type Error = Status;

    fn encode(&mut self, message: Message, buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
        let rest = message.rest().map(|rest| rest.encode_to_vec()).unwrap_or_default();
        buffer.reserve(message.bytes.len() + rest.len());
        buffer.put_slice(&message.bytes);
        buffer.put_slice(&rest);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use hearth_proto::inference::v1::{StopOptions, generate_request::Input};

    use super::*;
    use crate::gateway::memory::Memory;

    fn request(seed: Option<u64>) -> GenerateRequest {
        GenerateRequest {
            model: "chat".into(),
            input: Some(Input::Prompt("x".repeat(1000))),
            sampling: Some(SamplingOptions { temperature: Some(0.5), seed, ..Default::default() }),
            stop: Some(StopOptions { sequences: vec!["a".into(), "b".into()], ..Default::default() }),
            ..GenerateRequest::default()
        }
    }

    fn sent(message: &Message) -> GenerateRequest {
        let rest = message.rest().map(|rest| rest.encode_to_vec()).unwrap_or_default();
        GenerateRequest::decode([&message.bytes[..], &rest].concat().as_slice()).unwrap()
    }

    #[test]
    fn choices_share_all_but_the_seed() {
        let memory = Memory::new(10_000);
        let message = Message::new(&request(Some(u64::MAX)), memory.begin().unwrap()).unwrap();
        let used = memory.used();
        assert_eq!(used, message.bytes.len() as u64);
        let choices: Vec<_> = (0..16).map(|nth| message.nth(nth)).collect();
        assert_eq!(memory.used(), used, "sixteen choices are one request");
        assert_eq!(sent(&choices[0]), request(Some(u64::MAX)));
        assert_eq!(sent(&choices[2]), request(Some(1)));
        drop((message, choices));
        assert_eq!(memory.used(), 0);
        let random = Message::new(&request(None), memory.begin().unwrap()).unwrap();
        assert_eq!(sent(&random.nth(3)), request(None));
    }

    #[test]
    fn more_than_a_worker_takes_is_refused_before_it_waits() {
        let memory = Memory::new(u32::MAX);
        let mut request = request(None);
        request.input = Some(Input::Prompt("x".repeat(FORWARDED_MESSAGE)));
        let refusal = Message::new(&request, memory.begin().unwrap()).unwrap_err();
        assert!(matches!(refusal, Refusal::Invalid(_)), "{refusal}");
        assert_eq!(memory.used(), 0);
    }
}
