//! Describing the file of a model, whatever its format.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use hearth_model::{Header, Model, ReadError, gguf, safetensors};

use super::BuildError;

/// What a GGUF file begins with.
const GGUF: [u8; 4] = *b"GGUF";

/// Bytes of a description beside a file that are read; a parser refuses fewer.
const MAX_DESCRIPTION_BYTES: u64 = 4 << 20;

/// Describes a file, of which all bytes have to be there: a GGUF file, or a safetensors
/// file with its `config.json` beside it, and `1_Pooling/config.json` where it is for
/// embeddings.
///
/// # Errors
/// [`BuildError::File`] or [`BuildError::Model`].
pub fn read(path: &Path) -> Result<Model, BuildError> {
    let refuse = |message: String| BuildError::Model { path: path.to_owned(), message };
    let header = |read: Result<Header, ReadError>| {
        read.map_err(|error| match error {
            ReadError::Io { source, .. } => unreadable(path, source),
            ReadError::Header { source, .. } => refuse(source.to_string()),
        })
    };
    let model = if begins_with(path, &GGUF)? {
        Model::from_gguf(&header(gguf::read_file(path))?)
    } else {
        let header = header(safetensors::read_file(path))?;
        let folder = path.parent().unwrap_or(Path::new("."));
        let config = description(&folder.join("config.json"))?
            .ok_or_else(|| refuse("there is no `config.json` beside it".to_owned()))?;
        let pooling = description(&folder.join("1_Pooling").join("config.json"))?;
        Model::from_safetensors(&header, &config, pooling.as_deref())
    };
    let model = model.map_err(|error| refuse(error.to_string()))?;
    let bytes = std::fs::metadata(path).map_err(|source| unreadable(path, source))?.len();
    if bytes < model.min_file_bytes {
        let needed = model.min_file_bytes;
        return Err(refuse(format!("it has {bytes} bytes and its tensors end at {needed}: it is cut short")));
    }
    Ok(model)
}

fn unreadable(path: &Path, source: std::io::Error) -> BuildError {
    BuildError::File { path: path.to_owned(), source }
}

fn begins_with(path: &Path, magic: &[u8; 4]) -> Result<bool, BuildError> {
    let mut start = Vec::new();
    let file = File::open(path).map_err(|source| unreadable(path, source))?;
    file.take(4).read_to_end(&mut start).map_err(|source| unreadable(path, source))?;
    // What is shorter than its magic is told as a broken GGUF file.
    Ok(magic.starts_with(&start))
}

/// A small file, if it is there.
fn description(path: &Path) -> Result<Option<Vec<u8>>, BuildError> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(source) => return Err(unreadable(path, source)),
    };
    let mut bytes = Vec::new();
    file.take(MAX_DESCRIPTION_BYTES).read_to_end(&mut bytes).map_err(|source| unreadable(path, source))?;
    Ok(Some(bytes))
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
