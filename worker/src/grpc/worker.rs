//! `hearth.worker.v1`: what the controller says, and what it is told.

use std::pin::Pin;
use std::time::Duration;

use futures::{Stream, StreamExt};
use hearth_proto::worker::v1::worker_service_server::WorkerService;
use hearth_proto::worker::v1::{ApplyRequest, ApplyResponse, WatchRequest, WatchResponse};
use tokio_stream::wrappers::WatchStream;
use tonic::{Request, Response, Status};

use super::Closing;
use crate::convert::{fence_to_proto, parse_apply};
use crate::fleet::{ApplyError, FleetHandle};
use crate::status;

pub(super) struct WorkerApi {
    fleet: FleetHandle,
    closing: Closing,
}

impl WorkerApi {
    pub(super) fn new(fleet: FleetHandle, closing: Closing) -> Self {
        Self { fleet, closing }
    }
}

fn refused(error: &ApplyError) -> Status {
    let text = crate::error::chain(error);
    match error {
        ApplyError::Older { .. } | ApplyError::Conflict(_) => Status::failed_precondition(text),
        ApplyError::NotKept(_) => Status::internal(text),
        ApplyError::Leaving => status::unavailable(text, Duration::from_secs(5)),
    }
}

#[tonic::async_trait]
impl WorkerService for WorkerApi {
    async fn apply(&self, request: Request<ApplyRequest>) -> Result<Response<ApplyResponse>, Status> {
        if self.closing.refuse.is_cancelled() {
            return Err(refused(&ApplyError::Leaving));
        }
        let intent = parse_apply(request.into_inner())?;
        let fence = self.fleet.apply(intent).await.map_err(|e| refused(&e))?;
        Ok(Response::new(ApplyResponse { applied: Some(fence_to_proto(fence)) }))
    }

    type WatchStream = Pin<Box<dyn Stream<Item = Result<WatchResponse, Status>> + Send>>;

    async fn watch(&self, _: Request<WatchRequest>) -> Result<Response<Self::WatchStream>, Status> {
        let changes = WatchStream::new(self.fleet.watch())
            .map(|told| Ok(WatchResponse::clone(&told)))
            .take_until(self.closing.cut.clone().cancelled_owned());
        Ok(Response::new(Box::pin(changes)))
    }
}
