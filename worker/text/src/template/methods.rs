//! Methods of texts and lists, as Python has them.

use std::sync::Arc;

use minijinja::value::{Value, from_args};
use minijinja::{Environment, Error};
use minijinja_contrib::pycompat;

use super::bounds::{Budget, refuse};
use super::python;

/// What a value costs beside its text.
const VALUE_BYTES: usize = 24;

/// Makes methods work, those that could make much at once only after they were paid for.
pub(super) fn install(environment: &mut Environment<'_>, budget: &Arc<Budget>) {
    let pays = Arc::clone(budget);
    environment.set_unknown_method_callback(move |state, value, method, args| {
        if let Some(text) = value.as_str() {
            match (method, args) {
                ("removeprefix", args) => {
                    let (prefix,): (&str,) = from_args(args)?;
                    return Ok(Value::from(text.strip_prefix(prefix).unwrap_or(text)));
                }
                ("removesuffix", args) => {
                    let (suffix,): (&str,) = from_args(args)?;
                    return Ok(Value::from(text.strip_suffix(suffix).unwrap_or(text)));
                }
                ("join", args) => {
                    let (items,): (&Value,) = from_args(args)?;
                    return join(text, items, &pays);
                }
                _ => pays.pay(most(text, method, args)?)?,
            }
        }
        pycompat::unknown_method_callback(state, value, method, args)
    });
}

/// An upper bound of what a method makes beside what is paid for later.
fn most(text: &str, method: &str, args: &[Value]) -> Result<usize, Error> {
    let argument = |at: usize| args.get(at).and_then(Value::as_str).unwrap_or_default();
    Ok(match method {
        "replace" => text.matches(argument(0)).count().saturating_mul(argument(1).len()),
        "split" | "splitlines" => {
            let parts = match argument(0) {
                "" => text.split(char::is_whitespace).count(),
                separator => text.matches(separator).count() + 1,
            };
            parts.saturating_mul(VALUE_BYTES)
        }
        "format" => formatted(text, args)?,
        _ => 0,
    })
}

/// An upper bound of what a format comes to: every placeholder by the longest argument.
fn formatted(text: &str, args: &[Value]) -> Result<usize, Error> {
    let digits = text.split(|c: char| !c.is_ascii_digit()).map(str::len).max().unwrap_or(0);
    if digits > 3 {
        return Err(refuse("a width in a format of the chat template is too large"));
    }
    if args.iter().any(|value| value.as_object().is_some()) {
        return Err(refuse("a format of the chat template takes texts and numbers only"));
    }
    let longest = args.iter().filter_map(Value::len).max().unwrap_or(0).saturating_add(1_000);
    Ok(text.matches('{').count().saturating_mul(longest))
}

fn join(separator: &str, items: &Value, pays: &Budget) -> Result<Value, Error> {
    let mut joined = String::new();
    for (index, item) in items.try_iter()?.enumerate() {
        let item = python::text(&item, pays)?;
        let separator = if index > 0 { separator } else { "" };
        pays.pay(separator.len() + item.len())?;
        joined.extend([separator, &item]);
    }
    Ok(Value::from(joined))
}
