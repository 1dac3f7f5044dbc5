//! What the output must be: OpenAI's `response_format`, and the fields that vLLM added.

use hearth_proto::inference::v1::{Choice, Constraint, JsonObject, constraint::Form};
use serde_json::{Map, Value};

use super::{
    fields::{Fields, show, wrong_type},
    sampling::texts,
};
use crate::gateway::http::error::ApiError;

/// The fields that can hold a constraint, and where a request has them.
const GUIDED: [(&str, Kind); 4] = [
    ("guided_json", Kind::Json),
    ("guided_regex", Kind::Regex),
    ("guided_choice", Kind::Choice),
    ("guided_grammar", Kind::Grammar),
];
const STRUCTURED: [(&str, Kind); 4] =
    [("json", Kind::Json), ("regex", Kind::Regex), ("choice", Kind::Choice), ("grammar", Kind::Grammar)];

#[derive(Clone, Copy)]
enum Kind {
    Json,
    Regex,
    Choice,
    Grammar,
}

/// The one constraint of a request, if it has one.
pub(super) fn constraint(fields: &Fields) -> Result<Option<Constraint>, ApiError> {
    let mut found: Vec<(String, Form)> = Vec::new();
    if let Some(value) = fields.get("response_format")
        && let Some(form) = response_format(value)?
    {
        found.push(("response_format".into(), form));
    }
    for (name, kind) in GUIDED {
        if let Some(value) = fields.get(name) {
            found.push((name.into(), form(name, kind, value)?));
        }
    }
    match fields.get("structured_outputs") {
        None => {}
        Some(Value::Object(outputs)) => {
            for (name, kind) in STRUCTURED {
                if let Some(value) = outputs.get(name).filter(|value| !value.is_null()) {
                    let path = format!("structured_outputs.{name}");
                    let form = form(&path, kind, value)?;
                    found.push((path, form));
                }
            }
        }
        Some(other) => return Err(wrong_type("structured_outputs", "an object", other)),
    }
    if let [(first, _), (second, _), ..] = found.as_slice() {
        let said = format!("{second} and {first} are both given: an output has one form, so send one");
        return Err(ApiError::invalid(second, said));
    }
    Ok(found.pop().map(|(_, form)| Constraint { form: Some(form) }))
}

fn response_format(value: &Value) -> Result<Option<Form>, ApiError> {
    let Value::Object(format) = value else {
        return Err(wrong_type("response_format", "an object with a type", value));
    };
    match format.get("type").and_then(Value::as_str) {
        Some("text") => Ok(None),
        // Others let the schema stand right here.
        Some("json_object") => Ok(Some(match format.get("schema").filter(|schema| !schema.is_null()) {
            Some(schema) => json_schema("response_format.schema", schema)?,
            None => Form::JsonObject(JsonObject {}),
        })),
        Some("json_schema") => match format.get("json_schema") {
            Some(Value::Object(named)) => Ok(Some(schema_of(named)?)),
            other => {
                let other = other.unwrap_or(&Value::Null);
                Err(wrong_type("response_format.json_schema", "an object with a schema", other))
            }
        },
        _ => {
            let path = "response_format.type";
            let known = "\"text\", \"json_object\" or \"json_schema\"";
            Err(wrong_type(path, known, format.get("type").unwrap_or(&Value::Null)))
        }
    }
}

/// Whether it is strict makes no difference: an output never leaves its schema.
fn schema_of(named: &Map<String, Value>) -> Result<Form, ApiError> {
    match named.get("schema").filter(|schema| !schema.is_null()) {
        Some(schema) => json_schema("response_format.json_schema.schema", schema),
        None => Ok(Form::JsonObject(JsonObject {})),
    }
}

fn form(path: &str, kind: Kind, value: &Value) -> Result<Form, ApiError> {
    match (kind, value) {
        (Kind::Json, Value::String(schema)) => Ok(Form::JsonSchema(schema.clone())),
        (Kind::Json, schema) => json_schema(path, schema),
        (Kind::Regex, Value::String(regex)) => Ok(Form::Regex(regex.clone())),
        (Kind::Grammar, Value::String(grammar)) => Ok(Form::Lark(grammar.clone())),
        (Kind::Regex | Kind::Grammar, other) => Err(wrong_type(path, "a string", other)),
        (Kind::Choice, Value::Array(values)) => Ok(Form::Choice(Choice { texts: texts(path, values)? })),
        (Kind::Choice, other) => Err(wrong_type(path, "an array of strings", other)),
    }
}

fn json_schema(path: &str, schema: &Value) -> Result<Form, ApiError> {
    match schema {
        Value::Object(_) | Value::Bool(_) => Ok(Form::JsonSchema(schema.to_string())),
        other => {
            let said = format!("{path} must be a JSON schema, not {}", show(other));
            Err(ApiError::invalid(path, said))
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(body: &str) -> Result<Option<Form>, ApiError> {
        let found = constraint(&Fields::parse(body.as_bytes()).unwrap())?;
        Ok(found.and_then(|constraint| constraint.form))
    }

    #[test]
    fn every_way_to_say_it_is_read() {
        let schema = |text: &str| Some(Form::JsonSchema(text.into()));
        for (body, expected) in [
            ("{}", None),
            (r#"{"response_format": null}"#, None),
            (r#"{"response_format": {"type": "text"}}"#, None),
            (r#"{"response_format": {"type": "json_object"}}"#, Some(Form::JsonObject(JsonObject {}))),
            (
                r#"{"response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": "object"}}}}"#,
                schema(r#"{"type":"object"}"#),
            ),
            (r#"{"response_format": {"type": "json_object", "schema": true}}"#, schema("true")),
            (r#"{"guided_json": {"type": "null"}}"#, schema(r#"{"type":"null"}"#)),
            (r#"{"guided_json": "{}"}"#, schema("{}")),
            (r#"{"guided_regex": "a+"}"#, Some(Form::Regex("a+".into()))),
            (r#"{"guided_grammar": "start: \"a\""}"#, Some(Form::Lark("start: \"a\"".into()))),
            (r#"{"guided_choice": ["a"]}"#, Some(Form::Choice(Choice { texts: vec!["a".into()] }))),
            (r#"{"structured_outputs": {"regex": "a", "json": null}}"#, Some(Form::Regex("a".into()))),
        ] {
            assert_eq!(read(body).unwrap(), expected, "{body}");
        }
    }

    /// The order of a schema's properties is the order in which they are generated.
    #[test]
    fn a_schema_keeps_its_order() {
        let body = r#"{"guided_json": {"properties": {"z": {}, "a": {}, "m": {}}}}"#;
        let kept = r#"{"properties":{"z":{},"a":{},"m":{}}}"#;
        assert_eq!(read(body).unwrap(), Some(Form::JsonSchema(kept.into())));
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (body, param) in [
            (json!({"response_format": "json"}), "response_format"),
            (json!({"response_format": {"type": "xml"}}), "response_format.type"),
            (json!({"response_format": {"type": "json_schema"}}), "response_format.json_schema"),
            (
                json!({"response_format": {"type": "json_schema", "json_schema": {"schema": 1}}}),
                "response_format.json_schema.schema",
            ),
            (json!({"guided_json": 1}), "guided_json"),
            (json!({"guided_regex": 1}), "guided_regex"),
            (json!({"guided_choice": "a"}), "guided_choice"),
            (json!({"guided_choice": [1]}), "guided_choice[0]"),
            (json!({"structured_outputs": 1}), "structured_outputs"),
            (json!({"structured_outputs": {"grammar": {}}}), "structured_outputs.grammar"),
            (json!({"guided_regex": "a", "response_format": {"type": "json_object"}}), "guided_regex"),
        ] {
            assert_eq!(read(&body.to_string()).unwrap_err().param.as_deref(), Some(param), "{body}");
        }
    }
}
