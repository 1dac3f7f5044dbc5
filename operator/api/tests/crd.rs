//! The CRDs as the chart carries them, and what must hold of their schemas.

use std::{fs, path::PathBuf};

use hearth_api::crd;
use serde_json::Value;

fn schema(kind: &str) -> Value {
    let crd = crd::all().into_iter().find(|c| c.spec.names.kind == kind).expect("a CRD of that kind");
    let version = &crd.spec.versions[0];
    serde_json::to_value(version.schema.as_ref().and_then(|s| s.open_api_v3_schema.as_ref())).expect("JSON")
}

/// Every schema in the tree, with its path.
fn walk<'a>(path: &str, schema: &'a Value, visit: &mut dyn FnMut(&str, &'a Value)) {
    visit(path, schema);
    for (name, property) in schema["properties"].as_object().into_iter().flatten() {
        walk(&format!("{path}.{name}"), property, visit);
    }
    for key in ["items", "additionalProperties"] {
        if schema[key].is_object() {
            walk(&format!("{path}[]"), &schema[key], visit);
        }
    }
}

/// `HEARTH_UPDATE=1 cargo test -p hearth-api` rewrites the files.
#[test]
fn the_charts_files_are_fresh() {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../charts/hearth/files/crds");
    for crd in crd::all() {
        let path = folder.join(format!("{}.yaml", crd.spec.names.plural));
        let yaml = crd::yaml(&crd);
        if std::env::var_os("HEARTH_UPDATE").is_some() {
            fs::create_dir_all(&folder).expect("the folder can be made");
            fs::write(&path, &yaml).expect("the file can be written");
        }
        let committed = fs::read_to_string(&path).unwrap_or_default();
        assert!(
            committed == yaml,
            "{} is stale: run HEARTH_UPDATE=1 cargo test -p hearth-api and commit it",
            path.display()
        );
        // Helm hands the file through as it is, but a person may template it.
        assert!(!yaml.contains("{{"));
    }
}

#[test]
fn every_field_is_documented() {
    for kind in ["ServedModel", "Worker"] {
        let schema = schema(kind);
        for part in ["spec", "status"] {
            walk(part, &schema["properties"][part], &mut |path, schema| {
                let exempt = path.ends_with("[]") || path.ends_with("conditions[].status");
                let text = schema["description"].as_str().unwrap_or_default();
                assert!(exempt || text.len() > 7, "{kind} {path} has no description: {schema}");
                assert!(
                    !text.contains('`') && !text.contains("[["),
                    "{kind} {path}: kubectl shows no markup"
                );
            });
        }
    }
}

/// The API server estimates a rule's cost from these bounds, and refuses the
/// CRD when the estimate is too high.
#[test]
fn everything_in_a_spec_is_bounded() {
    for kind in ["ServedModel", "Worker"] {
        walk("spec", &schema(kind)["properties"]["spec"], &mut |path, schema| {
            let has = |key: &str| !schema[key].is_null();
            let bounded = match schema["type"].as_str() {
                Some("string") => has("maxLength") || has("enum") || has("format"),
                Some("array") => has("maxItems"),
                Some("object") => has("properties") || has("maxProperties"),
                Some("integer") => has("maximum") || has("x-kubernetes-validations"),
                Some("boolean") => true,
                None => has("x-kubernetes-int-or-string") && has("pattern") && has("maxLength"),
                Some(other) => panic!("{kind} {path} is a {other}"),
            };
            assert!(bounded, "{kind} {path} has no bound: {schema}");
        });
    }
}

#[test]
fn schemas_are_structural_and_use_known_formats() {
    for kind in ["ServedModel", "Worker"] {
        walk("", &schema(kind), &mut |path, schema| {
            let int_or_string = schema["x-kubernetes-int-or-string"] == true;
            assert!(schema["type"].is_string() || int_or_string, "{kind} {path}: {schema}");
            assert!(schema["nullable"].is_null(), "{kind} {path} may be null");
            for key in ["$ref", "oneOf", "allOf", "definitions"] {
                assert!(schema[key].is_null(), "{kind} {path} has {key}");
            }
            assert!(schema["anyOf"].is_null() || int_or_string, "{kind} {path} has anyOf");
            if let Some(format) = schema["format"].as_str() {
                assert!(["int32", "int64", "date-time"].contains(&format), "{kind} {path}: {format}");
            }
        });
    }
}

#[test]
fn rules_have_messages_with_a_remedy() {
    for kind in ["ServedModel", "Worker"] {
        walk("", &schema(kind), &mut |path, schema| {
            for rule in schema["x-kubernetes-validations"].as_array().into_iter().flatten() {
                let message = rule["message"].as_str().unwrap_or_default();
                assert!(
                    message.len() > 30 && message.len() < 2048 && !message.contains('\n'),
                    "{kind} {path}: {rule}"
                );
            }
        });
    }
}

#[test]
fn columns_are_those_that_people_ask_for() {
    let columns = |kind: &str| -> Vec<String> {
        let crd = crd::all().into_iter().find(|c| c.spec.names.kind == kind).expect("a CRD of that kind");
        let columns = crd.spec.versions[0].additional_printer_columns.clone().unwrap_or_default();
        columns.into_iter().map(|c| c.name.to_uppercase()).collect()
    };
    assert_eq!(
        columns("ServedModel"),
        ["MODEL", "QUANT", "CONTEXT", "REPLICAS", "WORKER", "MEMORY", "STATE", "AGE"]
    );
    assert_eq!(columns("Worker"), ["KIND", "DEVICE", "MEMORY", "FREE", "MODELS", "STATE", "AGE"]);
}

#[test]
fn names_clash_with_no_other_operator() {
    let [model, worker] = crd::all().map(|c| c.spec.names);
    assert_eq!((model.plural.as_str(), model.short_names), ("servedmodels", Some(vec!["sm".to_owned()])));
    assert_eq!((worker.plural.as_str(), worker.short_names), ("workers", None));
}
