//! `tools` and `tool_choice`: what a model may call, and whether it has to.

use hearth_proto::inference::v1::{Constraint, constraint::Form};
use serde_json::{Map, Value, json};

use super::fields::{Fields, show, wrong_type};
use crate::gateway::http::error::ApiError;

/// OpenAI's limit.
const MAX_TOOLS: usize = 128;
/// OpenAI's limit, in bytes.
const MAX_NAME: usize = 64;
/// Where schemas keep what they refer to.
const DEFINITIONS: [&str; 2] = ["$defs", "definitions"];

/// What a model may call.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Offer {
    /// The tools as the client wrote them, for the model's template.
    pub(super) tools: Vec<String>,
    /// Names of the functions.
    pub(super) names: Vec<String>,
    /// The form of the output, where it has to be a call.
    pub(super) call: Option<Constraint>,
}

struct Function<'a> {
    name: &'a str,
    parameters: Option<&'a Value>,
}

/// Reads what is offered. Nothing is if nothing may be called.
pub(super) fn offer(fields: &Fields) -> Result<Offer, ApiError> {
    let tools = match fields.get("tools") {
        None => &[][..],
        Some(Value::Array(tools)) => tools,
        Some(other) => return Err(wrong_type("tools", "an array of tools", other)),
    };
    if tools.len() > MAX_TOOLS {
        let said = format!("tools has {} entries: send at most {MAX_TOOLS}", tools.len());
        return Err(ApiError::invalid("tools", said));
    }
    let functions =
        tools.iter().enumerate().map(|(i, tool)| function(i, tool)).collect::<Result<Vec<_>, _>>()?;
    let required = match fields.get("tool_choice") {
        None => vec![],
        Some(Value::String(choice)) => match choice.as_str() {
            "none" => return Ok(Offer::default()),
            "auto" => vec![],
            "required" if functions.is_empty() => {
                let said = "tool_choice is \"required\" and there are no tools: send some";
                return Err(ApiError::invalid("tool_choice", said));
            }
            "required" => functions.iter().collect(),
            _ => return Err(wrong_choice(&Value::from(choice.as_str()))),
        },
        Some(choice) => {
            let named = choice.get("function").and_then(|function| function.get("name"));
            let name = named.and_then(Value::as_str).ok_or_else(|| wrong_choice(choice))?;
            let found = functions.iter().find(|function| function.name == name);
            vec![found.ok_or_else(|| {
                let said = format!("tool_choice: there is no tool {}", show(&Value::from(name)));
                ApiError::invalid("tool_choice", said)
            })?]
        }
    };
    Ok(Offer {
        call: if required.is_empty() { None } else { Some(call(&required)?) },
        names: functions.iter().map(|function| function.name.to_owned()).collect(),
        tools: tools.iter().map(Value::to_string).collect(),
    })
}

fn wrong_choice(choice: &Value) -> ApiError {
    wrong_type("tool_choice", "\"none\", \"auto\", \"required\" or the name of a function", choice)
}

fn function(i: usize, tool: &Value) -> Result<Function<'_>, ApiError> {
    let path = format!("tools[{i}]");
    if tool.get("type").and_then(Value::as_str) != Some("function") {
        let said = format!("{path}.type must be \"function\": other tools are not supported yet");
        return Err(ApiError::unsupported(format!("{path}.type"), said));
    }
    let Some(Value::Object(function)) = tool.get("function") else {
        let found = tool.get("function").unwrap_or(&Value::Null);
        return Err(wrong_type(&format!("{path}.function"), "an object with a name", found));
    };
    let plain = |name: &str| {
        let good = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-';
        (1..=MAX_NAME).contains(&name.len()) && name.bytes().all(good)
    };
    let name = match function.get("name") {
        Some(Value::String(name)) if plain(name) => name,
        other => {
            let expected = "a name of up to 64 letters, digits, - and _";
            return Err(wrong_type(
                &format!("{path}.function.name"),
                expected,
                other.unwrap_or(&Value::Null),
            ));
        }
    };
    let parameters = function.get("parameters").filter(|parameters| !parameters.is_null());
    if let Some(other) = parameters.filter(|parameters| !parameters.is_object()) {
        return Err(wrong_type(&format!("{path}.function.parameters"), "a JSON schema", other));
    }
    Ok(Function { name, parameters })
}

/// JSON that is a call of one of these. Definitions move to the top, where references look.
fn call(functions: &[&Function<'_>]) -> Result<Constraint, ApiError> {
    let mut schema = Map::new();
    let mut calls = Vec::new();
    for Function { name, parameters } in functions {
        let mut parameters = parameters.cloned().unwrap_or_else(|| json!({"type": "object"}));
        for place in DEFINITIONS {
            let taken = parameters.as_object_mut().and_then(|parameters| parameters.remove(place));
            let Some(Value::Object(definitions)) = taken else { continue };
            let all = schema.entry(place).or_insert_with(|| json!({}));
            for (key, definition) in definitions {
                if all.get(&key).is_some_and(|known| *known != definition) {
                    let said =
                        format!("two tools define {key:?} in their {place}: give them different names");
                    return Err(ApiError::invalid("tools", said));
                }
                all[key] = definition;
            }
        }
        calls.push(json!({
            "type": "object",
            "properties": {"name": {"const": name}, "arguments": parameters},
            "required": ["name", "arguments"],
            "additionalProperties": false,
        }));
    }
    schema.insert("anyOf".into(), calls.into());
    Ok(Constraint { form: Some(Form::JsonSchema(Value::Object(schema).to_string())) })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(body: &Value) -> Result<Offer, ApiError> {
        offer(&Fields::parse(body.to_string().as_bytes()).unwrap())
    }

    fn tool(name: &str, parameters: &Value) -> Value {
        json!({"type": "function", "function": {"name": name, "parameters": parameters}})
    }

    #[test]
    fn tools_are_offered_unless_none_may_be_called() {
        assert_eq!(read(&json!({})).unwrap(), Offer::default());
        let tools = json!([tool("add", &json!({"type": "object"})), tool("now", &Value::Null)]);
        let auto = read(&json!({"tools": tools})).unwrap();
        assert_eq!((auto.names.join(" "), auto.tools.len(), &auto.call), ("add now".into(), 2, &None));
        assert_eq!(auto.tools[0], tools[0].to_string());
        assert_eq!(read(&json!({"tools": tools, "tool_choice": "auto"})).unwrap(), auto);
        assert_eq!(read(&json!({"tools": tools, "tool_choice": "none"})).unwrap(), Offer::default());
    }

    fn schema(choice: &Value) -> Value {
        let parameters =
            json!({"$defs": {"n": {"type": "null"}}, "properties": {"a": {"$ref": "#/$defs/n"}}});
        let tools = json!([tool("add", &parameters), tool("now", &Value::Null)]);
        let offer = read(&json!({"tools": tools, "tool_choice": choice})).unwrap();
        match offer.call.and_then(|constraint| constraint.form) {
            Some(Form::JsonSchema(text)) => serde_json::from_str(&text).unwrap(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_call_that_is_required_has_a_form() {
        let call = |name: &str, parameters: Value| {
            json!({
                "type": "object",
                "properties": {"name": {"const": name}, "arguments": parameters},
                "required": ["name", "arguments"],
                "additionalProperties": false,
            })
        };
        let add = call("add", json!({"properties": {"a": {"$ref": "#/$defs/n"}}}));
        let now = call("now", json!({"type": "object"}));
        let defs = json!({"n": {"type": "null"}});
        assert_eq!(schema(&json!("required")), json!({"$defs": defs, "anyOf": [add, now]}));
        let named = json!({"type": "function", "function": {"name": "now"}});
        assert_eq!(schema(&named), json!({"anyOf": [now]}));
    }

    #[test]
    fn what_is_wrong_is_named() {
        let clash = |n: u32| tool(&format!("f{n}"), &json!({"$defs": {"x": {"const": n}}}));
        for (body, param) in [
            (json!({"tools": {}}), "tools"),
            (json!({"tools": [{"type": "web_search"}]}), "tools[0].type"),
            (json!({"tools": [{"type": "function"}]}), "tools[0].function"),
            (json!({"tools": [tool("a b", &Value::Null)]}), "tools[0].function.name"),
            (json!({"tools": [tool("a", &json!([]))]}), "tools[0].function.parameters"),
            (json!({"tools": [], "tool_choice": "required"}), "tool_choice"),
            (json!({"tool_choice": "any"}), "tool_choice"),
            (json!({"tool_choice": {"type": "function", "function": {"name": "x"}}}), "tool_choice"),
            (json!({"tools": [clash(1), clash(2)], "tool_choice": "required"}), "tools"),
            (json!({"tools": vec![tool("a", &Value::Null); 129]}), "tools"),
        ] {
            assert_eq!(read(&body).unwrap_err().param.as_deref(), Some(param), "{body}");
        }
    }
}
