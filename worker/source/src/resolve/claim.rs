//! Files on mounted claims.

use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use super::{Location, Mounted, Resolved};
use crate::ResolveError;

/// Looks at the file. Its revision is its time of change, so that a file that
/// was replaced is another one.
pub(super) async fn stat(root: &Path, claim: &str, path: &str) -> Result<Mounted, ResolveError> {
    let refused = |why: String, permanent| ResolveError::Claim {
        claim: claim.to_owned(),
        path: path.to_owned(),
        why,
        permanent,
    };
    let mount = root.join(claim);
    let (mount, file, about) = tokio::task::spawn_blocking({
        let path = PathBuf::from(path);
        move || {
            let real_mount = mount.canonicalize();
            let real_file = mount.join(path).canonicalize();
            let about = real_file.as_ref().ok().map(std::fs::metadata);
            (real_mount, real_file, about)
        }
    })
    .await
    .map_err(|e| refused(e.to_string(), false))?;

    let mount = mount.map_err(|e| {
        refused(format!("the claim is not mounted ({e}); name it in the chart's modelClaims"), false)
    })?;
    let file = file.map_err(|e| match e.kind() {
        std::io::ErrorKind::NotFound => refused("there is no such file; check the path".to_owned(), false),
        _ => refused(format!("it cannot be opened: {e}"), false),
    })?;
    // A link may not lead out of the claim.
    if !file.starts_with(&mount) {
        return Err(refused("it leads out of the claim; copy the file into it".to_owned(), true));
    }
    let about = match about {
        Some(Ok(about)) if about.is_file() => about,
        Some(Ok(_)) => return Err(refused("it is not a file; name one".to_owned(), true)),
        Some(Err(e)) => return Err(refused(format!("it cannot be opened: {e}"), false)),
        None => return Err(refused("there is no such file; check the path".to_owned(), false)),
    };
    let changed = about.modified().ok().and_then(|t| t.duration_since(UNIX_EPOCH).ok()).unwrap_or_default();
    let resolved = Resolved {
        location: Location::Claim { claim: claim.to_owned(), path: path.to_owned() },
        revision: format!("{}.{:09}", changed.as_secs(), changed.subsec_nanos()),
        sha256: None,
        size_bytes: about.len(),
    };
    Ok(Mounted { file, resolved })
}
