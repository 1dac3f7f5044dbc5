//! Tells `grpc.health.v1` what [`Lifecycle`] says.

use std::{convert::Infallible, sync::Arc};

use hearth_proto::inference::v1::inference_service_server::SERVICE_NAME;
use tonic_health::{ServingStatus, server::HealthReporter};

use crate::gateway::lifecycle::Lifecycle;

/// Reports each change of readiness, for the server as a whole and for its service.
pub(super) async fn follow(lifecycle: Arc<Lifecycle>, reporter: HealthReporter) -> Infallible {
    let mut states = lifecycle.subscribe();
    loop {
        let ready = states.borrow_and_update().missing().is_none();
        let status = if ready { ServingStatus::Serving } else { ServingStatus::NotServing };
        for service in ["", SERVICE_NAME] {
            reporter.set_service_status(service, status).await;
        }
        if states.changed().await.is_err() {
            // `lifecycle` is held above, so its sender is there as long as this runs.
            std::future::pending::<()>().await;
        }
    }
}
