//! An `Apply`, parsed once. What is wrong in it is said all at once.

use std::collections::HashSet;
use std::num::NonZeroU32;
use std::time::Duration;

use hearth_model::KvType;
use hearth_proto::worker::v1 as proto;
use hearth_source::{DigestError, Token};
use tonic::Status;
use tonic_types::FieldViolation;

use super::footprint_from_proto;
use crate::intent::Intent;
use crate::spec::{Fence, FileSpec, ReplicaSpec};
use crate::status;

/// For a replica whose sender names no limit.
const DEFAULT_LOAD_TIMEOUT: Duration = Duration::from_secs(600);

/// Parses a whole set.
///
/// # Errors
/// `INVALID_ARGUMENT` with a `BadRequest` that names every field that is wrong.
pub fn parse_apply(request: proto::ApplyRequest) -> Result<Intent, Status> {
    let proto::ApplyRequest { fence, replicas } = request;
    let mut wrong = Violations::default();
    if fence.is_none() {
        wrong.say("fence", "is missing");
    }
    let mut ids = HashSet::new();
    let mut parsed = Vec::with_capacity(replicas.len());
    for (n, replica) in replicas.into_iter().enumerate() {
        let at = format!("replicas[{n}]");
        if !ids.insert(replica.id.clone()) {
            wrong.say(format!("{at}.id"), format!("{:?} is there twice", replica.id));
        }
        parsed.extend(parse_replica(&at, replica, &mut wrong));
    }
    match fence {
        Some(proto::Fence { epoch, generation }) if wrong.0.is_empty() => {
            Ok(Intent { fence: Fence { epoch, generation }, replicas: parsed })
        }
        _ => Err(status::invalid_fields(wrong.0)),
    }
}

#[derive(Default)]
struct Violations(Vec<FieldViolation>);

impl Violations {
    fn say(&mut self, field: impl Into<String>, description: impl Into<String>) {
        self.0.push(FieldViolation::new(field, description));
    }

    fn positive(&mut self, field: String, value: u32) -> Option<NonZeroU32> {
        let parsed = NonZeroU32::new(value);
        if parsed.is_none() {
            self.say(field, "is 0; give at least 1");
        }
        parsed
    }
}

/// `None` if something was wrong, which then is among the violations.
fn parse_replica(at: &str, replica: proto::Replica, wrong: &mut Violations) -> Option<ReplicaSpec> {
    let kv_type = match replica.kv_type() {
        proto::KvType::F16 => Some(KvType::F16),
        proto::KvType::Q80 => Some(KvType::Q8_0),
        proto::KvType::Unspecified => {
            wrong.say(format!("{at}.kv_type"), "is missing or unknown; this worker knows F16 and Q8_0");
            None
        }
    };
    let proto::Replica {
        id,
        namespace,
        name,
        served_name,
        file,
        device_uuid,
        context_tokens,
        sequences,
        kv_type: _,
        footprint,
        load_timeout,
    } = replica;
    for (field, value) in [("id", &id), ("served_name", &served_name), ("device_uuid", &device_uuid)] {
        if value.is_empty() {
            wrong.say(format!("{at}.{field}"), "is empty");
        }
    }
    let file = parse_file(at, file, wrong);
    let context_tokens = wrong.positive(format!("{at}.context_tokens"), context_tokens);
    let sequences = wrong.positive(format!("{at}.sequences"), sequences);
    let load_timeout = match load_timeout.map(Duration::try_from) {
        None => DEFAULT_LOAD_TIMEOUT,
        Some(Ok(limit)) if !limit.is_zero() => limit,
        Some(_) => {
            wrong.say(format!("{at}.load_timeout"), "is not a positive duration");
            DEFAULT_LOAD_TIMEOUT
        }
    };
    Some(ReplicaSpec {
        id,
        namespace,
        name,
        served_name,
        file: file?,
        device: device_uuid,
        context_tokens: context_tokens?,
        sequences: sequences?,
        kv_type: kv_type?,
        footprint: footprint.map(footprint_from_proto).unwrap_or_default(),
        load_timeout,
    })
}

fn parse_file(at: &str, file: Option<proto::ModelFile>, wrong: &mut Violations) -> Option<FileSpec> {
    let Some(proto::ModelFile { url, sha256, size_bytes, bearer_token, revision }) = file else {
        wrong.say(format!("{at}.file"), "is missing");
        return None;
    };
    if url.is_empty() {
        wrong.say(format!("{at}.file.url"), "is empty");
    }
    if size_bytes == 0 {
        wrong.say(format!("{at}.file.size_bytes"), "is 0; give the size of the file");
    }
    let digest = match sha256.as_str() {
        "" => None,
        text => text
            .parse()
            .inspect_err(|e: &DigestError| wrong.say(format!("{at}.file.sha256"), e.to_string()))
            .ok(),
    };
    Some(FileSpec { url, sha256: digest, size_bytes, revision, bearer_token: Token::new(&bearer_token) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use tonic_types::StatusExt;

    fn replica(id: &str) -> proto::Replica {
        proto::Replica {
            id: id.into(),
            served_name: "chat".into(),
            file: Some(proto::ModelFile {
                url: "https://x.test/a.gguf".into(),
                size_bytes: 1,
                ..Default::default()
            }),
            device_uuid: "cpu".into(),
            context_tokens: 1,
            sequences: 1,
            kv_type: proto::KvType::F16.into(),
            ..Default::default()
        }
    }

    fn fields(request: proto::ApplyRequest) -> Vec<String> {
        let status = parse_apply(request).unwrap_err();
        let bad = status.get_details_bad_request().unwrap();
        bad.field_violations.into_iter().map(|v| v.field).collect()
    }

    #[test]
    fn a_good_set() {
        let fence = Some(proto::Fence { epoch: 1, generation: 2 });
        let parsed = parse_apply(proto::ApplyRequest { fence, replicas: vec![replica("a")] }).unwrap();
        assert_eq!(parsed.fence, Fence { epoch: 1, generation: 2 });
        assert_eq!(parsed.replicas[0].load_timeout, DEFAULT_LOAD_TIMEOUT);
        assert_eq!(parsed.replicas[0].file.sha256, None);
    }

    #[test]
    fn all_that_is_wrong_is_said_at_once() {
        let bad = proto::Replica {
            context_tokens: 0,
            sequences: 0,
            kv_type: 9,
            served_name: String::new(),
            file: Some(proto::ModelFile { sha256: "ABC".into(), ..Default::default() }),
            ..replica("a")
        };
        let found = fields(proto::ApplyRequest { fence: None, replicas: vec![replica("a"), bad] });
        assert_eq!(
            found,
            [
                "fence",
                "replicas[1].id",
                "replicas[1].kv_type",
                "replicas[1].served_name",
                "replicas[1].file.url",
                "replicas[1].file.size_bytes",
                "replicas[1].file.sha256",
                "replicas[1].context_tokens",
                "replicas[1].sequences",
            ]
        );
    }
}
