//! Which file of a repository is meant.

use std::convert::Infallible;
use std::str::FromStr;

use super::hub::HubFile;
use crate::ResolveError;

/// What `Auto` takes, the first that is there: the best trade of size for
/// quality first, then better and larger, then smaller and worse, then what is
/// not packed, and last what is so small that models suffer. All of them are read
/// by the reference engine.
pub const AUTO_ORDER: &[&str] = &[
    "Q4_K_M", "Q5_K_M", "Q6_K", "Q8_0", "Q5_K_S", "Q4_K_S", "Q5_1", "Q5_0", "Q4_1", "IQ4_NL", "IQ4_XS",
    "Q4_0", "BF16", "F16", "F32", "Q3_K_L", "Q3_K_M", "Q3_K_S", "Q2_K", "Q2_K_S",
];

/// Which quantization is wanted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Quantization {
    /// The first of [`AUTO_ORDER`] that is there, else the only file.
    #[default]
    Auto,
    /// The one of that name.
    Named(String),
}

impl FromStr for Quantization {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<Self, Infallible> {
        Ok(if text.eq_ignore_ascii_case("auto") { Self::Auto } else { Self::Named(text.to_owned()) })
    }
}

/// Names in messages: the rest is counted.
const SHOWN: usize = 12;

pub(super) fn file(
    repository: &str,
    commit: &str,
    files: Vec<HubFile>,
    path: Option<&str>,
    quantization: &Quantization,
) -> Result<HubFile, ResolveError> {
    let repository = || repository.to_owned();
    let (models, others): (Vec<_>, Vec<_>) =
        files.into_iter().partition(|f| f.name().to_ascii_lowercase().ends_with(".gguf"));
    if let Some(path) = path {
        let found = list(&models);
        let file = models.into_iter().find(|f| f.path == path);
        let file = file.ok_or_else(|| ResolveError::NoSuchFile {
            repository: repository(),
            revision: commit.to_owned(),
            path: path.to_owned(),
            found,
        })?;
        return whole(file);
    }
    // Projectors for images lie beside the models they belong to.
    let mut models: Vec<_> =
        models.into_iter().filter(|f| !f.name().to_ascii_lowercase().contains("mmproj")).collect();
    if models.is_empty() {
        return Err(ResolveError::NoFile {
            repository: repository(),
            revision: commit.to_owned(),
            found: list(&others),
        });
    }
    let of = |name: &str| {
        let same = |f: &&HubFile| f.quantization().is_some_and(|q| q.eq_ignore_ascii_case(name));
        models.iter().filter(same).cloned().collect::<Vec<_>>()
    };
    let one = |mut files: Vec<HubFile>| match (files.len(), files.pop()) {
        (1, Some(file)) => whole(file),
        (_, Some(last)) if is_part(&last) => Err(ResolveError::Split { path: last.path }),
        (_, last) => {
            files.extend(last);
            Err(ResolveError::Ambiguous { repository: repository(), found: list(&files) })
        }
    };
    match quantization {
        Quantization::Named(name) => match of(name) {
            // A lone file need not say what it is: its header will.
            found if found.is_empty() && models.len() == 1 && models[0].quantization().is_none() => {
                one(models)
            }
            found if found.is_empty() => Err(ResolveError::NoQuantization {
                repository: repository(),
                wanted: name.clone(),
                found: list(&models),
            }),
            found => one(found),
        },
        Quantization::Auto => {
            let best = AUTO_ORDER.iter().map(|name| of(name)).find(|found| !found.is_empty());
            match best {
                Some(found) => one(found),
                None => one(std::mem::take(&mut models)),
            }
        }
    }
}

fn whole(file: HubFile) -> Result<HubFile, ResolveError> {
    if is_part(&file) { Err(ResolveError::Split { path: file.path }) } else { Ok(file) }
}

/// Whether the name ends as parts do: `-00001-of-00003.gguf`.
fn is_part(file: &HubFile) -> bool {
    let stem = file.name().len().checked_sub(".gguf".len()).and_then(|n| file.name().get(..n));
    let number = |s: &str| s.len() == 5 && s.bytes().all(|b| b.is_ascii_digit());
    stem.and_then(|s| s.rsplit_once("-of-"))
        .is_some_and(|(front, last)| number(last) && front.rsplit('-').next().is_some_and(number))
}

fn list(files: &[HubFile]) -> String {
    if files.is_empty() {
        return "none".to_owned();
    }
    let mut names: Vec<&str> = files.iter().map(|f| f.path.as_str()).collect();
    names.sort_unstable();
    let more = names.len().saturating_sub(SHOWN);
    names.truncate(SHOWN);
    let names = names.join(", ");
    if more > 0 { format!("{names} and {more} more") } else { names }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn choose(names: &[&str], path: Option<&str>, quantization: &str) -> Result<String, String> {
        let files =
            names.iter().map(|n| HubFile { path: (*n).into(), size_bytes: 1, sha256: None }).collect();
        let quantization = quantization.parse().unwrap();
        file("o/r", "c0ffee", files, path, &quantization).map(|f| f.path).map_err(|e| e.to_string())
    }

    #[test]
    fn auto_takes_the_first_of_its_order() {
        assert_eq!(
            choose(&["m-Q8_0.gguf", "m-q4_k_m.gguf", "m-f16.gguf"], None, "Auto").unwrap(),
            "m-q4_k_m.gguf"
        );
        assert_eq!(choose(&["m.gguf", "README.md"], None, "auto").unwrap(), "m.gguf");
        assert_eq!(choose(&["m-IQ2_XS.gguf"], None, "Auto").unwrap(), "m-IQ2_XS.gguf");
        assert_eq!(choose(&["m-IQ2_XS.gguf", "m-Q3_K_M.gguf"], None, "Auto").unwrap(), "m-Q3_K_M.gguf");
        assert_eq!(choose(&["a-Q8_0.gguf", "mmproj-Q8_0.gguf"], None, "Auto").unwrap(), "a-Q8_0.gguf");
    }

    #[test]
    fn a_name_takes_that_one() {
        assert_eq!(choose(&["m-Q8_0.gguf", "m-Q4_0.gguf"], None, "q4_0").unwrap(), "m-Q4_0.gguf");
        assert_eq!(choose(&["m.gguf"], None, "Q4_0").unwrap(), "m.gguf");
        assert_eq!(choose(&["a/m.gguf", "b.gguf"], Some("a/m.gguf"), "Q8_0").unwrap(), "a/m.gguf");
    }

    #[test]
    fn what_cannot_be_chosen_lists_what_is_there() {
        let cases = [
            (choose(&["model.safetensors"], None, "Auto"), "has no GGUF file; it has model.safetensors"),
            (choose(&[], None, "Auto"), "it has none"),
            (choose(&["m-Q8_0.gguf"], None, "Q4_0"), "no file of quantization `Q4_0`; it has m-Q8_0.gguf"),
            (
                choose(&["b-Q8_0.gguf", "a-Q8_0.gguf"], None, "Auto"),
                "several files that would do: a-Q8_0.gguf, b-Q8_0.gguf",
            ),
            (
                choose(&["a.gguf", "b.gguf"], None, "Auto"),
                "several files that would do: a.gguf, b.gguf; name one",
            ),
            (choose(&["a.gguf"], Some("b.gguf"), "Auto"), "has no file `b.gguf`; its GGUF files are a.gguf"),
            (
                choose(&["m-Q8_0-00001-of-00002.gguf", "m-Q8_0-00002-of-00002.gguf"], None, "Q8_0"),
                "several parts",
            ),
            (choose(&["m-00001-of-00002.gguf"], Some("m-00001-of-00002.gguf"), "Auto"), "several parts"),
        ];
        for (result, expected) in cases {
            let message = result.expect_err(expected);
            assert!(message.contains(expected), "{message}");
        }
        let many: Vec<String> = (0..30).map(|i| format!("m{i}.bin")).collect();
        let many: Vec<&str> = many.iter().map(String::as_str).collect();
        assert!(choose(&many, None, "Auto").unwrap_err().ends_with("and 18 more"));
    }

    #[test]
    fn the_order_has_what_the_engine_reads_each_once() {
        let sorted = |names: &[&'static str]| {
            let mut names = names.to_vec();
            names.sort_unstable();
            names
        };
        assert_eq!(sorted(AUTO_ORDER), sorted(hearth_model::quantization::READABLE));
    }
}
