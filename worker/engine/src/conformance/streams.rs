//! What a request hears.

use std::sync::{Arc, Mutex, PoisonError, mpsc};

use hearth_model::{Model, gguf};

use crate::{Cancel, FinishReason, Gone, Item, RequestError, Sampling};
use hearth_text::tokenizer::Tokenizer;

use super::probe::{answer, ask_of, endless, next, of_length};
use super::{ID, Subject};

pub(super) fn one_terminal(subject: &Subject) {
    let engine = subject.loaded();
    // Waiting for an outcome asserts that there is one end, and that it is last.
    assert_eq!(answer(&engine, of_length("a prompt", 5)).end().reason, FinishReason::Length);
    answer(&engine, endless("as long as the context lets it")).end();
    let mut until_end = endless("until it has said all");
    until_end.stop.ignore_eos = false;
    answer(&engine, until_end).end();
    let outcome = ask_of(&engine, "another", of_length("a prompt", 5)).wait();
    assert!(matches!(&outcome.end, Err(RequestError::UnknownModel { id }) if id == "another"), "{outcome:?}");
    let mut bad = of_length("a prompt", 5);
    bad.sampling.temperature = -1.0;
    assert!(answer(&engine, bad).end.is_err());
}

pub(super) fn whole_characters(subject: &Subject) {
    let header = gguf::read_file(&subject.path).expect("the model's header can be read");
    let model = Model::from_gguf(&header).expect("the model can be described");
    let spec = model.tokenizer.expect("the model has a vocabulary");
    let tokenizer = Tokenizer::new(&spec).expect("the vocabulary can be used");
    let engine = subject.loaded();
    // At a high temperature bytes come in any order: halves of characters, and
    // bytes that are none.
    for seed in 0..4 {
        let mut request = endless("anything");
        request.sampling = Sampling { temperature: 2.0, seed: Some(seed), ..Sampling::default() };
        let outcome = answer(&engine, request);
        outcome.end();
        assert_eq!(outcome.text, tokenizer.decode(&outcome.ids));
    }
}

pub(super) fn cancelled(subject: &Subject) {
    let engine = subject.loaded();
    // The sink lets go while it takes a delta, so that no step is under way
    // which had not seen it.
    let handle = Arc::new(Mutex::new(None::<Cancel>));
    let (sender, items) = mpsc::channel();
    let held = Arc::clone(&handle);
    let sink = move |item: Item| {
        drop(held.lock().unwrap_or_else(PoisonError::into_inner).take());
        sender.send(item).map_err(|_| Gone)
    };
    let mut guard = handle.lock().unwrap_or_else(PoisonError::into_inner);
    *guard = Some(engine.generate(ID, endless("for ever"), Box::new(sink)));
    drop(guard);
    assert!(matches!(next(&items), Some(Item::Delta { .. })));
    let last = next(&items);
    assert!(matches!(last, Some(Item::Failed(RequestError::Aborted { .. }))), "{last:?}");
    assert_eq!(next(&items), None);
    answer(&engine, of_length("the place is free", 1)).end();

    let (sender, items) = mpsc::channel();
    let sink = move |item| sender.send(item).map_err(|_| Gone);
    drop(engine.generate(ID, endless("at once"), Box::new(sink)));
    let heard = std::iter::from_fn(|| next(&items)).collect::<Vec<_>>();
    assert!(matches!(heard.last(), Some(Item::Failed(RequestError::Aborted { .. }))), "{heard:?}");
}

pub(super) fn gone(subject: &Subject) {
    let engine = subject.loaded();
    let (sender, heard) = mpsc::channel();
    let mut taken = 0;
    let sink = move |item: Item| {
        taken += 1;
        let _ = sender.send(item);
        if taken < 3 { Ok(()) } else { Err(Gone) }
    };
    engine.generate(ID, endless("until I leave"), Box::new(sink)).detach();
    // The channel closes when the sink is let go.
    assert_eq!(std::iter::from_fn(|| next(&heard)).count(), 3);
    answer(&engine, of_length("the others stay", 2)).end();
}

pub(super) fn lengths(subject: &Subject) {
    let engine = subject.loaded();
    for most in [1, 2, 17] {
        let outcome = answer(&engine, of_length("count", most));
        let end = outcome.end();
        assert_eq!(end.reason, FinishReason::Length);
        assert_eq!((end.usage.completion_tokens, outcome.ids.len()), (most, most as usize));
    }
    let outcome = answer(&engine, endless("as far as it goes"));
    let end = outcome.end();
    assert_eq!(end.reason, FinishReason::Length);
    assert_eq!(end.usage.prompt_tokens + end.usage.completion_tokens, subject.context_tokens);
}

pub(super) fn stop_sequences(subject: &Subject) {
    let engine = subject.loaded();
    let whole = answer(&engine, of_length("tell me a story", 40)).text;
    let characters = whole.char_indices().map(|(at, _)| at).chain([whole.len()]).collect::<Vec<_>>();
    assert!(characters.len() > 12, "too short to cut: {whole:?}");
    for (from, to) in [(0, 1), (4, 7), (6, 12)] {
        let stop = &whole[characters[from]..characters[to]];
        let mut request = of_length("tell me a story", 40);
        request.stop.sequences = vec!["not in there \u{1F9C5}".into(), stop.into()];
        let outcome = answer(&engine, request);
        let end = outcome.end();
        assert_eq!(end.reason, FinishReason::Stop);
        assert_eq!(end.stop_sequence.as_deref(), Some(stop));
        let at = whole.find(stop).unwrap_or(whole.len());
        assert_eq!(outcome.text, whole[..at]);
        assert!(outcome.deltas <= outcome.ids.len() + 1, "{outcome:?}");
    }
}
