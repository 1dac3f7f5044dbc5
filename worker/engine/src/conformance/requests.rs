//! Requests, good and bad.

use std::sync::mpsc;

use crate::{Chat, ChatMessage, Engine, Input, Request, RequestError, Sampling};

use super::probe::{answer, endless, next, of_length};
use super::{ID, Subject};

pub(super) fn invalid(subject: &Subject) {
    let engine = subject.loaded();
    type Break = fn(&mut Request);
    let cases: &[(&str, Break)] = &[
        ("sampling.temperature", |r| r.sampling.temperature = -0.5),
        ("sampling.temperature", |r| r.sampling.temperature = 2.5),
        ("sampling.temperature", |r| r.sampling.temperature = f32::NAN),
        ("sampling.top_p", |r| r.sampling.top_p = 0.0),
        ("sampling.top_p", |r| r.sampling.top_p = 1.5),
        ("sampling.min_p", |r| r.sampling.min_p = -1.0),
        ("stop.max_tokens", |r| r.stop.max_tokens = Some(0)),
        ("stop.sequences", |r| r.stop.sequences = vec![String::new()]),
        ("stop.sequences", |r| r.stop.sequences = vec!["x".into(); 17]),
        ("prompt", |r| r.input = Input::Prompt(String::new())),
        ("chat.messages", |r| r.input = Input::Chat(Chat::new(vec![]))),
        ("tokens.ids", |r| r.input = Input::Tokens(vec![])),
        ("tokens.ids", |r| r.input = Input::Tokens(vec![1, u32::MAX])),
    ];
    for (name, spoil) in cases {
        let mut request = of_length("good", 2);
        spoil(&mut request);
        match answer(&engine, request).end {
            Err(RequestError::Invalid { field, value, message }) => {
                assert_eq!(field, *name);
                assert!(!value.is_empty() && !message.is_empty(), "{name}: {value:?} {message:?}");
            }
            other => panic!("{name}: {other:?}"),
        }
    }
    answer(&engine, of_length("good", 2)).end();
}

pub(super) fn too_long(subject: &Subject) {
    let engine = subject.loaded();
    let context = subject.context_tokens;
    let of = |tokens: u32| Request { input: Input::Tokens(vec![5; tokens as usize]), ..endless("") };
    answer(&engine, of(context - 1)).end();
    for (tokens, request) in [
        (u64::from(context), of(context)),
        (u64::from(context) + 7, of(context + 7)),
        // Ten megabytes are refused without being tokenized.
        (u64::from(context), of_length(&"a long text ".repeat(1 << 20), 1)),
    ] {
        match answer(&engine, request).end {
            Err(RequestError::ContextExceeded { prompt_tokens, at_least, context_tokens, .. }) => {
                assert_eq!(context_tokens, context);
                assert!(prompt_tokens == tokens || at_least && prompt_tokens > tokens, "{prompt_tokens}");
            }
            other => panic!("{other:?}"),
        }
    }
}

pub(super) fn tokenize(subject: &Subject) {
    let engine = subject.loaded();
    let chat =
        Chat::new(vec![ChatMessage::new("system", "Be brief."), ChatMessage::new("user", "héllo  🦔")]);
    let open = Input::Chat(chat.clone());
    let closed = Input::Chat(Chat { add_generation_prompt: false, ..chat });
    for input in
        [Input::Prompt("héllo  🦔\n".into()), open.clone(), closed.clone(), Input::Tokens(vec![3, 4])]
    {
        let ids = tokens(&engine, input.clone()).expect("it can be tokenized");
        let outcome = answer(&engine, Request { input, ..of_length("", 1) });
        assert_eq!(outcome.end().usage.prompt_tokens as usize, ids.len());
        // What was tokenized is the same prompt.
        let from_ids = answer(&engine, Request { input: Input::Tokens(ids), ..of_length("", 1) });
        assert_eq!(from_ids.ids, outcome.ids);
    }
    assert!(tokens(&engine, open).expect("valid").len() > tokens(&engine, closed).expect("valid").len());
    assert!(matches!(tokens(&engine, Input::Prompt(String::new())), Err(RequestError::Invalid { .. })));
}

fn tokens(engine: &Engine, input: Input) -> Result<Vec<u32>, RequestError> {
    let (sender, done) = mpsc::channel();
    let on = move |result| {
        let _ = sender.send(result);
    };
    engine.tokenize(ID, input, Box::new(on));
    next(&done).expect("an answer comes")
}

pub(super) fn seeds(subject: &Subject) {
    let engine = subject.loaded();
    let seeded = |seed| {
        let mut request = of_length("once upon a time", 24);
        request.sampling =
            Sampling { temperature: 1.5, top_k: 40, top_p: 0.98, min_p: 0.001, seed, ..Sampling::default() };
        answer(&engine, request).ids
    };
    assert_eq!(seeded(Some(1)), seeded(Some(1)));
    assert_ne!(seeded(Some(1)), seeded(Some(2)));
    assert_ne!(seeded(None), seeded(None), "an absent seed is a random one");
}
