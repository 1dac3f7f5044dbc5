//! Which ServedModels are accepted, and what the planner is told of them.

use std::collections::BTreeMap;

use hearth_api::ServedModel;
use hearth_api::model::{JoinedPolicy, ReplicaState, ReplicaStatus};
use hearth_api::{route, validation};
use hearth_model::KvType;
use hearth_plan::{
    Context, Model, ModelFile, ModelKey, Operator, Placement, Replica, Requirement, Resolution, Selector,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use kube::ResourceExt;

use crate::controller::look::Found;
use crate::controller::tell;

/// Whether a ServedModel's spec is taken up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// It is. Fields that are set and have no effect yet are named.
    Accepted(Vec<&'static str>),
    /// A field is wrong: which, the value, and what to do.
    Invalid(String),
    /// The context asked for is not within the model's own.
    ContextOutOfRange(String),
    /// An older model has the served name.
    NameTaken {
        /// The name.
        name: String,
        /// Who has it, as `namespace/name`.
        owner: String,
    },
}

impl Verdict {
    /// Whether the spec is taken up.
    pub fn is_accepted(&self) -> bool {
        matches!(self, Self::Accepted(_))
    }
}

/// The verdict on every model, by UID.
pub(super) fn verdicts<'a>(
    models: impl Iterator<Item = &'a ServedModel> + Clone,
) -> BTreeMap<String, Verdict> {
    let owners = route::owners(models.clone());
    let verdict = |model: &ServedModel| {
        let errors = validation::served_model(&model.spec);
        if !errors.is_empty() {
            let errors: Vec<String> = errors.iter().map(ToString::to_string).collect();
            return Verdict::Invalid(errors.join("; "));
        }
        match owners.get(model.served_name()) {
            Some(owner) if owner.uid() != model.uid() => {
                Verdict::NameTaken { name: model.served_name().to_owned(), owner: key(owner).to_string() }
            }
            _ => Verdict::Accepted(validation::without_effect(&model.spec)),
        }
    };
    models.filter_map(|model| Some((model.uid()?, verdict(model)))).collect()
}

/// The key by which the planner knows a model.
pub fn key(model: &ServedModel) -> ModelKey {
    ModelKey::new(model.namespace().unwrap_or_default(), model.name_any())
}

/// What tells a file from every other: its digest, else where it lies.
///
/// A revision is no part of it. The same bytes have another one after a commit
/// that touched something else, and an ETag is the server's own affair: neither
/// is a reason to load anew what runs. A Hub's URL names its commit, and so
/// a file that moved on there has another identity all the same.
pub(super) fn file_id(url: &str, sha256: Option<&str>) -> String {
    match sha256 {
        Some(digest) => format!("sha256:{digest}"),
        None => url.to_owned(),
    }
}

/// What the planner is told of an accepted model with a known file.
///
/// # Errors
/// When the context asked for is not within the model's own.
pub(super) fn known(
    model: &ServedModel,
    found: &Found,
    replicas: u32,
    current: &[ReplicaStatus],
) -> Result<Model, Verdict> {
    let spec = &model.spec;
    let (min, max) = spec
        .context
        .bounds(found.dims.context_length)
        .map_err(|error| Verdict::ContextOutOfRange(error.to_string()))?;
    Ok(Model {
        file: Resolution::Resolved(ModelFile {
            id: file_id(&found.url, found.sha256.as_deref()),
            bytes: found.size,
            dims: found.dims,
        }),
        context: Context { min, max },
        sequences: spec.sequences,
        placement: Placement {
            selector: spec.placement.worker_selector.as_ref().map(selector).unwrap_or_default(),
            devices: spec.placement.devices.clone(),
            joined: spec.placement.joined == JoinedPolicy::Allow,
        },
        ..unknown(model, replicas, current, String::new())
    })
}

/// What the planner is told of a model whose spec is refused or whose file is
/// not known yet: what runs of it stays, whatever the spec says now.
pub(super) fn unknown(model: &ServedModel, replicas: u32, current: &[ReplicaStatus], why: String) -> Model {
    Model {
        key: key(model),
        created: model.creation_timestamp().map_or(i64::MAX, |time| time.0.as_second()),
        // Also of a spec that is refused: that it can't be taken up is no reason to
        // give its place away. The schema's range, should it have been evaded.
        priority: model.spec.priority.clamp(-100, 100),
        replicas,
        file: Resolution::Unresolved(why),
        context: Context { min: 1, max: 1 },
        sequences: 1,
        // The engines of this version keep keys and values as F16 whatever is asked.
        kv_type: KvType::F16,
        placement: Placement::default(),
        current: current.iter().map(replica).collect(),
        setbacks: Vec::new(),
    }
}

/// A replica as the planner knows it.
fn replica(status: &ReplicaStatus) -> Replica {
    Replica {
        ordinal: status.ordinal,
        worker: status.worker.clone(),
        device: status.device.clone(),
        context: status.context,
        sequences: status.sequences,
        kv_type: match status.kv_type {
            hearth_api::model::KvType::F16 => KvType::F16,
            hearth_api::model::KvType::Q8_0 => KvType::Q8_0,
        },
        file: status.file.clone(),
        footprint: tell::untold(&status.footprint),
        ready: status.state == ReplicaState::Ready,
        replaces: status.replaces,
    }
}

fn selector(selector: &LabelSelector) -> Selector {
    let requirement = |r: &k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelectorRequirement| {
        // The schema allows these four; validation has refused all others.
        let operator = match r.operator.as_str() {
            "NotIn" => Operator::NotIn,
            "Exists" => Operator::Exists,
            "DoesNotExist" => Operator::DoesNotExist,
            _ => Operator::In,
        };
        Requirement { key: r.key.clone(), operator, values: r.values.clone().unwrap_or_default() }
    };
    Selector {
        labels: selector.match_labels.clone().unwrap_or_default(),
        requirements: selector.match_expressions.iter().flatten().map(requirement).collect(),
    }
}

#[cfg(test)]
mod tests {
    use hearth_api::ServedModelSpec;
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
    use k8s_openapi::jiff::Timestamp;

    use super::*;

    fn served(name: &str, created: i64, change: impl FnOnce(&mut ServedModelSpec)) -> ServedModel {
        let mut spec = ServedModelSpec::new("hf://owner/repository/file.gguf");
        change(&mut spec);
        let mut model = ServedModel::new(name, spec);
        model.metadata.namespace = Some("default".to_owned());
        model.metadata.uid = Some(name.to_owned());
        model.metadata.creation_timestamp = Some(Time(Timestamp::from_second(created).unwrap()));
        model
    }

    #[test]
    fn the_younger_of_two_with_one_name_is_told_who_has_it() {
        let models =
            [served("chat", 1, |_| {}), served("other", 2, |s| s.served_name = Some("chat".to_owned()))];
        let verdicts = verdicts(models.iter());
        assert!(verdicts["chat"].is_accepted());
        let taken = Verdict::NameTaken { name: "chat".to_owned(), owner: "default/chat".to_owned() };
        assert_eq!(verdicts["other"], taken);
    }

    #[test]
    fn a_file_is_its_digest_or_where_it_lies() {
        assert_eq!(file_id("https://a/x", Some("d1")), file_id("https://b/y", Some("d1")));
        assert_ne!(file_id("https://a/x", Some("d1")), file_id("https://a/x", Some("d2")));
        assert_eq!(file_id("https://a/x", None), "https://a/x");
    }

    #[test]
    fn a_model_that_cannot_be_planned_anew_keeps_its_rank() {
        let rank =
            |priority| unknown(&served("chat", 1, |s| s.priority = priority), 1, &[], String::new()).priority;
        assert_eq!((rank(50), rank(1000), rank(-1000)), (50, 100, -100));
    }

    #[test]
    fn a_wrong_field_is_named_with_its_value() {
        let models = [served("chat", 1, |s| s.source.uri = "ftp://host/file".to_owned())];
        let verdicts = verdicts(models.iter());
        let Verdict::Invalid(message) = &verdicts["chat"] else { panic!("accepted") };
        assert!(message.contains("spec.source.uri") && message.contains("ftp://host/file"), "{message}");
    }
}
