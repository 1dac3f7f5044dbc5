//! Functions, filters and tests as Python's environment has them.

use std::sync::{Arc, OnceLock};

use jiff::Zoned;
use minijinja::value::{Kwargs, Value, ValueKind};
use minijinja::{Environment, Error, context};

use super::bounds::{ADD, Budget, CONCATENATE, MULTIPLY, NEST, PAY, refuse};
use super::python::{self, JsonStyle};

/// Spaces of an indent, at the most.
const MOST_INDENT: usize = 64;

/// Puts everything into an environment that is used for one rendering, as of `now`.
pub(super) fn install(environment: &mut Environment<'_>, budget: &Arc<Budget>, now: &Zoned) {
    operators(environment, budget);
    texts(environment, budget);
    let (pays, now) = (Arc::clone(budget), now.clone());
    environment.set_formatter(move |out, _, value| {
        let text = python::text(value, &pays)?;
        pays.pay(text.len())?;
        Ok(out.write_str(&text)?)
    });
    environment
        .add_function("raise_exception", |message: String| -> Result<Value, Error> { Err(refuse(message)) });
    environment.add_function("strftime_now", move |format: &str| {
        jiff::fmt::strtime::format(format, &now).map_err(|error| refuse(error.to_string()))
    });
    environment.add_test("sequence", |value: &Value| {
        matches!(value.kind(), ValueKind::Seq | ValueKind::Map | ValueKind::String)
    });
    environment
        .add_test("number", |value: &Value| matches!(value.kind(), ValueKind::Number | ValueKind::Bool));
    // They make lists or texts of any length out of a number, or show the interpreter's
    // inside, and no template in use has them.
    for name in ["batch", "slice", "pprint", "zip", "chain", "format"] {
        environment.remove_filter(name);
    }
    environment.remove_global("debug");
}

fn operators(environment: &mut Environment<'_>, budget: &Arc<Budget>) {
    let pays = Arc::clone(budget);
    environment.add_function(ADD, move |left: Value, right: Value| match (left.as_str(), right.as_str()) {
        (Some(l), Some(r)) => {
            pays.pay(l.len() + r.len())?;
            Ok(Value::from([l, r].concat()))
        }
        _ => plain("left + right", left, right),
    });
    let pays = Arc::clone(budget);
    environment.add_function(MULTIPLY, move |left: Value, right: Value| {
        for (value, times) in [(&left, &right), (&right, &left)] {
            if let (Some(times), false) = (times.as_usize(), value.is_number()) {
                pays.pay_times(value.len().unwrap_or(0).saturating_mul(24), times)?;
            }
        }
        plain("left * right", left, right)
    });
    let pays = Arc::clone(budget);
    environment.add_function(CONCATENATE, move |left: &Value, right: &Value| {
        let (left, right) = (python::text(left, &pays)?, python::text(right, &pays)?);
        pays.pay(left.len() + right.len())?;
        Ok::<_, Error>(Value::from([left, right].concat()))
    });
    let pays = Arc::clone(budget);
    environment.add_function(NEST, move |value: Value| {
        pays.look_through(&value, 0)?;
        Ok::<_, Error>(value)
    });
    let pays = Arc::clone(budget);
    environment.add_function(PAY, move |value: Value| {
        pays.pay_for(&value)?;
        Ok::<_, Error>(value)
    });
}

/// The interpreter's own sum or product, of what is no text.
fn plain(expression: &'static str, left: Value, right: Value) -> Result<Value, Error> {
    static ENVIRONMENT: OnceLock<Environment<'static>> = OnceLock::new();
    let environment = ENVIRONMENT.get_or_init(Environment::empty);
    environment.compile_expression(expression)?.eval(context! { left, right })
}

fn texts(environment: &mut Environment<'_>, budget: &Arc<Budget>) {
    let pays = Arc::clone(budget);
    environment.add_filter("string", move |value: &Value| {
        Ok::<_, Error>(Value::from(python::text(value, &pays)?.into_owned()))
    });
    let pays = Arc::clone(budget);
    environment.add_filter("tojson", move |value: &Value, options: Kwargs| {
        let style = JsonStyle {
            indent: options.get::<Option<usize>>("indent")?.map(|spaces| spaces.min(MOST_INDENT)),
            ascii: options.get::<Option<bool>>("ensure_ascii")?.unwrap_or(false),
            sorted: options.get::<Option<bool>>("sort_keys")?.unwrap_or(false),
            separators: match options.get::<Option<&Value>>("separators")? {
                Some(pair) => Some(separators(pair)?),
                None => None,
            },
        };
        options.assert_all_used()?;
        python::json(value, &style, &pays)
    });
    let pays = Arc::clone(budget);
    environment.add_filter("join", move |value: &Value, separator: Option<&str>, options: Kwargs| {
        let attribute = options.get::<Option<&str>>("attribute")?;
        let mut joined = String::new();
        for (index, item) in value.try_iter()?.enumerate() {
            let item = match attribute {
                Some(name) => item.get_attr(name)?,
                None => item,
            };
            let item = python::text(&item, &pays)?;
            let separator = separator.filter(|_| index > 0).unwrap_or_default();
            pays.pay(separator.len() + item.len())?;
            joined.extend([separator, &item]);
        }
        Ok::<_, Error>(joined)
    });
    let pays = Arc::clone(budget);
    environment.add_filter("replace", move |text: &Value, from: &str, to: &str| {
        let text = python::text(text, &pays)?;
        pays.pay_times(to.len(), text.matches(from).count())?;
        Ok::<_, Error>(text.replace(from, to))
    });
    let pays = Arc::clone(budget);
    environment.add_filter(
        "indent",
        move |text: &str, width: Option<usize>, first: Option<bool>, options: Kwargs| {
            let width = width.or(options.get("width")?).unwrap_or(4).min(MOST_INDENT);
            let first = first.or(options.get("first")?).unwrap_or(false);
            let blank = options.get::<Option<bool>>("blank")?.unwrap_or(false);
            options.assert_all_used()?;
            pays.pay_times(width + 1, text.lines().count() + 1)?;
            let indent = " ".repeat(width);
            let mut indented = String::with_capacity(text.len());
            for (index, line) in text.split('\n').enumerate() {
                let wanted = if index == 0 { first } else { blank || !line.is_empty() };
                indented += if index == 0 { "" } else { "\n" };
                indented += if wanted { &indent } else { "" };
                indented += line;
            }
            Ok::<_, Error>(indented)
        },
    );
    let pays = Arc::clone(budget);
    environment.add_filter("list", move |value: Value| {
        pays.pay_times(24, value.len().unwrap_or(0))?;
        Ok::<_, Error>(value.try_iter()?.collect::<Vec<_>>())
    });
}

fn separators(pair: &Value) -> Result<(String, String), Error> {
    let texts = pair.try_iter()?.map(|text| text.as_str().map(str::to_owned)).collect::<Option<Vec<_>>>();
    match texts.as_deref() {
        Some([item, key]) => Ok((item.clone(), key.clone())),
        _ => Err(refuse("`separators` are two texts")),
    }
}
