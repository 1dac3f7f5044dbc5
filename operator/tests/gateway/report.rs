//! The stream to the controller.

use futures::stream::BoxStream;
use hearth_operator::gateway::leader::Leader;
use hearth_proto::control::v1::{
    ReportRequest, ReportResponse,
    control_service_server::{ControlService, ControlServiceServer},
};
use hearth_tls::{Identity, Incoming, Role, testing::TestCa};
use tokio::{net::TcpListener, runtime::Runtime, sync::mpsc};
use tokio_stream::StreamExt as _;
use tonic::{Request, Response, Status, Streaming, transport::Server};

use crate::harness::{Harness, soon};

/// A controller that leads and writes down what it is told.
struct FakeController {
    leader: Leader,
    reports: mpsc::UnboundedReceiver<ReportRequest>,
    runtime: Option<Runtime>,
}

impl FakeController {
    async fn start(ca: &TestCa, holder: &str) -> Self {
        let live = ca.live(&Identity::Controller);
        let (told, reports) = mpsc::unbounded_channel();
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        runtime.spawn(async move {
            let listener = TcpListener::from_std(listener).unwrap();
            Server::builder()
                .add_service(ControlServiceServer::new(Control { told }))
                .serve_with_incoming(Incoming::new(listener, live))
                .await
        });
        Self { leader: Leader { holder: holder.into(), address, epoch: 1 }, reports, runtime: Some(runtime) }
    }

    /// Waits for a report that says this of model `chat`, as (waiting, running).
    async fn hears(&mut self, waiting: u32, running: u32) -> ReportRequest {
        loop {
            let report = soon(self.reports.recv()).await.unwrap();
            assert_eq!(report.gateway, "gateway-0");
            let counts = report.models.iter().find(|model| model.name == "chat");
            if counts.is_some_and(|model| (model.waiting, model.running) == (waiting, running)) {
                return report;
            }
        }
    }
}

impl Drop for FakeController {
    fn drop(&mut self) {
        self.runtime.take().unwrap().shutdown_background();
    }
}

struct Control {
    told: mpsc::UnboundedSender<ReportRequest>,
}

#[tonic::async_trait]
impl ControlService for Control {
    type ReportStream = BoxStream<'static, Result<ReportResponse, Status>>;

    async fn report(
        &self,
        request: Request<Streaming<ReportRequest>>,
    ) -> Result<Response<Self::ReportStream>, Status> {
        hearth_tls::require(&request, Role::Gateway)?;
        let told = self.told.clone();
        let answers = request.into_inner().map(move |report| {
            let _ = told.send(report?);
            Ok(ReportResponse { epoch: 1 })
        });
        Ok(Response::new(Box::pin(answers)))
    }
}

#[tokio::test]
async fn the_leader_hears_what_is_asked_for_and_so_does_the_next_one() {
    let harness = Harness::start().await;
    harness.loading("chat", "loading", 0, 0).await;
    let stream = harness.generate("chat").await;
    let mut first = FakeController::start(&harness.ca, "controller-0").await;
    harness.leader.send_replace(Some(first.leader.clone()));
    let report = first.hears(1, 0).await;
    assert_eq!(report.models[0].namespace, "default");
    drop(stream);
    first.hears(0, 0).await;

    let mut worker = harness.worker("box", &["chat"]).await;
    harness.model("chat", &["box"]).await;
    let mut stream = harness.generate("chat").await;
    let answer = worker.call().await.accept();
    first.hears(0, 1).await;

    let mut second = FakeController::start(&harness.ca, "controller-1").await;
    drop(first);
    // Without a controller the gateway serves on.
    answer.delta("x").await;
    assert_eq!(stream.text().await, "x");
    harness.leader.send_replace(Some(second.leader.clone()));
    second.hears(0, 1).await;
    answer.finish(hearth_proto::inference::v1::FinishReason::Stop, 3, 4).await;
    let report = second.hears(0, 0).await;
    assert_eq!((report.models[0].prompt_tokens, report.models[0].completion_tokens), (3, 4));
}
