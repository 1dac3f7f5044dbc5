//! Manifests that cases apply, and how their status is read.

use anyhow::Context;
use hearth_api::ServedModel;
use serde_json::json;

use super::Ctx;

/// Where cases apply their models.
pub(crate) const NAMESPACE: &str = "e2e";

/// A ServedModel with the given spec, as a person would write it.
pub(crate) fn served_model(name: &str, spec: serde_json::Value) -> ServedModel {
    serde_json::from_value(json!({
        "apiVersion": "hearth.dev/v1alpha1",
        "kind": "ServedModel",
        "metadata": {"name": name, "namespace": NAMESPACE},
        "spec": spec,
    }))
    .expect("the manifest of a case is a ServedModel")
}

/// The small real model with a modest context.
pub(crate) fn smollm2(ctx: &Ctx, name: &str) -> ServedModel {
    served_model(
        name,
        json!({
            "source": {"uri": ctx.model_uri},
            "context": {"min": 512, "max": 1024},
            "sequences": 2,
        }),
    )
}

/// A condition's (status, reason, message), if it was set for the present spec.
pub(crate) fn condition<'a>(model: &'a ServedModel, kind: &str) -> Option<(&'a str, &'a str, &'a str)> {
    let condition = model.status.as_ref()?.conditions.iter().find(|condition| condition.type_ == kind)?;
    if condition.observed_generation != model.metadata.generation {
        return None;
    }
    Some((&condition.status, &condition.reason, &condition.message))
}

impl Ctx {
    /// The test model's URI with a fault of the model server in front of its path.
    pub(crate) fn faulty(&self, fault: &str) -> anyhow::Result<String> {
        let split = self.model_uri.split_once("://").and_then(|(scheme, rest)| {
            let (host, path) = rest.split_once('/')?;
            Some(format!("{scheme}://{host}/fault/{fault}/{path}"))
        });
        split.with_context(|| format!("{} is no URI with a path", self.model_uri))
    }

    /// Applies a model and waits until it is Ready.
    pub(crate) async fn apply_ready(&self, model: &ServedModel) -> anyhow::Result<ServedModel> {
        self.cluster.apply(model).await?;
        self.wait_condition(model, "Ready", "True").await
    }

    /// Waits until a condition has a status for the present spec.
    pub(crate) async fn wait_condition(
        &self,
        model: &ServedModel,
        kind: &str,
        status: &str,
    ) -> anyhow::Result<ServedModel> {
        let name = model.metadata.name.as_deref().unwrap_or_default();
        let found = self
            .cluster
            .wait(
                self.cluster.models(NAMESPACE),
                name,
                std::time::Duration::from_secs(120),
                &format!("{kind}={status}"),
                |model| model.and_then(|model| condition(model, kind)).is_some_and(|(is, ..)| is == status),
            )
            .await?;
        found.ok_or_else(|| anyhow::anyhow!("{name} was deleted"))
    }
}
