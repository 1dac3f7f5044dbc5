//! What a request weighs once it is decoded.

use prost::{
    bytes::Buf as _,
    encoding::{DecodeContext, WireType, decode_key, decode_varint, skip_field},
};

/// Bytes that one field may take: a message of a chat is the largest that two bytes ask for, in
/// an array that grew by doubling.
const FIELD: usize = 256;
/// Bytes that one byte of packed numbers may take, likewise.
const PACKED: usize = 8;

/// What a length-delimited field holds, as far as many small things can be in it.
#[derive(Clone, Copy, Debug)]
enum Holds {
    Request,
    Chat,
    Message,
    Sampling,
    Dry,
    Constraint,
    Numbers,
    /// Texts, each a field.
    Texts,
}

impl Holds {
    fn field(self, tag: u32) -> Option<Self> {
        match (self, tag) {
            // Of both requests: what is field 3 of one is field 3 of the other.
            (Self::Request, 3) => Some(Self::Chat),
            (Self::Request, 4) => Some(Self::Numbers),
            (Self::Request, 5) => Some(Self::Sampling),
            (Self::Request, 6) => Some(Self::Texts),
            (Self::Request, 7) => Some(Self::Constraint),
            (Self::Chat, 1) => Some(Self::Message),
            (Self::Sampling, 11) => Some(Self::Dry),
            (Self::Dry | Self::Constraint, 5) => Some(Self::Texts),
            _ => None,
        }
    }
}

/// An upper bound of the bytes that a `GenerateRequest` or a `TokenizeRequest` takes once it is
/// decoded, beside those of its texts. What is no such message is not decoded any further than
/// here.
pub(super) fn weight(message: &[u8]) -> usize {
    count(message, Holds::Request)
}

fn count(mut bytes: &[u8], holds: Holds) -> usize {
    if matches!(holds, Holds::Numbers) {
        return bytes.len().saturating_mul(PACKED);
    }
    let mut sum = 0_usize;
    while bytes.has_remaining() {
        let Ok((tag, wire_type)) = decode_key(&mut bytes) else { break };
        sum = sum.saturating_add(FIELD);
        if wire_type != WireType::LengthDelimited {
            if skip_field(wire_type, tag, &mut bytes, DecodeContext::default()).is_err() {
                break;
            }
            continue;
        }
        let Ok(length) = decode_varint(&mut bytes) else { break };
        let Some((field, rest)) = usize::try_from(length).ok().and_then(|n| bytes.split_at_checked(n)) else {
            break;
        };
        bytes = rest;
        if let Some(inner) = holds.field(tag) {
            sum = sum.saturating_add(count(field, inner));
        }
    }
    sum
}

#[cfg(test)]
mod tests {
    use hearth_proto::inference::v1::{
        Chat, ChatMessage, GenerateRequest, StopOptions, TokenIds, ToolCall, generate_request::Input,
    };
    use prost::Message as _;

    use super::*;

    fn of(request: &GenerateRequest) -> usize {
        weight(&request.encode_to_vec())
    }

    fn chat(messages: Vec<ChatMessage>) -> GenerateRequest {
        let input = Some(Input::Chat(Chat { messages, ..Chat::default() }));
        GenerateRequest { input, ..GenerateRequest::default() }
    }

    #[test]
    fn many_small_things_weigh_more_than_their_bytes() {
        assert!(size_of::<ChatMessage>() * 2 <= FIELD && size_of::<ToolCall>() * 2 <= FIELD);
        let prompt = Input::Prompt("x".repeat(100_000));
        let prompt = GenerateRequest { model: "m".into(), input: Some(prompt), ..Default::default() };
        assert_eq!(of(&prompt), 2 * FIELD);
        assert!(of(&chat(vec![ChatMessage::default(); 1000])) >= 1000 * 2 * size_of::<ChatMessage>());
        let calls = ChatMessage { tool_calls: vec![ToolCall::default(); 1000], ..Default::default() };
        assert!(of(&chat(vec![calls])) >= 1000 * 2 * size_of::<ToolCall>());
        let stop = StopOptions { sequences: vec![String::new(); 1000], ..Default::default() };
        let stop = GenerateRequest { stop: Some(stop), ..Default::default() };
        assert!(of(&stop) >= 1000 * 2 * size_of::<String>());
        let ids = Input::Tokens(TokenIds { ids: vec![1; 1000] });
        let ids = GenerateRequest { input: Some(ids), ..Default::default() };
        assert!(of(&ids) >= 1000 * 2 * size_of::<u32>());
    }

    #[test]
    fn nonsense_ends_the_count() {
        for bytes in [&[0xff; 20][..], &[0x1a, 0x7f], &[0x1b], &[0x1a, 0xff, 0xff, 0xff, 0xff, 0x0f]] {
            assert!(weight(bytes) <= 20 * FIELD);
        }
    }
}
