//! Which Workers a model asks for, by their labels.

use std::{collections::BTreeMap, fmt};

use serde::Serialize;

/// Labels that must be there, and requirements that must all hold. Empty: any Worker.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Selector {
    /// Labels with their values.
    pub labels: BTreeMap<String, String>,
    /// Further requirements.
    pub requirements: Vec<Requirement>,
}

/// A requirement on one label.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Requirement {
    /// The label.
    pub key: String,
    /// How it is compared.
    pub operator: Operator,
    /// With what; for [`Operator::In`] and [`Operator::NotIn`].
    pub values: Vec<String>,
}

/// How a label is compared. As in Kubernetes, `NotIn` holds where the label is absent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[allow(missing_docs)]
pub enum Operator {
    In,
    NotIn,
    Exists,
    DoesNotExist,
}

impl Selector {
    /// Whether labels meet it.
    #[must_use]
    pub fn matches(&self, labels: &BTreeMap<String, String>) -> bool {
        let Self { labels: wanted, requirements } = self;
        wanted.iter().all(|(key, value)| labels.get(key) == Some(value))
            && requirements.iter().all(|r| r.matches(labels.get(&r.key)))
    }
}

impl Requirement {
    fn matches(&self, value: Option<&String>) -> bool {
        let listed = || value.is_some_and(|v| self.values.contains(v));
        match self.operator {
            Operator::In => listed(),
            Operator::NotIn => !listed(),
            Operator::Exists => value.is_some(),
            Operator::DoesNotExist => value.is_none(),
        }
    }
}

/// As `kubectl --selector` takes it.
impl fmt::Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let labels = self.labels.iter().map(|(key, value)| format!("{key}={value}"));
        let parts: Vec<String> = labels.chain(self.requirements.iter().map(ToString::to_string)).collect();
        f.write_str(&parts.join(","))
    }
}

impl fmt::Display for Requirement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { key, operator, values } = self;
        match operator {
            Operator::In => write!(f, "{key} in ({})", values.join(",")),
            Operator::NotIn => write!(f, "{key} notin ({})", values.join(",")),
            Operator::Exists => f.write_str(key),
            Operator::DoesNotExist => write!(f, "!{key}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn matches_as_kubernetes_does() {
        let labels: BTreeMap<_, _> = [("room".to_owned(), "attic".to_owned())].into();
        let one = |key: &str, operator, values: &[&str]| Selector {
            labels: BTreeMap::new(),
            requirements: vec![Requirement {
                key: key.to_owned(),
                operator,
                values: values.iter().map(|v| (*v).to_owned()).collect(),
            }],
        };
        assert!(Selector::default().matches(&labels));
        assert!(one("room", Operator::In, &["attic", "cellar"]).matches(&labels));
        assert!(!one("room", Operator::In, &["cellar"]).matches(&labels));
        assert!(one("floor", Operator::NotIn, &["2"]).matches(&labels));
        assert!(!one("room", Operator::NotIn, &["attic"]).matches(&labels));
        assert!(one("room", Operator::Exists, &[]).matches(&labels));
        assert!(!one("room", Operator::DoesNotExist, &[]).matches(&labels));
        let exact =
            Selector { labels: [("room".to_owned(), "cellar".to_owned())].into(), requirements: Vec::new() };
        assert!(!exact.matches(&labels));
        assert_eq!(one("room", Operator::In, &["a", "b"]).to_string(), "room in (a,b)");
    }
}
