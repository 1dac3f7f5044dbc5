//! Requests that cannot be answered say what is wrong with them.

use hearth_engine::{Chat, Input, MAX_STOP_SEQUENCES, Request, RequestError, Sampling, Stop};

use crate::subject::{Subject, greedy, tokens};

/// What is out of range is named, with what was given.
pub(crate) fn requests_out_of_range_name_field_and_value(subject: Subject) {
    let good = greedy("hello", 3);
    let input = |input| Request { input, ..good.clone() };
    let sampling = |sampling| Request { sampling, ..good.clone() };
    let sequences = |sequences| Request { stop: Stop { sequences, ..Stop::default() }, ..good.clone() };
    let temperature = |temperature| sampling(Sampling { temperature, ..Sampling::default() });
    let vocabulary = subject.tokenizer.vocabulary() as u32;
    let over = vocabulary.to_string();
    let chat = Input::Chat(Chat::new(vec![]));
    for (field, value, request) in [
        ("prompt", "empty", input(Input::Prompt(String::new()))),
        ("chat.messages", "empty", input(chat)),
        ("tokens.ids", "empty", input(Input::Tokens(vec![]))),
        ("tokens.ids", over.as_str(), input(Input::Tokens(vec![10, vocabulary]))),
        ("sampling.temperature", "NaN", temperature(f32::NAN)),
        ("sampling.temperature", "-1", temperature(-1.0)),
        ("sampling.temperature", "3", temperature(3.0)),
        ("sampling.top_p", "0", sampling(Sampling { top_p: 0.0, ..Sampling::default() })),
        ("sampling.top_p", "NaN", sampling(Sampling { top_p: f32::NAN, ..Sampling::default() })),
        ("sampling.min_p", "1.5", sampling(Sampling { min_p: 1.5, ..Sampling::default() })),
        ("stop.sequences", "empty at index 1", sequences(vec!["a".into(), String::new()])),
        ("stop.sequences", "17 sequences", sequences(vec!["a".into(); MAX_STOP_SEQUENCES + 1])),
        ("stop.max_tokens", "0", greedy("hello", 0)),
    ] {
        let answer = subject.ask(request).answer();
        assert_eq!(answer.deltas, 0);
        match answer.failed() {
            RequestError::Invalid { field: named, value: given, message } => {
                assert_eq!((*named, given.as_str()), (field, value));
                assert!(!message.is_empty());
            }
            other => panic!("`{field}` {value}: {other}"),
        }
    }
    subject.is_alive();
}

/// A prompt that leaves no room for an output is refused with its length and the
/// context's; a text that cannot fit has a lower bound for its length.
pub(crate) fn prompts_over_the_context_name_both_numbers(subject: Subject) {
    let context = subject.spec.context_tokens;
    for over in [0, 1, 1000] {
        let input = tokens((context + over) as usize);
        let error = subject.ask(Request { input, ..greedy("", 3) }).answer().failed().clone();
        let expected = RequestError::ContextExceeded {
            field: "tokens.ids",
            prompt_tokens: u64::from(context + over),
            at_least: false,
            context_tokens: context,
        };
        assert_eq!(error, expected);
        let message = error.to_string();
        assert!(message.contains(&(context + over).to_string()) && message.contains(&context.to_string()));
    }
    let endless = "no end ".repeat(1 << 16);
    match subject.ask(greedy(&endless, 3)).answer().failed() {
        RequestError::ContextExceeded { field, prompt_tokens, at_least: _, context_tokens } => {
            assert_eq!((*field, *context_tokens), ("prompt", context));
            assert!(*prompt_tokens >= u64::from(context));
        }
        other => panic!("{other}"),
    }
}

/// A model that is not there is named.
pub(crate) fn unknown_models_are_named(subject: Subject) {
    let answer = subject.ask_of("nobody", greedy("hello", 3)).answer();
    assert_eq!(*answer.failed(), RequestError::UnknownModel { id: "nobody".into() });
    subject.is_alive();
}
