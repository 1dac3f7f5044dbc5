//! Who answers to a served name.

use std::collections::BTreeMap;

use jiff::Timestamp;

use crate::ServedModel;

impl ServedModel {
    /// The name that requests carry.
    #[must_use]
    pub fn served_name(&self) -> &str {
        self.spec.served_name.as_deref().or(self.metadata.name.as_deref()).unwrap_or_default()
    }

    /// When it was made. What was never stored is younger than all that was.
    #[must_use]
    pub fn created(&self) -> Timestamp {
        self.metadata.creation_timestamp.as_ref().map_or(Timestamp::MAX, |time| time.0)
    }

    /// Whether it still asks for anything. One that is being deleted does not: its
    /// replicas are unloaded and its served name is free at once, whoever holds the
    /// object up.
    #[must_use]
    pub fn is_living(&self) -> bool {
        self.metadata.deletion_timestamp.is_none()
    }

    /// Its claim on its served name.
    #[must_use]
    pub fn claim(&self) -> Claim<'_> {
        Claim {
            served_name: self.served_name(),
            created: self.created(),
            namespace: self.metadata.namespace.as_deref().unwrap_or_default(),
            name: self.metadata.name.as_deref().unwrap_or_default(),
        }
    }
}

/// A model's claim on a served name. Of several on the same name the least wins:
/// the oldest model's, and of two made in the same second, that of the model
/// whose namespace and name come first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Claim<'a> {
    /// What it claims.
    pub served_name: &'a str,
    /// When the model was made, in whole seconds.
    pub created: Timestamp,
    /// The model's namespace.
    pub namespace: &'a str,
    /// The model's own name.
    pub name: &'a str,
}

/// The owner of each served name among `models`, by their claims.
pub fn owners_by<'a, M>(
    models: impl IntoIterator<Item = &'a M>,
    claim: impl Fn(&'a M) -> Claim<'a>,
) -> BTreeMap<&'a str, &'a M> {
    let mut owners: BTreeMap<&str, &M> = BTreeMap::new();
    for model in models {
        owners
            .entry(claim(model).served_name)
            .and_modify(|owner| {
                if claim(model) < claim(owner) {
                    *owner = model;
                }
            })
            .or_insert(model);
    }
    owners
}

/// The owner of each served name among the `models` that are living.
pub fn owners<'a>(models: impl IntoIterator<Item = &'a ServedModel>) -> BTreeMap<&'a str, &'a ServedModel> {
    owners_by(models.into_iter().filter(|model| model.is_living()), ServedModel::claim)
}

#[cfg(test)]
mod tests {
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

    #[test]
    fn one_that_is_being_deleted_gives_its_name_up() {
        let mut models =
            [model("a", "old", Some("chat"), Some(1)), model("a", "young", Some("chat"), Some(9))];
        models[0].metadata.deletion_timestamp = Some(Time(Timestamp::UNIX_EPOCH));
        assert_eq!(owners(&models)["chat"].metadata.name.as_deref(), Some("young"));
    }
}
