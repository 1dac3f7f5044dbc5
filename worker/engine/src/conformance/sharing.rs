//! Many requests at a time.

use crate::batch::MAX_WAITING;
use crate::{Request, RequestError, Sampling};

use super::Subject;
use super::probe::{Outcome, answer, ask, endless, of_length};

pub(super) fn company(subject: &Subject) {
    let engine = subject.loaded();
    let long = "a long prompt that takes more than a step ".repeat(2);
    let requests = (0..6u8).map(|n| {
        let prompt = if n % 3 == 0 { long.clone() } else { format!("prompt number {n}") };
        let mut request = of_length(&prompt, 6 + u32::from(n));
        if n % 2 == 1 {
            request.sampling =
                Sampling { temperature: 1.0, top_p: 0.95, seed: Some(n.into()), ..Sampling::default() };
        }
        request
    });
    let requests: Vec<Request> = requests.collect();
    let alone = requests.iter().map(|request| answer(&engine, request.clone())).collect::<Vec<_>>();
    let streams = requests.into_iter().map(|request| ask(&engine, request)).collect::<Vec<_>>();
    for (stream, alone) in streams.into_iter().zip(alone) {
        assert_eq!(uncounted(stream.wait()), uncounted(alone));
    }
}

/// An outcome but for what was found of its prompt, which hangs on what came before.
fn uncounted(mut outcome: Outcome) -> Outcome {
    if let Ok(end) = &mut outcome.end {
        end.usage.cached_tokens = 0;
    }
    outcome
}

pub(super) fn queue(subject: &Subject) {
    let engine = subject.loaded();
    let streams = (0..12).map(|n| ask(&engine, of_length(&format!("{n}"), 1 + n))).collect::<Vec<_>>();
    for (stream, most) in streams.into_iter().zip(1..) {
        assert_eq!(stream.wait().end().usage.completion_tokens, most);
    }
}

pub(super) fn busy(subject: &Subject) {
    let engine = subject.loaded();
    let mut streams = (0..2 * MAX_WAITING).map(|_| ask(&engine, endless("all at once"))).collect::<Vec<_>>();
    let last = streams.pop().expect("there are some").wait();
    assert!(matches!(last.end, Err(RequestError::Busy { waiting: MAX_WAITING })), "{last:?}");
    // Letting go of the others makes room.
    drop(streams);
    answer(&engine, of_length("room again", 1)).end();
}
