//! Log probabilities as the two endpoints of OpenAI's API shape them.

use hearth_proto::inference::v1::{TokenLogprob, TokenLogprobs};
use serde_json::{Map, Value, json};

/// What stands for minus infinity, which JSON cannot write.
const IMPOSSIBLE: f32 = -9999.0;

/// The `logprobs` of a chat's choice.
pub(super) fn chat(logprobs: &[TokenLogprobs]) -> Value {
    let content = logprobs.iter().map(|TokenLogprobs { token, top }| {
        let mut entry = entry(&token.clone().unwrap_or_default());
        entry["top_logprobs"] = top.iter().map(self::entry).collect();
        entry
    });
    json!({"content": content.collect::<Vec<_>>(), "refusal": null})
}

/// The `logprobs` of a completion's choice, whose text has `offset` characters before these.
pub(super) fn completion(logprobs: &[TokenLogprobs], offset: usize) -> Value {
    let mut offset = offset;
    let (mut tokens, mut numbers, mut tops, mut offsets) = (vec![], vec![], vec![], vec![]);
    for TokenLogprobs { token, top } in logprobs {
        let token = token.clone().unwrap_or_default();
        let text = text(&token);
        offsets.push(offset);
        offset += text.chars().count();
        tokens.push(text);
        numbers.push(number(&token));
        let top = top.iter().map(|token| (self::text(token), json!(number(token))));
        tops.push(top.collect::<Map<_, _>>());
    }
    json!({"tokens": tokens, "token_logprobs": numbers, "top_logprobs": tops, "text_offset": offsets})
}

/// Characters of the text of these tokens.
pub(super) fn width(logprobs: &[TokenLogprobs]) -> usize {
    let tokens = logprobs.iter().filter_map(|logprobs| logprobs.token.as_ref());
    tokens.map(|token| text(token).chars().count()).sum()
}

fn entry(token: &TokenLogprob) -> Value {
    json!({"token": text(token), "logprob": number(token), "bytes": token.bytes})
}

/// A part of a character shows as a replacement; `bytes` has what it is.
fn text(token: &TokenLogprob) -> String {
    String::from_utf8_lossy(&token.bytes).into_owned()
}

fn number(token: &TokenLogprob) -> f32 {
    if token.logprob.is_finite() { token.logprob } else { IMPOSSIBLE }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token(bytes: &[u8], logprob: f32) -> TokenLogprob {
        TokenLogprob { id: 1, bytes: bytes.to_vec(), logprob }
    }

    fn logprobs() -> Vec<TokenLogprobs> {
        vec![
            TokenLogprobs { token: Some(token("é".as_bytes(), -0.5)), top: vec![token(b"e", -0.25)] },
            TokenLogprobs { token: Some(token(b"\xf0\x9f", f32::NEG_INFINITY)), top: vec![] },
        ]
    }

    #[test]
    fn chats_have_bytes() {
        assert_eq!(
            chat(&logprobs()),
            json!({
                "content": [
                    {
                        "token": "é", "logprob": -0.5, "bytes": [195, 169],
                        "top_logprobs": [{"token": "e", "logprob": -0.25, "bytes": [101]}],
                    },
                    {"token": "\u{fffd}", "logprob": -9999.0, "bytes": [240, 159], "top_logprobs": []},
                ],
                "refusal": null,
            })
        );
    }

    #[test]
    fn completions_have_offsets() {
        assert_eq!(
            completion(&logprobs(), 7),
            json!({
                "tokens": ["é", "\u{fffd}"],
                "token_logprobs": [-0.5, -9999.0],
                "top_logprobs": [{"e": -0.25}, {}],
                "text_offset": [7, 8],
            })
        );
        assert_eq!(width(&logprobs()), 2);
    }
}
