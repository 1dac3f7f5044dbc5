//! `hearth.control.v1`: what the gateways tell the leader.

use std::pin::Pin;

use futures::Stream;
use hearth_proto::control::v1::control_service_server::{ControlService, ControlServiceServer};
use hearth_proto::control::v1::{ReportRequest, ReportResponse};
use hearth_tls::{Guard, Incoming, Live, Role};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio_stream::StreamExt;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::service::interceptor::InterceptedService;
use tonic::{Request, Response, Status, Streaming};
use tracing::{debug, info};

use super::super::leader::Leadership;
use super::super::look::Activity;
use super::super::trigger::Trigger;

/// The server's side of the gateways' streams.
#[derive(Debug, Clone)]
pub struct ControlServer {
    /// What was told.
    pub activity: Activity,
    /// Whom it wakes.
    pub trigger: Trigger,
    /// Whether we lead.
    pub leadership: Leadership,
    /// Ends the server, and every gateway's stream with it.
    pub stop: CancellationToken,
}

impl ControlServer {
    /// Serves on `listener` until it is told to stop.
    ///
    /// # Errors
    /// When the HTTP/2 server fails as a whole; a single connection never does that.
    pub async fn serve(self, listener: TcpListener, live: Live) -> Result<(), tonic::transport::Error> {
        let stop = self.stop.clone();
        let service =
            InterceptedService::new(ControlServiceServer::new(self), Guard::roles(&[Role::Gateway]));
        tonic::transport::Server::builder()
            .http2_keepalive_interval(Some(std::time::Duration::from_secs(5)))
            .http2_keepalive_timeout(Some(std::time::Duration::from_secs(5)))
            .add_service(service)
            .serve_with_incoming_shutdown(Incoming::new(listener, live), stop.cancelled_owned())
            .await
    }
}

type Responses = Pin<Box<dyn Stream<Item = Result<ReportResponse, Status>> + Send>>;

#[tonic::async_trait]
impl ControlService for ControlServer {
    type ReportStream = Responses;

    async fn report(
        &self,
        request: Request<Streaming<ReportRequest>>,
    ) -> Result<Response<Responses>, Status> {
        let mut epochs = self.leadership.watch();
        let Some(epoch) = *epochs.borrow_and_update() else {
            return Err(Status::unavailable(
                "this controller does not lead; the Lease names the one that does",
            ));
        };
        let peer = request.extensions().get::<hearth_tls::Peer>().map(|peer| peer.address);
        let mut reports = request.into_inner();
        let session = self.activity.open(&self.trigger);
        let stop = self.stop.clone();
        let (answers, stream) = mpsc::channel(4);
        info!(?peer, "a gateway reports");
        // The task ends with the gateway's stream, with the answers' receiver,
        // or with the leadership; the session ends with the task.
        tokio::spawn(async move {
            let mut epoch = epoch;
            if answers.send(Ok(ReportResponse { epoch })).await.is_err() {
                return;
            }
            loop {
                tokio::select! {
                    report = reports.next() => match report {
                        Some(Ok(report)) => session.told(report),
                        Some(Err(status)) => {
                            debug!(?peer, %status, "a gateway's stream broke");
                            return;
                        }
                        None => return,
                    },
                    changed = epochs.changed() => {
                        let now = changed.ok().and_then(|()| *epochs.borrow_and_update());
                        let Some(now) = now else {
                            let _ = answers.send(Err(Status::unavailable("this controller stopped leading"))).await;
                            return;
                        };
                        if now != epoch {
                            epoch = now;
                            if answers.send(Ok(ReportResponse { epoch })).await.is_err() { return; }
                        }
                    }
                    () = answers.closed() => return,
                    () = stop.cancelled() => {
                        let _ = answers.send(Err(Status::unavailable("this controller ends"))).await;
                        return;
                    }
                }
            }
        });
        Ok(Response::new(Box::pin(ReceiverStream::new(stream))))
    }
}

#[cfg(test)]
mod tests {
    use hearth_proto::control::v1::ModelActivity;
    use hearth_proto::control::v1::control_service_client::ControlServiceClient;
    use hearth_tls::testing::TestCa;
    use hearth_tls::{DialOptions, Identity, dial};
    use tonic::Code;

    use super::*;

    struct Scene {
        ca: TestCa,
        address: String,
        server: ControlServer,
        epoch: tokio::sync::watch::Sender<Option<u64>>,
    }

    async fn scene(epoch: Option<u64>) -> Scene {
        let ca = TestCa::new();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let (epoch, leadership) = Leadership::scripted(epoch);
        let server = ControlServer {
            activity: Activity::default(),
            trigger: Trigger::default(),
            leadership,
            stop: CancellationToken::new(),
        };
        tokio::spawn(server.clone().serve(listener, Live::new(ca.credentials(&Identity::Controller))));
        Scene { ca, address, server, epoch }
    }

    impl Scene {
        async fn report(&self, identity: &Identity) -> Result<Streaming<ReportResponse>, Status> {
            let live = Live::new(self.ca.credentials(identity));
            let channel = dial(&self.address, Identity::Controller, &live, &DialOptions::default());
            let chat = ModelActivity {
                namespace: "default".to_owned(),
                name: "chat".to_owned(),
                waiting: 1,
                ..ModelActivity::default()
            };
            let report = ReportRequest { gateway: "g".to_owned(), models: vec![chat] };
            let reports = tokio_stream::once(report).chain(tokio_stream::pending());
            ControlServiceClient::new(channel).report(reports).await.map(Response::into_inner)
        }
    }

    #[tokio::test]
    async fn a_gateway_is_told_the_epoch_and_heard_until_the_server_ends() {
        let scene = scene(Some(7)).await;
        let mut answers = scene.report(&Identity::Gateway).await.unwrap();
        assert_eq!(answers.message().await.unwrap(), Some(ReportResponse { epoch: 7 }));
        scene.server.trigger.pulled().await;
        let told = scene.server.activity.models(std::time::Instant::now());
        assert_eq!(told[&("default".to_owned(), "chat".to_owned())].waiting, 1);
        scene.epoch.send_replace(Some(8));
        assert_eq!(answers.message().await.unwrap(), Some(ReportResponse { epoch: 8 }));
        scene.server.stop.cancel();
        assert_eq!(answers.message().await.unwrap_err().code(), Code::Unavailable);
    }

    #[tokio::test]
    async fn others_and_those_who_ask_a_follower_are_refused() {
        let leading = scene(Some(7)).await;
        let worker = Identity::worker("box").unwrap();
        assert_eq!(leading.report(&worker).await.unwrap_err().code(), Code::PermissionDenied);
        let following = scene(None).await;
        assert_eq!(following.report(&Identity::Gateway).await.unwrap_err().code(), Code::Unavailable);
    }
}
