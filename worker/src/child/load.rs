//! A load's events as a stream.

use std::pin::Pin;
use std::task::{Context, Poll};

use futures::Stream;
use hearth_engine::{Cancel, LoadError, LoadEvent, Phase};
use hearth_proto::engine::v1::load_response::Event;
use hearth_proto::engine::v1::{LoadProgress, LoadResponse, Loaded};
use hearth_proto::worker::v1::ReplicaState;
use tokio::sync::mpsc;
use tonic::{Code, Status};

use crate::convert::footprint_to_proto;
use crate::spec::Failure;
use crate::status;

/// The stream of a load; dropping it before the end cancels the load.
pub(super) struct LoadStream {
    pub(super) events: mpsc::UnboundedReceiver<LoadEvent>,
    // Held for its Drop.
    pub(super) _cancel: Cancel,
}

impl Stream for LoadStream {
    type Item = Result<LoadResponse, Status>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.events.poll_recv(cx).map(|event| event.map(response))
    }
}

fn response(event: LoadEvent) -> Result<LoadResponse, Status> {
    let event = match event {
        LoadEvent::Progress { phase, done, total } => {
            let state = match phase {
                Phase::Loading => ReplicaState::Loading,
                Phase::Warming => ReplicaState::Warming,
            };
            Event::Progress(LoadProgress { state: state.into(), done_bytes: done, total_bytes: total })
        }
        LoadEvent::Loaded(measured) => Event::Loaded(Loaded { measured: Some(footprint_to_proto(measured)) }),
        LoadEvent::Failed(error) => return Err(load_error(&error)),
    };
    Ok(LoadResponse { event: Some(event) })
}

fn load_error(error: &LoadError) -> Status {
    let text = crate::error::chain(error);
    let (code, failure) = match error {
        LoadError::File { .. } => (Code::Unavailable, Failure::transient("FileUnreadable", text)),
        LoadError::Model { .. } => (Code::InvalidArgument, Failure::permanent("ModelUnusable", text)),
        LoadError::Tokenizer(_) => (Code::InvalidArgument, Failure::permanent("TokenizerUnusable", text)),
        LoadError::Template(_) => (Code::InvalidArgument, Failure::permanent("TemplateUnusable", text)),
        LoadError::Invalid { .. } => (Code::InvalidArgument, Failure::permanent("InvalidReplica", text)),
        LoadError::OutOfMemory { .. } => (Code::ResourceExhausted, Failure::transient("OutOfMemory", text)),
        LoadError::AlreadyLoaded { .. } => (Code::AlreadyExists, Failure::transient("AlreadyLoaded", text)),
        LoadError::Cancelled => (Code::Cancelled, Failure::transient("Cancelled", text)),
        LoadError::Internal { .. } => (Code::Internal, Failure::transient("EngineFault", text)),
    };
    status::from_failure(code, &failure)
}
