//! Checks a request before it costs anything. The worker checks again what only it can know,
//! such as the length of a prompt in tokens.

use hearth_proto::inference::v1::{
    Chat, Constraint, GenerateRequest, SamplingOptions, StopOptions, TokenizeRequest, generate_request,
    tokenize_request,
};

use super::refusal::{Refusal, Violation};

/// Bytes of the longest served name that a ServedModel may have.
pub const MAX_NAME: usize = 128;
/// Stop sequences a request may have.
pub const MAX_STOP_SEQUENCES: usize = 16;
/// Alternatives that a request may ask for beside each token.
pub const MAX_LOGPROBS: u32 = 20;

/// Checks a request to generate.
///
/// # Errors
/// [`Refusal::Invalid`] with every wrong field.
pub fn generate(request: &GenerateRequest) -> Result<(), Refusal> {
    // Shortcuts are the worker's to check, and cost a request nothing but its way there.
    let GenerateRequest { model, input, sampling, stop, constraint, shortcuts: _ } = request;
    let mut found = Violations::default();
    found.model(model);
    match input {
        None => found.add("input", "is missing: set one of prompt, chat and tokens"),
        Some(generate_request::Input::Prompt(prompt)) => found.prompt(prompt),
        Some(generate_request::Input::Chat(chat)) => found.chat(chat),
        Some(generate_request::Input::Tokens(tokens)) => {
            found.unless(!tokens.ids.is_empty(), "tokens.ids", || "is empty: send at least one id".into());
        }
    }
    if let Some(sampling) = sampling {
        found.sampling(sampling);
    }
    if let Some(stop) = stop {
        found.stop(stop);
    }
    if let Some(Constraint { form: None }) = constraint {
        found.add("constraint", "is empty: set one of json_schema, json_object, regex, lark and choice");
    }
    found.into_result()
}

/// Checks a request to tokenize.
///
/// # Errors
/// [`Refusal::Invalid`] with every wrong field.
pub fn tokenize(request: &TokenizeRequest) -> Result<(), Refusal> {
    let TokenizeRequest { model, input } = request;
    let mut found = Violations::default();
    found.model(model);
    match input {
        None => found.add("input", "is missing: set one of prompt and chat"),
        // No text has no tokens: a fair question with a fair answer.
        Some(tokenize_request::Input::Prompt(_)) => {}
        Some(tokenize_request::Input::Chat(chat)) => found.chat(chat),
    }
    found.into_result()
}

/// Checks a served name that is asked for.
///
/// # Errors
/// [`Refusal::Invalid`] when no model can have it.
pub fn name(model: &str) -> Result<(), Refusal> {
    let mut found = Violations::default();
    found.model(model);
    found.into_result()
}

/// Checks how long a request is as workers get it, in bytes.
///
/// # Errors
/// [`Refusal::Invalid`] when it is over `limit`.
pub fn size(bytes: usize, limit: usize) -> Result<(), Refusal> {
    if bytes <= limit {
        return Ok(());
    }
    let said = format!("is {bytes} bytes long as workers get it: send at most {limit}, or fewer tools");
    Err(Refusal::invalid("input", said))
}

#[derive(Default)]
struct Violations(Vec<Violation>);

impl Violations {
    fn add(&mut self, field: &str, description: impl Into<String>) {
        self.0.push(Violation { field: field.to_owned(), description: description.into() });
    }

    fn unless(&mut self, good: bool, field: &str, description: impl FnOnce() -> String) {
        if !good {
            self.add(field, description());
        }
    }

    fn model(&mut self, model: &str) {
        self.unless(!model.is_empty(), "model", || "is empty: name a served model".into());
        // Names are told again in errors, which are headers.
        self.unless(model.len() <= MAX_NAME, "model", || {
            format!("has {} bytes: no served name has more than {MAX_NAME}", model.len())
        });
    }

    fn prompt(&mut self, prompt: &str) {
        self.unless(!prompt.is_empty(), "prompt", || "is empty: send at least one character".into());
    }

    fn chat(&mut self, chat: &Chat) {
        self.unless(!chat.messages.is_empty(), "chat.messages", || {
            "is empty: send at least one message".into()
        });
        for (i, message) in chat.messages.iter().enumerate() {
            self.unless(!message.role.is_empty(), &format!("chat.messages[{i}].role"), || {
                "is empty: send system, user or assistant".into()
            });
        }
    }

    fn sampling(&mut self, sampling: &SamplingOptions) {
        // What is left out is the worker's to check, and costs a request nothing but its way there.
        let SamplingOptions {
            temperature,
            top_k: _,
            top_p,
            min_p,
            seed: _,
            typical_p,
            repetition_penalty,
            presence_penalty,
            frequency_penalty,
            penalty_window: _,
            dry: _,
            logit_bias: _,
            logprobs,
        } = sampling;
        let mut within = |name: &str, value: &Option<f32>, good: fn(f32) -> bool, range: &str| {
            if let Some(value) = value {
                self.unless(good(*value), &format!("sampling.{name}"), || format!("{value} is not {range}"));
            }
        };
        let share = |x: f32| x > 0.0 && x <= 1.0;
        let signed = |x: f32| (-2.0..=2.0).contains(&x);
        within("temperature", temperature, |x| (0.0..=2.0).contains(&x), "from 0 (greedy) to 2");
        within("top_p", top_p, share, "over 0 and up to 1");
        within("min_p", min_p, |x| (0.0..=1.0).contains(&x), "from 0 to 1");
        within("typical_p", typical_p, share, "over 0 and up to 1");
        within("repetition_penalty", repetition_penalty, |x| x > 0.0 && x <= 10.0, "over 0 and up to 10");
        within("presence_penalty", presence_penalty, signed, "from -2 to 2");
        within("frequency_penalty", frequency_penalty, signed, "from -2 to 2");
        if let Some(count) = logprobs {
            self.unless(*count <= MAX_LOGPROBS, "sampling.logprobs", || {
                format!("{count} is over {MAX_LOGPROBS}")
            });
        }
    }

    fn stop(&mut self, stop: &StopOptions) {
        let StopOptions { max_tokens, sequences, ignore_eos: _, min_tokens: _ } = stop;
        self.unless(*max_tokens != Some(0), "stop.max_tokens", || {
            "is 0: send at least 1, or leave it out for all that the context holds".into()
        });
        self.unless(sequences.len() <= MAX_STOP_SEQUENCES, "stop.sequences", || {
            format!("has {} entries: send at most {MAX_STOP_SEQUENCES}", sequences.len())
        });
        for (i, sequence) in sequences.iter().enumerate() {
            self.unless(!sequence.is_empty(), &format!("stop.sequences[{i}]"), || {
                "is empty and would stop at once: leave it out".into()
            });
        }
    }

    fn into_result(self) -> Result<(), Refusal> {
        if self.0.is_empty() { Ok(()) } else { Err(Refusal::Invalid(self.0)) }
    }
}

#[cfg(test)]
mod tests {
    use hearth_proto::inference::v1::{ChatMessage, TokenIds};

    use super::*;

    fn good() -> GenerateRequest {
        GenerateRequest {
            model: "m".into(),
            input: Some(generate_request::Input::Prompt("hi".into())),
            sampling: Some(SamplingOptions {
                temperature: Some(0.0),
                top_p: Some(1.0),
                ..Default::default()
            }),
            stop: Some(StopOptions {
                max_tokens: Some(1),
                sequences: vec!["\n".into()],
                ..Default::default()
            }),
            constraint: None,
            shortcuts: None,
        }
    }

    fn fields(edit: impl FnOnce(&mut GenerateRequest)) -> Vec<String> {
        let mut request = good();
        edit(&mut request);
        match generate(&request) {
            Ok(()) => vec![],
            Err(Refusal::Invalid(violations)) => {
                violations.into_iter().map(|violation| violation.field).collect()
            }
            Err(other) => panic!("{other}"),
        }
    }

    #[test]
    fn a_good_request_passes() {
        assert!(fields(|_| {}).is_empty());
        assert!(fields(|r| (r.sampling, r.stop) = (None, None)).is_empty());
    }

    #[test]
    fn each_wrong_field_is_named() {
        use generate_request::Input;
        assert_eq!(fields(|r| r.model.clear()), ["model"]);
        assert_eq!(fields(|r| r.input = None), ["input"]);
        assert_eq!(fields(|r| r.input = Some(Input::Prompt(String::new()))), ["prompt"]);
        assert_eq!(fields(|r| r.input = Some(Input::Tokens(TokenIds::default()))), ["tokens.ids"]);
        assert_eq!(fields(|r| r.input = Some(Input::Chat(Chat::default()))), ["chat.messages"]);
        let chat = Chat { messages: vec![ChatMessage::default()], ..Chat::default() };
        assert_eq!(fields(|r| r.input = Some(Input::Chat(chat))), ["chat.messages[0].role"]);
        for bad in [-0.1, 2.1, f32::NAN, f32::INFINITY] {
            assert_eq!(
                fields(|r| r.sampling.as_mut().unwrap().temperature = Some(bad)),
                ["sampling.temperature"]
            );
        }
        type Set = fn(&mut SamplingOptions, f32);
        let cases: [(&str, &[f32], Set); 6] = [
            ("top_p", &[0.0, -1.0, 1.1, f32::NAN], |s, x| s.top_p = Some(x)),
            ("min_p", &[-0.1, 1.1, f32::NAN], |s, x| s.min_p = Some(x)),
            ("typical_p", &[0.0, 1.1, f32::NAN], |s, x| s.typical_p = Some(x)),
            ("repetition_penalty", &[0.0, 10.1, f32::NAN], |s, x| s.repetition_penalty = Some(x)),
            ("presence_penalty", &[-2.1, 2.1, f32::NAN], |s, x| s.presence_penalty = Some(x)),
            ("frequency_penalty", &[-2.1, 2.1, f32::NAN], |s, x| s.frequency_penalty = Some(x)),
        ];
        for (name, values, set) in cases {
            for &bad in values {
                let found = fields(|r| set(r.sampling.as_mut().unwrap(), bad));
                assert_eq!(found, [format!("sampling.{name}")], "{bad}");
            }
        }
        assert_eq!(fields(|r| r.sampling.as_mut().unwrap().logprobs = Some(21)), ["sampling.logprobs"]);
        assert_eq!(fields(|r| r.constraint = Some(Constraint { form: None })), ["constraint"]);
        assert_eq!(fields(|r| r.stop.as_mut().unwrap().max_tokens = Some(0)), ["stop.max_tokens"]);
        assert_eq!(
            fields(|r| r.stop.as_mut().unwrap().sequences = vec!["a".into(), String::new()]),
            ["stop.sequences[1]"]
        );
        assert_eq!(fields(|r| r.stop.as_mut().unwrap().sequences = vec!["a".into(); 17]), ["stop.sequences"]);
    }

    #[test]
    fn all_wrong_fields_are_told_at_once() {
        let found = fields(|r| {
            r.model.clear();
            r.input = None;
        });
        assert_eq!(found, ["model", "input"]);
    }
}
