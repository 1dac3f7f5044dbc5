//! Who answers to a served name.

use std::collections::BTreeMap;

use crate::ServedModel;

impl ServedModel {
    /// The name that requests carry.
    #[must_use]
    pub fn served_name(&self) -> &str {
        self.spec.served_name.as_deref().or(self.metadata.name.as_deref()).unwrap_or_default()
    }
}

/// The owner of each served name: the oldest model that asks for it. Of two made
/// in the same second, the one whose namespace and name come first. A model that
/// is being deleted still owns its name, for its replicas still answer.
pub fn owners<'a>(models: impl IntoIterator<Item = &'a ServedModel>) -> BTreeMap<&'a str, &'a ServedModel> {
    let mut owners = BTreeMap::new();
    for model in models {
        owners
            .entry(model.served_name())
            .and_modify(|owner: &mut &ServedModel| {
                if age(model) < age(owner) {
                    *owner = model;
                }
            })
            .or_insert(model);
    }
    owners
}

/// Orders models from the oldest. Without a creation time it was never stored,
/// and so is the youngest.
fn age(model: &ServedModel) -> (bool, Option<jiff::Timestamp>, Option<&str>, Option<&str>) {
    let created = model.metadata.creation_timestamp.as_ref().map(|t| t.0);
    (created.is_none(), created, model.metadata.namespace.as_deref(), model.metadata.name.as_deref())
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

    use super::*;
    use crate::ServedModelSpec;

    fn model(namespace: &str, name: &str, served: Option<&str>, created: Option<i64>) -> ServedModel {
        let mut model = ServedModel::new(name, ServedModelSpec::new("hf://a/b"));
        model.metadata.namespace = Some(namespace.to_owned());
        model.metadata.creation_timestamp =
            created.map(|s| Time(Timestamp::from_second(s).expect("in range")));
        model.spec.served_name = served.map(str::to_owned);
        model
    }

    #[test]
    fn the_oldest_wins_whatever_the_order() {
        let models = [
            model("a", "young", Some("chat"), Some(9)),
            model("b", "chat", None, Some(5)),
            model("a", "never-stored", Some("chat"), None),
            model("a", "other", None, Some(9)),
        ];
        for order in [models.iter().collect::<Vec<_>>(), models.iter().rev().collect()] {
            let owners = owners(order);
            assert_eq!(owners.keys().copied().collect::<Vec<_>>(), ["chat", "other"]);
            assert_eq!(owners["chat"].metadata.namespace.as_deref(), Some("b"));
        }
    }

    #[test]
    fn the_same_second_falls_to_the_name() {
        let models = [model("b", "x", Some("chat"), Some(5)), model("a", "y", Some("chat"), Some(5))];
        assert_eq!(owners(&models)["chat"].metadata.namespace.as_deref(), Some("a"));
    }
}
