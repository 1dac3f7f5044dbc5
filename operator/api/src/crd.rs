//! The CustomResourceDefinitions, as the chart carries them.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    CustomResourceDefinition, JSONSchemaProps,
};
use kube::CustomResourceExt;
use serde_json::Value;

use crate::{ServedModel, Worker};

/// All of Hearth's CRDs: servedmodels, workers.
#[must_use]
pub fn all() -> [CustomResourceDefinition; 2] {
    [ServedModel::crd(), Worker::crd()].map(tidied)
}

/// A CRD as YAML, byte for byte the same whatever else is built along.
#[must_use]
pub fn yaml(crd: &CustomResourceDefinition) -> String {
    serde_yaml_ng::to_string(crd).expect("a CRD has no keys but strings")
}

fn tidied(mut crd: CustomResourceDefinition) -> CustomResourceDefinition {
    for version in &mut crd.spec.versions {
        let Some(schema) = version.schema.as_mut().and_then(|s| s.open_api_v3_schema.as_mut()) else {
            continue;
        };
        let mut value = serde_json::to_value(&*schema).expect("a schema is JSON");
        tidy(&mut value);
        // The order of keys inside a default would hang on serde_json's features.
        value.sort_all_objects();
        *schema = serde_json::from_value::<JSONSchemaProps>(value).expect("tidied, it is still a schema");
    }
    crd
}

/// Makes a schema say what the API means:
/// - an optional field is one that may be left out, not one that may be null;
/// - integers have the formats that Kubernetes knows, so `u32` is an int64.
fn tidy(schema: &mut Value) {
    match schema {
        Value::Object(object) => {
            if object.get("nullable").is_some_and(Value::is_boolean) {
                object.remove("nullable");
            }
            if object.get("default").is_some_and(Value::is_null) {
                object.remove("default");
            }
            if let Some(format) = object.get_mut("format")
                && let Some(known) = format.as_str().and_then(known_format)
            {
                *format = known.into();
            }
            // Defaults hold values, not schemas.
            object.iter_mut().filter(|(key, _)| *key != "default").for_each(|(_, value)| tidy(value));
        }
        Value::Array(items) => items.iter_mut().for_each(tidy),
        _ => {}
    }
}

fn known_format(format: &str) -> Option<&'static str> {
    match format {
        "uint8" | "uint16" | "int8" | "int16" => Some("int32"),
        "uint32" | "uint64" => Some("int64"),
        _ => None,
    }
}
