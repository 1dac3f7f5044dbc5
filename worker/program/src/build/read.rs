//! Describing the file of a model, whatever its format.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use hearth_model::safetensors::{Index, MAX_INDEX_BYTES};
use hearth_model::{Header, Model, ReadError, gguf, safetensors};

use super::BuildError;

/// What a GGUF file begins with.
const GGUF: [u8; 4] = *b"GGUF";

/// Bytes of a description beside a file that are read; a parser refuses fewer.
const MAX_DESCRIPTION_BYTES: u64 = 4 << 20;

/// Describes a file, of which all bytes have to be there: a GGUF file, or a safetensors
/// file with its `config.json` beside it, and `1_Pooling/config.json` where it is for
/// embeddings. For what is cut into several safetensors files, the path is that of their
/// `model.safetensors.index.json`.
///
/// # Errors
/// [`BuildError::File`] or [`BuildError::Model`].
pub fn read(path: &Path) -> Result<Model, BuildError> {
    let refuse = |message: String| BuildError::Model { path: path.to_owned(), message };
    let model = match kind(path)? {
        Kind::Gguf => Model::from_gguf(&header(path, gguf::read_file)?),
        Kind::Safetensors => from_safetensors(path, &header(path, safetensors::read_file)?)?,
        Kind::Index => from_safetensors(path, &joined(path)?)?,
    };
    let model = model.map_err(|error| refuse(error.to_string()))?;
    let mut bytes = 0_u64;
    for path in files(path, &model) {
        let file = std::fs::metadata(&path).map_err(|source| unreadable(&path, source))?;
        bytes = bytes.saturating_add(file.len());
    }
    if bytes < model.min_file_bytes {
        let needed = model.min_file_bytes;
        return Err(refuse(format!("it has {bytes} bytes and its tensors end at {needed}: it is cut short")));
    }
    Ok(model)
}

/// The files that a model's tensors lie in, where it was [read] at `path`:
/// [`Tensor::file`](hearth_model::Tensor::file) counts them.
#[must_use]
pub fn files(path: &Path, model: &Model) -> Vec<PathBuf> {
    if model.files.is_empty() {
        return vec![path.to_owned()];
    }
    // Plain names, or they would have been refused.
    model.files.iter().map(|name| folder(path).join(name)).collect()
}

fn folder(path: &Path) -> &Path {
    path.parent().unwrap_or(Path::new("."))
}

fn header(path: &Path, read: impl FnOnce(&Path) -> Result<Header, ReadError>) -> Result<Header, BuildError> {
    read(path).map_err(|error| match error {
        ReadError::Io { source, .. } => unreadable(path, source),
        ReadError::Header { source, .. } => {
            BuildError::Model { path: path.to_owned(), message: source.to_string() }
        }
    })
}

/// The header of all files of an index. Each is as long as its tensors need.
fn joined(path: &Path) -> Result<Header, BuildError> {
    let refuse = |error: safetensors::IndexError| BuildError::Model {
        path: path.to_owned(),
        message: error.to_string(),
    };
    // One byte more than is allowed is seen.
    let index = beginning(path, MAX_INDEX_BYTES as u64 + 1)?;
    let index = Index::parse(&index).map_err(refuse)?;
    let headers = index.files().iter().map(|name| header(&folder(path).join(name), safetensors::read_file));
    let headers = headers.collect::<Result<Vec<_>, _>>()?;
    index.join(headers).map_err(refuse)
}

fn from_safetensors(
    path: &Path,
    header: &Header,
) -> Result<Result<Model, hearth_model::ArchError>, BuildError> {
    let config = description(&folder(path).join("config.json"))?.ok_or_else(|| BuildError::Model {
        path: path.to_owned(),
        message: "there is no `config.json` beside it".to_owned(),
    })?;
    let pooling = description(&folder(path).join("1_Pooling").join("config.json"))?;
    Ok(Model::from_safetensors(header, &config, pooling.as_deref()))
}

/// What a file is.
enum Kind {
    Gguf,
    Safetensors,
    Index,
}

fn kind(path: &Path) -> Result<Kind, BuildError> {
    let start = beginning(path, 8)?;
    // What is shorter than its magic is told as a broken GGUF file.
    if start.starts_with(&GGUF) || GGUF.starts_with(&start) {
        return Ok(Kind::Gguf);
    }
    // A safetensors file begins with a length of at most 64 MiB, so that bytes 4 to 8 are
    // zero, as none is in an index.
    let is_text = start.first().is_some_and(|byte| *byte == b'{' || byte.is_ascii_whitespace());
    Ok(if is_text && !start.contains(&0) { Kind::Index } else { Kind::Safetensors })
}

fn unreadable(path: &Path, source: std::io::Error) -> BuildError {
    BuildError::File { path: path.to_owned(), source }
}

/// The first bytes of a file, at most so many.
fn beginning(path: &Path, most: u64) -> Result<Vec<u8>, BuildError> {
    let mut start = Vec::new();
    let file = File::open(path).map_err(|source| unreadable(path, source))?;
    file.take(most).read_to_end(&mut start).map_err(|source| unreadable(path, source))?;
    Ok(start)
}

/// A small file, if it is there.
fn description(path: &Path) -> Result<Option<Vec<u8>>, BuildError> {
    match beginning(path, MAX_DESCRIPTION_BYTES) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(BuildError::File { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use hearth_model::testing::{family_goldens, tiny_llama};
    use hearth_model::{DType, Format, Purpose, arch::Pooling};

    use super::read;

    #[test]
    fn both_formats_are_told_by_their_bytes() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("weights");
        std::fs::write(&path, tiny_llama(1)).unwrap();
        assert_eq!(read(&path).unwrap().format, Format::Gguf);

        let golden = family_goldens().into_iter().find(|golden| golden.name == "bert").unwrap();
        std::fs::write(&path, golden.safetensors(DType::F16)).unwrap();
        let message = read(&path).unwrap_err().to_string();
        assert!(message.ends_with("there is no `config.json` beside it"), "{message}");
        std::fs::write(folder.path().join("config.json"), golden.config.to_string()).unwrap();
        let model = read(&path).unwrap();
        assert_eq!((model.format, model.purpose()), (Format::Safetensors, Purpose::Embed(Pooling::Mean)));

        std::fs::create_dir(folder.path().join("1_Pooling")).unwrap();
        let pooling = folder.path().join("1_Pooling/config.json");
        std::fs::write(&pooling, r#"{"pooling_mode_cls_token":true}"#).unwrap();
        assert_eq!(read(&path).unwrap().purpose(), Purpose::Embed(Pooling::First));
        std::fs::write(&pooling, r#"{"pooling_mode_max_tokens":true}"#).unwrap();
        assert!(read(&path).unwrap_err().to_string().contains("pooling"));
    }

    /// An index and its files, and what is said once one of them was changed.
    fn refused(change: impl FnOnce(&mut Vec<(String, Vec<u8>)>)) -> String {
        let golden = family_goldens().into_iter().find(|golden| golden.name == "llama2").unwrap();
        let mut files = golden.shards(DType::F16, 3);
        change(&mut files);
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("config.json"), golden.config.to_string()).unwrap();
        for (name, bytes) in &files {
            std::fs::write(folder.path().join(name), bytes).unwrap();
        }
        match read(&folder.path().join("model.safetensors.index.json")) {
            Ok(model) => {
                let names = files.iter().take(3).map(|(name, _)| name.as_str());
                assert!(model.files.iter().map(String::as_str).eq(names));
                let bytes = files.iter().take(3).map(|(_, bytes)| bytes.len()).sum::<usize>();
                assert_eq!(model.min_file_bytes, bytes as u64);
                String::new()
            }
            Err(error) => error.to_string(),
        }
    }

    fn replace(index: &mut (String, Vec<u8>), from: &str, to: &str) {
        let text = String::from_utf8(index.1.clone()).unwrap();
        assert!(text.contains(from));
        index.1 = text.replacen(from, to, 1).into_bytes();
    }

    #[test]
    fn several_files_are_those_that_their_index_says_or_refused() {
        const SECOND: &str = "model-00002-of-00003.safetensors";
        assert_eq!(refused(|_| {}), "");
        let missing = refused(|files| {
            files.remove(1);
        });
        assert!(missing.contains("00002-of-00003") && missing.contains("cannot be read"), "{missing}");
        let outside = refused(|files| replace(&mut files[3], SECOND, "../../etc/x.safetensors"));
        assert!(outside.contains("a file lies beside it"), "{outside}");
        let cut = refused(|files| {
            files[1].1.pop();
        });
        assert!(cut.contains("00002-of-00003") && cut.contains("past the end"), "{cut}");
        let elsewhere = refused(|files| replace(&mut files[3], SECOND, "model-00001-of-00003.safetensors"));
        assert!(elsewhere.contains("the index says that it is in"), "{elsewhere}");
        let twice = refused(|files| files[0].1 = files[1].1.clone());
        assert!(twice.contains("the index says that it is in"), "{twice}");
        let index = refused(|files| files[1].1 = files[3].1.clone());
        assert!(index.contains("00002-of-00003") && index.contains("the length of the header"), "{index}");
        let nothing = refused(|files| files[3].1 = b"{\"weight_map\":{}}".to_vec());
        assert!(nothing.contains("names no tensors"), "{nothing}");
    }

    #[test]
    fn a_file_that_is_cut_short_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("cut.gguf");
        let bytes = tiny_llama(1);
        for end in [0, 3, 100, bytes.len() - 1] {
            std::fs::write(&path, &bytes[..end]).unwrap();
            let message = read(&path).unwrap_err().to_string();
            assert!(message.contains("cut"), "{end}: {message}");
        }
        assert!(read(&folder.path().join("absent")).unwrap_err().to_string().contains("cannot be read"));
    }
}
