//! How outputs end, and what is counted.

use hearth_engine::{Chat, ChatMessage, FinishReason, Input, Request, Sampling, Stop};

use crate::subject::{Subject, greedy, tokens};

/// One terminal item a request, whatever becomes of it, and then the sink is let
/// go.
pub(crate) fn requests_end_once(subject: Subject) {
    let good = greedy("hello", 5);
    let to_its_end = Stop::default();
    let empty = Input::Prompt(String::new());
    for (request, ends) in [
        (good.clone(), true),
        (Request { stop: to_its_end, ..good.clone() }, true),
        (Request { input: tokens(7), ..good.clone() }, true),
        (Request { input: empty, ..good.clone() }, false),
        (Request { input: Input::Tokens(vec![u32::MAX]), ..good }, false),
    ] {
        // Reading the answer looks for what follows a terminal item.
        assert_eq!(subject.ask(request).answer().end.is_ok(), ends);
    }
}

/// Exactly as many tokens as asked, whatever the prompt.
pub(crate) fn max_tokens_ends_with_length(subject: Subject) {
    for most in [1, 2, 17] {
        let answer = subject.ask(greedy("as long as asked", most)).answer();
        assert_eq!(answer.finished().reason, FinishReason::Length);
        assert_eq!(answer.finished().usage.completion_tokens, most);
        assert_eq!(answer.ids.len() as u32, most);
    }
}

/// Prompt and output fill the context to its last token.
pub(crate) fn the_context_ends_with_length(subject: Subject) {
    let context = subject.spec.context_tokens;
    for (prompt, max_tokens) in [(20, None), (context - 5, Some(6)), (context - 1, None)] {
        let stop = Stop { max_tokens, ignore_eos: true, ..Stop::default() };
        let answer = subject.ask(Request { input: tokens(prompt as usize), stop, ..greedy("", 0) }).answer();
        assert_eq!(answer.finished().reason, FinishReason::Length);
        assert_eq!(answer.finished().usage.completion_tokens, context - prompt);
        assert_eq!(answer.ids.len() as u32, context - prompt);
    }
}

/// Deltas together are the text of all tokens: no character was cut between two
/// of them, and nothing was lost at the end.
pub(crate) fn text_is_that_of_the_tokens(subject: Subject) {
    for seed in 0..8 {
        // Hot enough that tokens of half a character come one after another.
        let sampling = Sampling { temperature: 2.0, seed: Some(seed), ..Sampling::default() };
        let answer = subject.ask(Request { sampling, ..greedy("é 🔥", 40) }).answer();
        answer.finished();
        assert_eq!(answer.text, subject.tokenizer.decode(&answer.ids));
    }
}

/// The prompt counts as `Engine::tokenize` has it;
/// the output counts the ids that came, and the one that ended the turn.
pub(crate) fn usage_counts_tokens(subject: Subject) {
    let message = ChatMessage::new("user", "how many?");
    let chat = Input::Chat(Chat::new(vec![message]));
    for input in [Input::Prompt("hello there".into()), chat, tokens(150)] {
        let prompt_tokens = subject.tokenize(input.clone()).len() as u32;
        for ignore_eos in [true, false] {
            let stop = Stop { max_tokens: Some(70), ignore_eos, ..Stop::default() };
            let request = Request { input: input.clone(), stop, ..greedy("", 0) };
            let answer = subject.ask(request).answer();
            let finish = answer.finished();
            assert_eq!(finish.usage.prompt_tokens, prompt_tokens);
            let ended_its_turn = u32::from(finish.reason == FinishReason::Stop);
            assert!(!ignore_eos || ended_its_turn == 0);
            assert_eq!(finish.usage.completion_tokens, answer.ids.len() as u32 + ended_its_turn);
        }
    }
}
