//! What a stream gives out, token by token.

use hearth_text::tokenizer::Tokenizer;
use hearth_text::{Output, Scan};

use crate::convert;
use crate::files::Family;
use crate::lines;

/// The pieces of text that come out while tokens go in, and what is left at the end.
fn deltas(tokenizer: &Tokenizer, ids: &[u32]) -> Vec<String> {
    let mut output = Output::new(vec![]);
    let clear = |scan| match scan {
        Scan::Clear(text) => text,
        Scan::Stopped { .. } => panic!("there is nothing to stop at"),
    };
    let mut deltas = ids.iter().map(|id| clear(output.push(tokenizer.bytes_of(*id)))).collect::<Vec<_>>();
    deltas.push(clear(output.finish()));
    deltas
}

/// Whatever the ids are: what was given out is what all of them read, and a longer
/// stream begins as the shorter did.
fn check(tokenizer: &Tokenizer, ids: &[u32]) {
    let whole = deltas(tokenizer, ids);
    let bytes = ids.iter().flat_map(|id| tokenizer.bytes_of(*id)).copied().collect::<Vec<_>>();
    assert_eq!(whole.concat(), String::from_utf8_lossy(&bytes), "{ids:?}");
    let read = tokenizer.decode(ids);
    assert!(whole.concat() == read || whole.concat() == format!(" {read}"), "{ids:?}");
    let half = ids.len() / 2;
    let begun = deltas(tokenizer, &ids[..half]);
    assert_eq!(begun[..half], whole[..half], "{ids:?}");
}

fn check_family(tokenizer: &Tokenizer) {
    let lines = lines::lines();
    for line in lines.iter().step_by(8) {
        let ids = tokenizer.encode_text(line).unwrap();
        check(tokenizer, &ids);
        // Every character is whole, wherever a token ends.
        assert!(
            line.contains('\u{fffd}')
                || deltas(tokenizer, &ids).iter().all(|text| !text.contains('\u{fffd}')),
            "{line:?}"
        );
    }
    let mut state = 7u64;
    for length in 0..400 {
        let draw = |_| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            u32::try_from((state >> 33) % (tokenizer.vocabulary() as u64 + 2)).unwrap()
        };
        let ids = (0..length % 40).map(draw).collect::<Vec<_>>();
        check(tokenizer, &ids);
    }
}

#[test]
fn of_byte_level_tokens() {
    check_family(&Family::named("gpt2").tokenizer());
}

#[test]
fn of_sentencepiece_tokens() {
    let family = Family::named("mistral-v1-hf");
    check_family(&family.tokenizer());
    let spec = convert::sentencepiece_json(&family.read("tokenizer.json").unwrap(), true);
    check_family(&Tokenizer::new(&spec).unwrap());
}

#[test]
fn of_word_pieces() {
    let tokenizer = Family::named("minilm").tokenizer();
    for line in lines::lines().iter().step_by(8) {
        check(&tokenizer, &tokenizer.encode_text(line).unwrap());
    }
}
