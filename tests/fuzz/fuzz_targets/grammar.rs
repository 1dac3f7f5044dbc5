//! Any text as a grammar of any kind: a refusal, or a constraint that can be followed
//! and rebuilt from the tokens. Never the end of the process.
#![no_main]

use std::sync::{Arc, LazyLock, Once};

use hearth_sample::{Constraint, Grammar, Guide, Vocabulary};
use libfuzzer_sys::fuzz_target;

/// Every byte, then one that ends an output.
#[derive(Debug)]
struct Bytes(Vec<u8>);

impl Vocabulary for Bytes {
    fn size(&self) -> usize {
        257
    }

    fn bytes(&self, id: u32) -> &[u8] {
        let at = id as usize;
        self.0.get(at..=at).unwrap_or_default()
    }

    fn ends(&self) -> &[u32] {
        &[256]
    }
}

static GUIDE: LazyLock<Guide> = LazyLock::new(|| Guide::new(Arc::new(Bytes((0..=255).collect()))));

fuzz_target!(|input: (u8, &str)| {
    // The fuzzer takes a panic for a crash even where it is caught. One that is not
    // caught still ends the run, by unwinding out of here.
    static CAUGHT_IS_FINE: Once = Once::new();
    CAUGHT_IS_FINE.call_once(|| std::panic::set_hook(Box::new(|_| {})));

    let (kind, text) = input;
    let text = text.to_owned();
    let grammar = match kind % 5 {
        0 => Grammar::JsonSchema(text),
        1 => Grammar::Regex(text),
        2 => Grammar::Lark(text),
        3 => Grammar::Lark(format!("start: {text}")),
        _ => Grammar::Choice(text.split('|').map(str::to_owned).collect()),
    };
    let work = move || {
        if let Ok(constraint) = GUIDE.compile(&grammar) {
            let taken = follow(constraint);
            let again = GUIDE.compile(&grammar).expect("what was accepted once");
            rebuild(again, &taken);
        }
    };
    let thread = std::thread::Builder::new().stack_size(Guide::STACK_BYTES).spawn(work);
    thread.expect("a thread").join().expect("no panic");
});

/// Takes the tokens that a mask allows, in some order: those that were taken, while
/// nothing went wrong.
fn follow(mut constraint: Box<dyn Constraint>) -> Vec<u32> {
    let mut taken = Vec::new();
    while taken.len() < 24 && !constraint.must_end() {
        let Ok(mask) = constraint.mask() else { break };
        let allowed = (0..256).filter(|id| mask.contains(*id)).collect::<Vec<_>>();
        let Some(&id) = allowed.get(taken.len() * 37 % allowed.len().max(1)) else {
            assert!(constraint.may_end(), "nothing may come and it may not end");
            break;
        };
        if constraint.accept(id).is_err() {
            break;
        }
        taken.push(id);
    }
    taken
}

fn rebuild(mut constraint: Box<dyn Constraint>, taken: &[u32]) {
    for &id in taken {
        constraint.accept(id).expect("a token that was accepted");
    }
    constraint.may_end();
}
