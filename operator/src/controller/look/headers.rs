//! Headers through `hearth-source`, with credentials from Secrets.

use futures::FutureExt;
use futures::future::BoxFuture;
use hearth_api::condition::ModelReason;
use hearth_api::meta::LABEL_CREDENTIALS;
use hearth_source::{Digest, Quantization, Sources, Token as SourceToken, Uri};
use k8s_openapi::api::core::v1::Secret;
use kube::{Api, Client, ResourceExt};

use super::resolver::{Ask, Found, Headers, Refusal, Token};

/// Key of the token in a Secret that `spec.source.secretRef` names.
const TOKEN_KEY: &str = "token";
/// The longest URL that status keeps whole, as it must: the next leader reads it there.
const LONGEST_URL: usize = 2048;
/// The longest revision that status keeps whole.
const LONGEST_REVISION: usize = 256;

/// Reads headers where the models' sources say.
#[derive(Clone)]
pub struct SourceHeaders {
    sources: Sources,
    client: Client,
}

impl SourceHeaders {
    /// Reads through `sources`; credentials come from Secrets that `client` may get.
    pub fn new(sources: Sources, client: Client) -> Self {
        Self { sources, client }
    }

    async fn find(self, ask: Ask, pinned: Option<String>) -> Result<Found, Refusal> {
        let token = match &ask.secret {
            Some(name) => Some(self.token(&ask.namespace, name).await?),
            None => None,
        };
        let uri = Uri::parse(&ask.uri, self.sources.policy().plain_http)
            .map_err(|error| permanent(ModelReason::SourceNotServed.as_str(), error.to_string()))?;
        let wanted = match ask.quantization.as_str() {
            "Auto" => Quantization::Auto,
            name => Quantization::Named(name.to_owned()),
        };
        let asked = pin(uri, pinned);
        let resolved = self
            .sources
            .resolve(&asked, &wanted, token.as_ref())
            .await
            .map_err(|error| refusal(error.reason(), &error, error.is_permanent()))?;
        let model = self
            .sources
            .header(&resolved, token.as_ref())
            .await
            .map_err(|error| refusal(error.reason(), &error, error.is_permanent()))?;
        if let Quantization::Named(name) = &wanted
            && !name.eq_ignore_ascii_case(&model.quantization)
        {
            let message = format!(
                "spec.quantization is {name}, but the file at {} is {}; use Auto or name another file",
                ask.uri, model.quantization
            );
            return Err(permanent("QuantizationNotFound", message));
        }
        let sha256 = agreed(ask.sha256, resolved.sha256, &ask.uri)?;
        let url = resolved.location.to_string();
        if url.len() > LONGEST_URL {
            let message = format!("the file's URL has {} bytes, of at most {LONGEST_URL}", url.len());
            return Err(permanent("SourceBadAnswer", message));
        }
        // A name of a version that cannot be kept in status names none.
        let can_be_kept = |revision: &String| (1..=LONGEST_REVISION).contains(&revision.len());
        Ok(Found {
            url,
            revision: Some(resolved.revision).filter(can_be_kept),
            sha256,
            size: resolved.size_bytes,
            architecture: model.architecture.name().to_owned(),
            quantization: model.quantization,
            dims: model.dims,
            token: token.map(|token| Token(token.reveal().to_owned())),
        })
    }

    async fn token(&self, namespace: &str, name: &str) -> Result<SourceToken, Refusal> {
        const REASON: &str = ModelReason::CredentialsUnavailable.as_str();
        let passing = |message| Refusal { reason: REASON, message, passes: true };
        let api: Api<Secret> = Api::namespaced(self.client.clone(), namespace);
        let secret = match api.get_opt(name).await {
            Ok(Some(secret)) => secret,
            Ok(None) => {
                return Err(passing(format!("spec.source.secretRef: there is no Secret {namespace}/{name}")));
            }
            Err(kube::Error::Api(status)) if status.code == 403 => {
                return Err(passing(format!(
                    "spec.source.secretRef: the controller may not read Secrets of namespace {namespace}; add it to the chart's source.secretNamespaces"
                )));
            }
            Err(error) => {
                return Err(passing(format!(
                    "spec.source.secretRef: reading Secret {namespace}/{name}: {error}"
                )));
            }
        };
        if secret.labels().get(LABEL_CREDENTIALS).is_none_or(|value| value != "true") {
            return Err(passing(format!(
                "spec.source.secretRef: Secret {namespace}/{name} lacks the label {LABEL_CREDENTIALS}=true, by which its owner allows its use"
            )));
        }
        let bytes = secret.data.as_ref().and_then(|data| data.get(TOKEN_KEY));
        let text = bytes.and_then(|bytes| std::str::from_utf8(&bytes.0).ok());
        text.and_then(SourceToken::new).ok_or_else(|| {
            passing(format!(
                "spec.source.secretRef: Secret {namespace}/{name} has no text under the key {TOKEN_KEY:?}"
            ))
        })
    }
}

impl Headers for SourceHeaders {
    fn read(&self, ask: Ask, pinned: Option<String>) -> BoxFuture<'static, Result<Found, Refusal>> {
        self.clone().find(ask, pinned).boxed()
    }
}

/// The URI at the revision that was answered before, where its form has room
/// for one and it names none itself: a branch may have moved on since.
fn pin(uri: Uri, pinned: Option<String>) -> Uri {
    match uri {
        Uri::Hub { repository, path, revision: None } => Uri::Hub { repository, path, revision: pinned },
        other => other,
    }
}

/// The digest that the spec asks for, or the one that the source tells.
fn agreed(asked: Option<String>, told: Option<Digest>, uri: &str) -> Result<Option<String>, Refusal> {
    let told = told.map(|digest| digest.to_string());
    match (asked, told) {
        (Some(asked), Some(told)) if asked != told => {
            let message = format!("spec.source.sha256 is {asked}, but {uri} has {told}; correct one of them");
            Err(permanent(ModelReason::DigestMismatch.as_str(), message))
        }
        (asked, told) => Ok(asked.or(told)),
    }
}

fn permanent(reason: &'static str, message: String) -> Refusal {
    Refusal { reason, message, passes: false }
}

fn refusal(reason: &'static str, error: &dyn std::error::Error, permanent: bool) -> Refusal {
    let mut message = error.to_string();
    let mut source = error.source();
    while let Some(deeper) = source {
        let text = deeper.to_string();
        if !message.contains(&text) {
            message.push_str(": ");
            message.push_str(&text);
        }
        source = deeper.source();
    }
    Refusal { reason, message, passes: !permanent }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_branch_is_pinned_and_a_named_revision_is_not() {
        let uri = |text| Uri::parse(text, hearth_source::PlainHttp::Refuse).unwrap();
        let pinned = |text| pin(uri(text), Some("abc".to_owned())).to_string();
        assert_eq!(pinned("hf://o/r/f.gguf"), "hf://o/r/f.gguf@abc");
        assert_eq!(pinned("hf://o/r/f.gguf@v1"), "hf://o/r/f.gguf@v1");
        assert_eq!(pinned("https://h/f.gguf"), "https://h/f.gguf");
    }

    #[test]
    fn digests_must_agree() {
        let (a, b) = ("a".repeat(64), "b".repeat(64));
        let digest = |text: &str| text.parse::<Digest>().unwrap();
        assert_eq!(agreed(None, Some(digest(&a)), "u").unwrap(), Some(a.clone()));
        assert_eq!(agreed(Some(a.clone()), None, "u").unwrap(), Some(a.clone()));
        let refused = agreed(Some(a.clone()), Some(digest(&b)), "u").unwrap_err();
        assert!(refused.message.contains(&a) && refused.message.contains(&b));
    }
}
