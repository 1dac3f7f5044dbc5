//! What a person writes in `source.uri`.

use std::fmt;
use std::str::FromStr;

use url::Url;

/// Whether plain `http` may be used. Only where everything between is trusted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PlainHttp {
    /// Only TLS.
    #[default]
    Refuse,
    /// Plain text too.
    Allow,
}

/// A source of a model file.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Uri {
    /// `hf://owner/repo[/path.gguf][@revision]`: a file in a repository of the hub.
    Hub {
        /// `owner/repo`.
        repository: String,
        /// The file in it; chosen by quantization if absent.
        path: Option<String>,
        /// A branch, tag or commit; `main` if absent.
        revision: Option<String>,
    },
    /// `https://…`: a file of its own.
    Web(Url),
    /// `pvc://claim/path`: a file on a mounted claim.
    Claim {
        /// The claim's name.
        claim: String,
        /// The file on it: relative, without `..`.
        path: String,
    },
}

/// A text that is not a source.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("source.uri is `{uri}`: {problem}; {remedy}")]
pub struct UriError {
    /// The text.
    pub uri: String,
    /// What is wrong with it.
    pub problem: String,
    /// What to write instead.
    pub remedy: &'static str,
}

/// Longer than any URL that works, as it is written and as it is sent.
const MAX_BYTES: usize = 8192;

/// Bytes of a path or revision: with each byte written as `%xx` it still makes a
/// URL of fewer than [`MAX_BYTES`].
const MAX_PATH_BYTES: usize = 1024;

const FORMS: &str =
    "use hf://owner/repo[/file.gguf][@revision], https://host/file.gguf or pvc://claim/file.gguf";
const HUB_FORM: &str = "use hf://owner/repo[/file.gguf][@revision]";
const WEB_FORM: &str = "use https://host/file.gguf";
const CLAIM_FORM: &str = "use pvc://claim/path/file.gguf";

impl Uri {
    /// Reads a source.
    ///
    /// # Errors
    /// It is not one that is served: the message names it, what is wrong and what
    /// to write instead.
    pub fn parse(text: &str, plain: PlainHttp) -> Result<Self, UriError> {
        let refuse = |problem: String, remedy| UriError { uri: excerpt(text), problem, remedy };
        if text.len() > MAX_BYTES {
            return Err(refuse(format!("it has {} bytes, more than {MAX_BYTES}", text.len()), FORMS));
        }
        if text.chars().any(|c| c.is_control() || c.is_whitespace()) {
            return Err(refuse("it has a space or a control character".to_owned(), "write spaces as %20"));
        }
        let Some((scheme, rest)) = text.split_once("://") else {
            return Err(refuse("it has no scheme".to_owned(), FORMS));
        };
        match scheme.to_ascii_lowercase().as_str() {
            "hf" => hub(rest).map_err(|problem| refuse(problem, HUB_FORM)),
            "pvc" => claim(rest).map_err(|problem| refuse(problem, CLAIM_FORM)),
            "https" => web(text).map_err(|problem| refuse(problem, WEB_FORM)),
            "http" if plain == PlainHttp::Allow => web(text).map_err(|problem| refuse(problem, WEB_FORM)),
            "http" => Err(refuse("plain http is not allowed".to_owned(), WEB_FORM)),
            known @ ("oci" | "s3") => Err(refuse(format!("`{known}` is not served yet"), FORMS)),
            other => Err(refuse(format!("scheme `{}` is unknown", excerpt(other)), FORMS)),
        }
    }
}

impl FromStr for Uri {
    type Err = UriError;

    fn from_str(text: &str) -> Result<Self, UriError> {
        Self::parse(text, PlainHttp::Refuse)
    }
}

impl fmt::Display for Uri {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Hub { repository, path, revision } => {
                write!(f, "hf://{repository}")?;
                path.iter().try_for_each(|path| write!(f, "/{path}"))?;
                revision.iter().try_for_each(|revision| write!(f, "@{revision}"))
            }
            Self::Web(url) => url.fmt(f),
            Self::Claim { claim, path } => write!(f, "pvc://{claim}/{path}"),
        }
    }
}

fn hub(rest: &str) -> Result<Uri, String> {
    let (place, revision) = match rest.rsplit_once('@') {
        Some((place, revision)) => (place, Some(revision)),
        None => (rest, None),
    };
    let mut parts = place.splitn(3, '/');
    let owner = word("the owner", parts.next().unwrap_or_default())?;
    let name = word("the repository", parts.next().unwrap_or_default())?;
    let path = parts.next().map(relative).transpose()?;
    if let Some(path) = &path
        && !path.to_ascii_lowercase().ends_with(".gguf")
    {
        return Err(format!("`{path}` is not a .gguf file"));
    }
    // A revision such as `refs/pr/3` has the form of a path.
    let revision = revision.map(relative).transpose()?;
    Ok(Uri::Hub { repository: format!("{owner}/{name}"), path, revision })
}

fn claim(rest: &str) -> Result<Uri, String> {
    let (claim, path) = rest.split_once('/').unwrap_or((rest, ""));
    let is_label = |s: &str| {
        let edge = |c: Option<char>| c.is_some_and(|c| c.is_ascii_lowercase() || c.is_ascii_digit());
        edge(s.chars().next())
            && edge(s.chars().last())
            && s.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-')
    };
    if claim.len() > 253 || !claim.split('.').all(is_label) {
        return Err(format!("`{claim}` cannot be the name of a claim"));
    }
    let path = relative(path)?;
    not_safetensors(&path)?;
    Ok(Uri::Claim { claim: claim.to_owned(), path })
}

fn web(text: &str) -> Result<Uri, String> {
    let url = Url::parse(text).map_err(|e| e.to_string())?;
    let len = url.as_str().len();
    if len > MAX_BYTES {
        return Err(format!("it has {len} bytes when its letters are escaped, more than {MAX_BYTES}"));
    }
    if url.host_str().is_none_or(str::is_empty) {
        return Err("it has no host".to_owned());
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err("it carries a user or a password, which belong in a Secret (source.secretRef)".to_owned());
    }
    if url.fragment().is_some() {
        return Err("it has a fragment".to_owned());
    }
    if url.path() == "/" {
        return Err("it names a host but no file".to_owned());
    }
    not_safetensors(url.path())?;
    Ok(Uri::Web(url))
}

/// Says so before anything is fetched. Another name may be anything: its header
/// will tell.
fn not_safetensors(path: &str) -> Result<(), String> {
    if path.to_ascii_lowercase().ends_with(".safetensors") {
        return Err("it names a safetensors file, and only GGUF files are served yet".to_owned());
    }
    Ok(())
}

fn word<'a>(what: &str, text: &'a str) -> Result<&'a str, String> {
    let good = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    match text {
        "" => Err(format!("{what} is missing")),
        // The hub's own limit.
        t if t.len() > 96 => Err(format!("{what} has more than 96 characters")),
        t if !t.chars().all(good) || t.starts_with('.') || t.contains("..") => {
            Err(format!("{what} `{t}` is not a name"))
        }
        t => Ok(t),
    }
}

/// A path that stays where it starts.
fn relative(path: &str) -> Result<String, String> {
    if path.is_empty() {
        return Err("a path or revision is missing".to_owned());
    }
    if path.len() > MAX_PATH_BYTES {
        return Err(format!("a path or revision has {} bytes, more than {MAX_PATH_BYTES}", path.len()));
    }
    let bad = |part: &str| matches!(part, "" | "." | "..") || part.contains(['\\', '?', '#']);
    if path.split('/').any(bad) {
        return Err(format!("`{path}` has an empty part, a `.` or `..`, or one of \\ ? #"));
    }
    Ok(path.to_owned())
}

fn excerpt(text: &str) -> String {
    let mut out: String = text.chars().take(200).collect();
    if out.len() < text.len() {
        out.push('…');
    }
    out.escape_debug().to_string()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_is_served() {
        let hub = |path: Option<&str>, revision: Option<&str>| Uri::Hub {
            repository: "o-w/re.po".into(),
            path: path.map(Into::into),
            revision: revision.map(Into::into),
        };
        let cases = [
            ("hf://o-w/re.po", hub(None, None)),
            ("hf://o-w/re.po@main", hub(None, Some("main"))),
            ("hf://o-w/re.po/a/b.gguf", hub(Some("a/b.gguf"), None)),
            ("HF://o-w/re.po/b.GGUF@refs/pr/1", hub(Some("b.GGUF"), Some("refs/pr/1"))),
            ("https://h:1/a.gguf?x=y", Uri::Web(Url::parse("https://h:1/a.gguf?x=y").unwrap())),
            ("pvc://my-claim/a/b.gguf", Uri::Claim { claim: "my-claim".into(), path: "a/b.gguf".into() }),
        ];
        for (text, expected) in cases {
            assert_eq!(text.parse().as_ref(), Ok(&expected), "{text}");
            assert_eq!(expected.to_string().parse().as_ref(), Ok(&expected), "{text}");
        }
        assert!(Uri::parse("http://h/a.gguf", PlainHttp::Allow).is_ok());
    }

    #[test]
    fn what_is_not_names_value_problem_and_remedy() {
        let cases = [
            ("", "has no scheme"),
            ("model.gguf", "has no scheme"),
            ("ftp://h/a", "scheme `ftp` is unknown; use hf://"),
            ("s3://b/a", "`s3` is not served yet"),
            ("oci://r/a", "`oci` is not served yet"),
            ("http://h/a", "plain http is not allowed; use https"),
            ("https://h", "names a host but no file"),
            ("https:///a", ""),
            ("https://u:p@h/a", "belong in a Secret"),
            ("https://h/a#b", "has a fragment"),
            ("https://h/a.Safetensors?b=c", "only GGUF files are served yet; use https://host/file.gguf"),
            ("pvc://c/model.safetensors", "only GGUF files are served yet; use pvc://"),
            ("hf://o/r/model.safetensors", "`model.safetensors` is not a .gguf file"),
            ("https://h/a b", "write spaces as %20"),
            ("hf://owner", "the repository is missing"),
            ("hf:///r", "the owner is missing"),
            ("hf://o/..", "the repository `..` is not a name"),
            ("hf://o/r/../x.gguf", "has an empty part"),
            ("hf://o/r/x.bin", "`x.bin` is not a .gguf file"),
            ("hf://o/r@", "is missing"),
            ("hf://o/r@a/../b", "has an empty part"),
            ("pvc://claim", "is missing"),
            ("pvc://claim/../x", "has an empty part"),
            ("pvc://Claim/x", "`Claim` cannot be the name"),
            ("pvc:///x", "cannot be the name"),
        ];
        for (text, expected) in cases {
            let error = text.parse::<Uri>().expect_err(text);
            let message = error.to_string();
            assert!(message.contains(expected), "{text}: {message}");
            assert!(message.starts_with("source.uri is `"), "{message}");
        }
        let long = ["a".repeat(9000), "é".repeat(2000)].map(|path| format!("https://h/{path}"));
        for text in long.into_iter().chain([format!("hf://o/r/{}.gguf", "a".repeat(1100))]) {
            let message = text.parse::<Uri>().unwrap_err().to_string();
            assert!(message.len() < 600 && message.contains("more than"), "{message}");
        }
    }

    proptest! {
        #[test]
        fn any_text_gives_an_answer_that_is_read_back(text in "(hf|https|pvc|s3|http)://[ -~é/@.]{0,60}|.{0,60}") {
            for plain in [PlainHttp::Refuse, PlainHttp::Allow] {
                if let Ok(uri) = Uri::parse(&text, plain) {
                    prop_assert_eq!(Uri::parse(&uri.to_string(), plain), Ok(uri));
                }
            }
        }
    }
}
