use jiff::Zoned;

use super::ChatTemplate;
use crate::{Chat, ChatMessage, Json};

fn chat(contents: &[&str]) -> Chat {
    Chat::new(contents.iter().map(|content| ChatMessage::new("user", *content)).collect())
}

fn render_chat(source: &str, chat: &Chat) -> Result<String, String> {
    let named = vec![("bos_token".into(), "<s>".into())];
    let template = ChatTemplate::new(source, named, ["<s>", "</s>"]).map_err(|e| e.to_string())?;
    template.render(chat, &Zoned::now()).map(|rendered| rendered.text).map_err(|e| e.to_string())
}

fn render(source: &str) -> Result<String, String> {
    render_chat(source, &chat(&[" hi ", "<b>\"é\"</b>"]))
}

#[test]
fn blocks_are_trimmed_and_methods_are_pythons() {
    let source = "{{ bos_token }}\n{% for m in messages %}\n  {% if loop.first %}\n[{{ m['content'].strip() }}]\n  {% endif %}\n{% endfor %}\n{% if add_generation_prompt and not tools %}go{% endif %}";
    assert_eq!(render(source).unwrap(), "<s>\n[hi]\ngo");
}

#[test]
fn an_exception_is_told_as_it_was_raised() {
    let error = render("{{ raise_exception('roles must alternate') }}").unwrap_err();
    assert_eq!(error, "roles must alternate");
}

#[test]
fn values_are_written_as_python_writes_them() {
    let cases = [
        ("{{ messages[1] | tojson }}", r#"{"role": "user", "content": "<b>\"é\"</b>"}"#),
        (
            "{{ {'é': [1, 2.0, none, true], 'e': {}} | tojson(ensure_ascii=true) }}",
            r#"{"\u00e9": [1, 2.0, null, true], "e": {}}"#,
        ),
        (
            "{{ {'a': [1, {}], 'b': []} | tojson(indent=2) }}",
            "{\n  \"a\": [\n    1,\n    {}\n  ],\n  \"b\": []\n}",
        ),
        ("{{ [1, 2] | tojson(separators=(',', ':')) }}", "[1,2]"),
        ("{{ [true, none, 'a', \"it's\", 1e-7, (1,)] }}", "[True, None, 'a', \"it's\", 1e-07, (1,)]"),
        (
            "{{ true }}{{ none }}{{ missing }}{{ 1.0 }}{{ 'a' ~ none ~ 1 }}{{ false | string }}",
            "TrueNone1.0aNone1False",
        ),
        ("{{ [true, 1] | join(', ') }} {{ '-'.join(['a', 'b']) }}", "True, 1 a-b"),
        ("{{ 'abcd'[1:-1] }}{{ 'ab'[::-1] }}{{ [1, 2, 3][::-1] }}", "bcba[3, 2, 1]"),
        (
            "{{ 'a-b'.split('-') }}{{ 'abc'.removeprefix('a') }}{{ {'a': 1}.items() | list }}",
            "['a', 'b']bc[('a', 1)]",
        ),
        (
            "{{ 'a\\n\\nb' | indent(2) }}|{{ 'x' is sequence }}{{ 'x' is iterable }}{{ {} is mapping }}",
            "a\n\n  b|TrueTrueTrue",
        ),
        ("{{ 2 + 3 * 4 }}{{ [1] + [2] }}{{ 'ab' * 2 }}{{ 7 // 2 }}{{ 7 % 4 }}", "14[1, 2]abab33"),
    ];
    for (source, expected) in cases {
        assert_eq!(render(source).as_deref(), Ok(expected), "{source}");
    }
}

#[test]
fn loops_namespaces_and_macros_work_with_paid_instructions() {
    let source = "{%- macro twice(x, sep='-') -%}{{ x ~ sep ~ x }}{%- endmacro -%}
{%- set ns = namespace(n=0, parts=[]) -%}
{%- for i in range(10) -%}
{%- if i == 3 %}{% continue %}{% endif -%}
{%- if i == 6 %}{% break %}{% endif -%}
{%- set ns.n = ns.n + i -%}{%- set ns.parts = ns.parts + [i] -%}
{%- endfor -%}
{{ ns.n }} {{ ns.parts }} {{ twice('a') }} {% generation %}kept{% endgeneration %}
{%- for k, v in {'x': 1, 'y': 2}.items() if k != 'x' %} {{ k }}={{ v }}{{ loop.last }}{% else %}none{% endfor %}
{%- set block %}[{{ ns.n }}]{% endset %}{{ block }}{{ 'yes' if ns.n > 3 and not missing else 'no' }}";
    assert_eq!(render(source).unwrap(), "12 [0, 1, 2, 4, 5] a-a kept y=2True[12]yes");
}

#[test]
fn loops_recurse() {
    let source = "{% for m in [[1, [2]], 3] recursive %}{% if m is number %}{{ m }}{% else %}({{ loop(m) }}){% endif %}{% endfor %}";
    assert_eq!(render(source).unwrap(), "(1(2))3");
}

#[test]
fn the_date_is_that_of_the_clock() {
    let template = ChatTemplate::new("{{ strftime_now('%d %b %Y') }}", vec![], []).unwrap();
    let now = "2024-03-05T14:07:09[UTC]".parse().unwrap();
    assert_eq!(template.render(&chat(&["x"]), &now).unwrap().text, "05 Mar 2024");
}

#[test]
fn options_tools_and_documents_reach_the_template() {
    let source = "{{ enable_thinking }}{{ tools[0].name }}{{ documents[0].text }}{{ messages[0].name }}";
    let mut chat = chat(&["x"]);
    chat.options = vec![("enable_thinking".into(), Json::Bool(false))];
    chat.tools = vec![Json::Object(vec![("name".into(), "t".into())])];
    chat.documents = vec![Json::Object(vec![("text".into(), "d".into())])];
    chat.messages[0].fields = vec![("name".into(), "n".into())];
    assert_eq!(render_chat(source, &chat).unwrap(), "Falsetdn");
    for name in ["messages", "+", "a b", "1", ""] {
        chat.options = vec![(name.into(), Json::Null)];
        assert!(render_chat(source, &chat).unwrap_err().contains("no name"), "{name}");
    }
}

#[test]
fn a_broken_template_names_its_line() {
    assert!(render("a\n{% for %}").unwrap_err().contains('2'));
    assert!(render("a\n\n{{ messages[0].content.nothing() }}").unwrap_err().contains('3'));
    assert!(render("{% include 'x' %}").unwrap_err().contains("other templates"));
}

#[test]
fn work_is_limited() {
    let source = "{% for a in range(9999) %}{% for b in range(9999) %}{{ b }}{% endfor %}{% endfor %}";
    assert!(render(source).is_err());
}

/// One thing each that grows without writing anything, or without counting steps.
#[test]
fn growth_is_limited() {
    let doubling = |how: &str| {
        format!("{{% set ns = namespace(x='ab') %}}{{% for i in range(60) %}}{how}{{% endfor %}}")
    };
    let cases = [
        doubling("{% set ns.x = ns.x + ns.x %}"),
        doubling("{% set ns.x = ns.x ~ ns.x %}"),
        doubling("{% set ns.x = ns.x * 2 %}"),
        doubling("{% set ns.x = [ns.x, ns.x] | join %}"),
        doubling("{% set ns.x = ''.join([ns.x, ns.x]) %}"),
        doubling("{% set ns.x = ns.x | replace('a', ns.x) %}"),
        doubling("{% set ns.x = ns.x.replace('a', ns.x) %}"),
        doubling("{% set ns.x = '{}{}'.format(ns.x, ns.x) %}"),
        doubling("{% set ns.x = [ns.x, ns.x] | tojson %}"),
        doubling("{% set ns.x = [ns.x, ns.x] | string %}"),
        doubling("{% set y %}{{ ns.x }}{{ ns.x }}{% endset %}{% set ns.x = y %}"),
        doubling("{% set ns.x = [ns.x, ns.x] %}"),
        "{% set ns = namespace(x=0) %}{% for i in range(99999) %}{% set ns.x = [ns.x] %}{% endfor %}".to_owned(),
        "{% set ns = namespace(x=0) %}{% for i in range(99999) %}{% set ns.x = namespace(x=ns.x) %}{% endfor %}".to_owned(),
        format!("{{% set x %}}{{% for i in range(99999) %}}{}{{% endfor %}}{{% endset %}}", "raw ".repeat(1_000)),
        "{% set x = ('a' * 999999) %}{% for i in range(999) %}{{ x }}{% endfor %}".to_owned(),
        "{{ 'a' * 200000000 }}".to_owned(),
        "{% set n = 200000000 %}{{ 'a' * n }}".to_owned(),
        "{% set n = 900000000 %}{{ [1] * n }}".to_owned(),
        "{{ ('a' * 1000) * 1000 * 1000 }}".to_owned(),
        "{{ '{:999999999}'.format(1) }}".to_owned(),
        "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}".to_owned(),
        "{% set ns = namespace() %}{% set ns.x = ns %}{{ ns }}".to_owned(),
        "{% set ns = namespace() %}{% set ns.x = ns %}{{ ns | tojson }}".to_owned(),
        format!("{{{{ 0{} }}}}", "+1".repeat(100_000)),
        format!("{{{{ {}1 }}}}", "not ".repeat(100_000)),
        format!("{{{{ {}1{} }}}}", "(".repeat(100_000), ")".repeat(100_000)),
        format!("{{{{ a{} }}}}", ".a".repeat(100_000)),
        "x".repeat(2 << 20),
    ];
    for source in cases {
        let start: String = source.chars().take(100).collect();
        assert!(render(&source).is_err(), "{start}");
    }
}

#[test]
fn much_can_be_written() {
    let source = "{% set x = 'é' * 500000 %}{% for i in range(32) %}{{ x }}{% endfor %}";
    assert_eq!(render(source).unwrap().len(), 32_000_000);
}

#[test]
fn a_long_chat_is_within_the_limits() {
    let source = "{% for m in messages %}{% if m.role == 'user' and (loop.index0 % 2 == 0) %}{{ '<|' + m.role + '|>\\n' + m.content | trim + '\\n' }}{% endif %}{% endfor %}";
    let messages = (0..10_000).map(|_| ChatMessage::new("user", "word ".repeat(20))).collect();
    assert!(render_chat(source, &Chat::new(messages)).unwrap().len() > 500_000);
}

#[test]
fn what_messages_say_is_shielded_and_what_the_template_says_is_not() {
    let template =
        ChatTemplate::new("<s>{{ messages[0].content }}</s>{{ messages | tojson }}", vec![], ["<s>", "</s>"])
            .unwrap();
    let rendered = template.render(&chat(&["a<s>b"]), &Zoned::now()).unwrap();
    assert_eq!(rendered.text, "<s>a<s>b</s>[{\"role\": \"user\", \"content\": \"a<s>b\"}]");
    let second = rendered.text.rfind("<s>").unwrap();
    assert_eq!(rendered.shielded, [4, second]);
}
