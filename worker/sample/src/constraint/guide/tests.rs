use std::sync::{Arc, LazyLock};

use proptest::prelude::*;
use serde_json::Value;

use super::Guide;
use crate::constraint::{Constraint, Grammar};
use crate::{Next, PickError, Picker, Plan, Sampling, Vocabulary, Workspace, Wrong, random};

/// Every byte, some longer tokens, one without text, and two that end an output.
#[derive(Debug)]
struct Tokens(Vec<Vec<u8>>);

impl Tokens {
    const ENDS: [u32; 2] = [1, 2];
    const LONG: [&str; 14] =
        ["{\"", "\":", "\": ", "\", \"", "\"}", "}", "name", "yes", "no", "  ", "\n", "true", "123", "é"];

    fn new() -> Self {
        let none = [vec![], vec![], vec![]].into_iter();
        let bytes = (0..=u8::MAX).map(|byte| vec![byte]);
        Self(none.chain(bytes).chain(Self::LONG.map(|text| text.as_bytes().to_vec())).collect())
    }

    fn id(&self, text: &str) -> u32 {
        self.0.iter().rposition(|token| token == text.as_bytes()).unwrap() as u32
    }
}

impl Vocabulary for Tokens {
    fn size(&self) -> usize {
        self.0.len()
    }

    fn bytes(&self, id: u32) -> &[u8] {
        self.0.get(id as usize).map_or(&[], Vec::as_slice)
    }

    fn ends(&self) -> &[u32] {
        &Self::ENDS
    }
}

/// As the engine does it: grammars may be deep.
fn deep<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    std::thread::Builder::new().stack_size(Guide::STACK_BYTES).spawn(work).unwrap().join().unwrap()
}

fn compile(grammar: Grammar) -> Result<Box<dyn Constraint>, Wrong> {
    static GUIDE: LazyLock<Guide> = LazyLock::new(|| Guide::new(Arc::new(Tokens::new())));
    deep(move || GUIDE.compile(&grammar))
}

fn refused(grammar: Grammar) -> String {
    compile(grammar).unwrap_err().to_string()
}

/// Feeds a text byte by byte: whether each was allowed, and whether the end was
/// right there.
fn takes(grammar: &Grammar, text: &str) -> bool {
    let tokens = Tokens::new();
    let mut constraint = compile(grammar.clone()).unwrap();
    for byte in text.bytes() {
        let id = 3 + u32::from(byte);
        if constraint.must_end() || !constraint.mask().unwrap().contains(id) {
            return false;
        }
        constraint.accept(id).unwrap();
    }
    let may_end = constraint.may_end();
    let mask = constraint.mask().unwrap();
    assert!(tokens.ends().iter().all(|end| mask.contains(*end) == may_end), "{text:?}");
    may_end
}

/// What comes out if every token that is allowed is as likely as any other.
fn generate(grammar: &Grammar, seed: u64, logits: &dyn Fn(&Tokens) -> Vec<f32>) -> Result<String, PickError> {
    let tokens = Arc::new(Tokens::new());
    let plan = Plan {
        sampling: Sampling { seed: Some(seed), ..Sampling::default() },
        constraint: Some(compile(grammar.clone()).unwrap()),
        ..Plan::default()
    };
    let mut picker = Picker::new(plan, Arc::clone(&tokens) as _).unwrap();
    let (mut text, mut workspace) = (Vec::new(), Workspace::default());
    for _ in 0..2_000 {
        match picker.pick(&mut logits(&tokens), &text, &mut workspace)? {
            None => break,
            Some(picked) if picker.is_end(picked.id) => break,
            Some(picked) => {
                text.push(picked.id);
                if picker.accept(picked.id)? == Next::Nothing {
                    break;
                }
            }
        }
    }
    let bytes = text.iter().flat_map(|id| tokens.bytes(*id)).copied().collect();
    Ok(String::from_utf8(bytes).unwrap())
}

const PERSON: &str = r#"{
    "type": "object",
    "properties": {
        "name": {"type": "string", "maxLength": 5},
        "age": {"type": "integer", "minimum": 0, "maximum": 150},
        "tags": {"type": "array", "items": {"enum": ["a", "b"]}, "maxItems": 3}
    },
    "required": ["name", "age"],
    "additionalProperties": false
}"#;

#[test]
fn each_kind_takes_what_it_should() {
    let schema = Grammar::JsonSchema(PERSON.into());
    assert!(takes(&schema, r#"{"name": "Ada", "age": 36}"#));
    assert!(takes(&schema, r#"{"name":"Ada","age":36,"tags":["a","b"]}"#));
    assert!(!takes(&schema, r#"{"name": "Ada"}"#));
    assert!(!takes(&schema, r#"{"age": 36, "name": "Ada"}"#));
    assert!(!takes(&schema, r#"{"name": "Ada", "age": 151}"#));
    assert!(takes(&Grammar::JsonObject, r#"{"x": [1, {"y": null}]}"#));
    assert!(!takes(&Grammar::JsonObject, "[1]"));
    let regex = |regex: &str| Grammar::Regex(regex.into());
    assert!(takes(&regex("[0-9]{3}-(a|b)+"), "123-abba"));
    assert!(!takes(&regex("[0-9]{3}-(a|b)+"), "12-a"));
    assert!(takes(&regex("^a/b$"), "a/b"));
    let lark = Grammar::Lark("start: sum\nsum: NUMBER (\"+\" NUMBER)*\nNUMBER: /[0-9]+/".into());
    assert!(takes(&lark, "1+22+3"));
    assert!(!takes(&lark, "1+"));
    let choice = Grammar::Choice(vec!["yes".into(), "no \"way\"\n".into()]);
    assert!(takes(&choice, "yes") && takes(&choice, "no \"way\"\n"));
    assert!(!takes(&choice, "ye") && !takes(&choice, "yes "));
    assert!(takes(&Grammar::JsonSchema("true".into()), "[1, 2]"));
    assert!(takes(
        &Grammar::JsonSchema(r##"{"$defs": {"n": {"type": "null"}}, "$ref": "#/$defs/n"}"##.into()),
        "null"
    ));
}

#[test]
fn white_space_comes_to_an_end() {
    let spaced = |n| format!("{{{}}}", " ".repeat(n));
    assert!(takes(&Grammar::JsonObject, &spaced(64)));
    assert!(!takes(&Grammar::JsonObject, &spaced(65)));
}

#[test]
fn every_split_into_tokens_is_allowed() {
    let tokens = Tokens::new();
    let mut constraint = compile(Grammar::Choice(vec!["name".into(), "nay".into()])).unwrap();
    let mask = constraint.mask().unwrap();
    let allowed = [tokens.id("n"), tokens.id("name")];
    assert!(allowed.iter().all(|id| mask.contains(*id)));
    assert_eq!(mask.count(), 2);
    constraint.accept(tokens.id("name")).unwrap();
    assert!(constraint.must_end() && constraint.may_end());
}

#[test]
fn what_may_not_come_is_refused() {
    let tokens = Tokens::new();
    let mut constraint = compile(Grammar::Choice(vec!["yes".into()])).unwrap();
    assert!(constraint.accept(tokens.id("no")).is_err());
    // It stays refused.
    assert!(constraint.mask().is_err());
    assert!(!constraint.may_end() && !constraint.must_end());
}

#[test]
fn errors_say_where() {
    let lark = refused(Grammar::Lark("start: foo\nbar: \"a\" | ".into()));
    assert!(lark.starts_with("`constraint.lark` is refused: at 1(8): unknown name: \"foo\""), "{lark}");
    let regex = refused(Grammar::Regex("a(b".into()));
    assert!(regex.contains("`constraint.regex`") && regex.contains("unclosed group"), "{regex}");
    let schema = refused(Grammar::JsonSchema(r#"{"type": "strin"}"#.into()));
    assert_eq!(schema, "`constraint.json_schema` is refused: Invalid type: strin");
    let schema = refused(Grammar::JsonSchema(r#"{"type": "object", "not": {}}"#.into()));
    assert!(schema.contains("\"not\""), "{schema}");
    let never = refused(Grammar::JsonSchema("false".into()));
    assert!(never.contains("nsatisfiable"), "{never}");
}

/// As deep, wide and ambiguous as sizes allow. None may end the process, nor be
/// followed for long on a small stack.
#[test]
fn what_is_made_to_be_bad_is_bounded() {
    let chain = |line: &dyn Fn(usize) -> String, n: usize| (0..n).map(line).collect::<String>();
    let rules = format!("start: a0\n{}a4000: \"z\"", chain(&|n| format!("a{n}: a{} \"x\"\n", n + 1), 4_000));
    let terms = format!("start: A0\n{}A4000: \"z\"", chain(&|n| format!("A{n}: A{} \"x\"\n", n + 1), 4_000));
    let refs = chain(&|n| format!(r##""d{n}": {{"$ref": "#/$defs/d{}"}},"##, n + 1), 1_800);
    let refs = format!(r##"{{"$defs": {{{refs} "d1800": {{}}}}, "$ref": "#/$defs/d0"}}"##);
    let all = chain(&|n| format!(r##""d{n}": {{"allOf": [{{"$ref": "#/$defs/d{}"}}]}},"##, n + 1), 1_400);
    let all = format!(r##"{{"$defs": {{{all} "d1400": {{}}}}, "$ref": "#/$defs/d0"}}"##);
    let wide = (0..1_500).map(|n| format!(r#""p{n}": {{"type": "string"}}"#)).collect::<Vec<_>>();
    let wide = format!(r#"{{"type": "object", "properties": {{{}}}}}"#, wide.join(","));
    for grammar in [
        Grammar::Lark(rules),
        Grammar::Lark(terms),
        Grammar::JsonSchema(refs),
        Grammar::JsonSchema(all),
        Grammar::JsonSchema(wide),
        Grammar::Regex(format!(".*a.{{{}}}", 4_000)),
        Grammar::Regex("(a{1,3000}b?){1,3000}".into()),
        Grammar::Regex(format!("{}a{}", "(".repeat(240), ")".repeat(240))),
        Grammar::Regex((0..500).map(|n| format!("([a-z]{n}x|y)*")).collect::<Vec<_>>().join("|")),
    ] {
        let what = format!("{grammar:?}").chars().take(60).collect::<String>();
        let constraint = match compile(grammar) {
            Ok(constraint) => constraint,
            Err(refused) => {
                assert!(refused.message.chars().count() <= super::SHOWN + 1, "{what}: {refused}");
                continue;
            }
        };
        let follow = move || {
            let mut constraint = constraint;
            for position in 0..50 {
                let Ok(mask) = constraint.mask() else { return };
                let allowed = (3..259).filter(|id| mask.contains(*id)).collect::<Vec<_>>();
                if allowed.is_empty() {
                    return;
                }
                let at = (random::unit(7, position) * allowed.len() as f64) as usize;
                if constraint.accept(allowed[at]).is_err() || constraint.must_end() {
                    return;
                }
            }
        };
        std::thread::Builder::new().stack_size(1 << 20).spawn(follow).unwrap().join().unwrap();
    }
}

#[test]
fn what_was_compiled_is_kept_and_begins_anew() {
    deep(|| {
        let guide = Guide::new(Arc::new(Tokens::new()));
        let grammar = Grammar::Choice(vec!["yes".into(), "no".into()]);
        for _ in 0..3 {
            let mut constraint = guide.compile(&grammar).unwrap();
            let yes = Tokens::new().id("yes");
            constraint.accept(yes).unwrap();
            assert!(constraint.must_end());
        }
        for n in 0..40 {
            guide.compile(&Grammar::Regex(format!("a{{{}}}", n + 1))).unwrap();
        }
        assert_eq!(guide.kept.lock().unwrap().len(), super::KEPT);
    });
}

#[test]
fn a_vocabulary_without_an_end_will_do() {
    #[derive(Debug)]
    struct Endless(Tokens);
    impl Vocabulary for Endless {
        fn size(&self) -> usize {
            self.0.size()
        }
        fn bytes(&self, id: u32) -> &[u8] {
            self.0.bytes(id)
        }
        fn ends(&self) -> &[u32] {
            &[]
        }
    }
    let constraint = deep(|| {
        let guide = Guide::new(Arc::new(Endless(Tokens::new())));
        guide.compile(&Grammar::Regex("a+".into()))
    });
    let mut constraint = constraint.unwrap();
    constraint.accept(3 + u32::from(b'a')).unwrap();
    assert!(constraint.may_end() && !constraint.must_end());
    assert_eq!(constraint.mask().unwrap().count(), 1);
}

#[test]
fn what_comes_out_is_what_was_asked() {
    // Tokens that end strings, so that outputs are short.
    let likely = |tokens: &Tokens| {
        let mut logits = vec![0.0f32; tokens.size()];
        for (id, token) in tokens.0.iter().enumerate() {
            if token.iter().any(|byte| b"\"}]".contains(byte)) {
                logits[id] = 4.0;
            }
        }
        logits
    };
    let grammar = Grammar::JsonSchema(PERSON.into());
    for seed in 0..40 {
        let text = generate(&grammar, seed, &likely).unwrap();
        let value: Value = serde_json::from_str(&text).unwrap();
        assert!(value["name"].as_str().unwrap().chars().count() <= 5, "{text}");
        assert!(value["age"].as_u64().unwrap() <= 150, "{text}");
        assert!(value.as_object().unwrap().keys().all(|key| ["name", "age", "tags"].contains(&key.as_str())));
    }
    for seed in 0..40 {
        let text =
            generate(&Grammar::Regex("(ab|c){2,5}[0-9]".into()), seed, &|t| vec![0.0; t.size()]).unwrap();
        let (body, digit) = text.split_at(text.len() - 1);
        assert!(digit.as_bytes()[0].is_ascii_digit(), "{text}");
        let parts = body.replace("ab", "c");
        assert!((2..=5).contains(&parts.len()) && parts.bytes().all(|byte| byte == b'c'), "{text}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// What makes preemption and continuing elsewhere possible.
    #[test]
    fn the_state_is_a_function_of_the_tokens(picks in prop::collection::vec(any::<prop::sample::Index>(), 1..20)) {
        let grammar = Grammar::JsonSchema(PERSON.into());
        let (mut first, mut taken) = (compile(grammar.clone()).unwrap(), Vec::new());
        for pick in picks {
            let mask = first.mask().unwrap().clone();
            let allowed = (0..Tokens::new().size() as u32)
                .filter(|id| mask.contains(*id) && !Tokens::ENDS.contains(id))
                .collect::<Vec<_>>();
            if allowed.is_empty() {
                break;
            }
            let id = allowed[pick.index(allowed.len())];
            first.accept(id).unwrap();
            taken.push(id);
            let mut again = compile(grammar.clone()).unwrap();
            for &id in &taken {
                again.accept(id).unwrap();
            }
            prop_assert_eq!(first.may_end(), again.may_end());
            prop_assert_eq!(first.must_end(), again.must_end());
            prop_assert_eq!(first.mask().unwrap(), again.mask().unwrap());
        }
    }

    #[test]
    fn no_text_ends_the_process(text in "\\PC{0,40}", lark in "start: [a-z\"/|()*+?~\\[\\] ]{0,40}") {
        for grammar in [Grammar::Regex(text.clone()), Grammar::JsonSchema(text), Grammar::Lark(lark)] {
            let _ = compile(grammar);
        }
    }
}
