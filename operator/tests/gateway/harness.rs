//! A gateway that serves, and the ends that the cluster would hold.

use std::{future::Future, net::SocketAddr, num::NonZeroUsize, sync::Arc, time::Duration};

use bytes::Bytes;
use hearth_operator::gateway::{
    args::Args,
    forward::Forwarder,
    leader::Leader,
    routes::{
        facts::{Fault, ModelFact, ModelKey, Progress, ReplicaFact, Standing, WorkerFact},
        index::{Change, Update},
    },
    run::Gateway,
};
use hearth_proto::inference::v1::{
    GenerateRequest, GenerateResponse, generate_request::Input, generate_response::Event,
    inference_service_client::InferenceServiceClient,
};
use hearth_tls::{Identity, Live, testing::TestCa};
use http::{Method, Response};
use http_body_util::{BodyExt as _, Full};
use hyper::{body::Incoming, client::conn::http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{mpsc, oneshot, watch},
    task::JoinHandle,
};
use tonic::{
    Status, Streaming,
    client::GrpcService,
    transport::{Channel, Endpoint},
};

use crate::worker::{Echo, FakeWorker};

/// What tonic needs below a client.
pub trait PatientService:
    Clone + GrpcService<tonic::body::Body, ResponseBody = Incoming, Error = hyper::Error>
{
}

impl<T> PatientService for T where
    T: Clone + GrpcService<tonic::body::Body, ResponseBody = Incoming, Error = hyper::Error>
{
}

/// What is waited for comes by itself; this only ends a test that is broken.
pub async fn soon<F: Future>(future: F) -> F::Output {
    tokio::time::timeout(Duration::from_secs(20), future).await.expect("what the test waits for")
}

/// A gateway with its surroundings.
pub struct Harness {
    pub ca: TestCa,
    pub forwarder: Arc<Forwarder>,
    pub leader: watch::Sender<Option<Leader>>,
    pub grpc: SocketAddr,
    pub http: SocketAddr,
    credentials: watch::Sender<Option<Live>>,
    updates: mpsc::Sender<Update>,
    stop: Option<oneshot::Sender<()>>,
    served: JoinHandle<anyhow::Result<()>>,
}

/// Arguments for tests: short waits before it stops, room for three.
pub fn args() -> Args {
    Args {
        grpc_listen: "127.0.0.1:0".parse().unwrap(),
        http_listen: "127.0.0.1:0".parse().unwrap(),
        namespace: "hearth".into(),
        pod_name: "gateway-0".into(),
        default_wait: Duration::from_secs(600),
        max_deadline: Duration::from_secs(3600),
        max_unread: Duration::from_secs(60),
        max_waiting: NonZeroUsize::new(3).unwrap(),
        max_held_bytes: 128 << 20,
        stop_delay: Duration::ZERO,
        stop_grace: Duration::from_secs(30),
    }
}

impl Harness {
    /// A gateway that has its credentials and has seen an empty cluster.
    pub async fn start() -> Self {
        Self::start_with(args()).await
    }

    pub async fn start_with(args: Args) -> Self {
        let harness = Self::start_bare(args).await;
        harness.credentials.send_replace(Some(harness.ca.live(&Identity::Gateway)));
        harness.update(Update::Models(Change::Replace(vec![]))).await;
        harness.update(Update::Workers(Change::Replace(vec![]))).await;
        harness.until_ready().await;
        harness
    }

    /// A gateway that knows nothing yet.
    pub async fn start_bare(args: Args) -> Self {
        let ca = TestCa::new();
        let (credentials, credentials_in) = watch::channel(None);
        let (leader, leader_in) = watch::channel(None);
        let (updates, updates_in) = mpsc::channel(16);
        let gateway = Gateway::new(&args, credentials_in, leader_in, updates_in);
        let grpc = TcpListener::bind(args.grpc_listen).await.unwrap();
        let http = TcpListener::bind(args.http_listen).await.unwrap();
        let (grpc_addr, http_addr) = (grpc.local_addr().unwrap(), http.local_addr().unwrap());
        let forwarder = gateway.forwarder().clone();
        let (stop, stopped) = oneshot::channel();
        let served = tokio::spawn(gateway.serve(grpc, http, async move { drop(stopped.await) }));
        Self {
            ca,
            forwarder,
            leader,
            grpc: grpc_addr,
            http: http_addr,
            credentials,
            updates,
            stop: Some(stop),
            served,
        }
    }

    pub fn give_credentials(&self) {
        self.credentials.send_replace(Some(self.ca.live(&Identity::Gateway)));
    }

    pub async fn update(&self, update: Update) {
        self.updates.send(update).await.unwrap();
    }

    pub async fn until_ready(&self) {
        let mut states = self.forwarder.lifecycle.subscribe();
        soon(states.wait_for(|state| state.missing().is_none())).await.unwrap();
    }

    /// A worker that holds `models`, and that the gateway knows.
    pub async fn worker(&self, name: &str, models: &[&str]) -> FakeWorker {
        let worker = FakeWorker::start(&self.ca, name, models).await;
        self.know(&worker.name, Some(&worker.address)).await;
        worker
    }

    /// Tells the gateway of a worker.
    pub async fn know(&self, name: &str, address: Option<&str>) {
        let fact = WorkerFact { name: name.into(), address: address.map(Into::into) };
        self.update(Update::Workers(Change::Upsert(fact))).await;
    }

    /// A model with one replica of four sequences on each of these workers.
    pub async fn model(&self, name: &str, workers: &[&str]) {
        self.model_with(name, workers, 4).await;
    }

    pub async fn model_with(&self, name: &str, workers: &[&str], sequences: u32) {
        let mut fact = fact(name, Standing::Pending(Progress::saying("waiting for a plan")));
        fact.ready = workers
            .iter()
            .map(|worker| ReplicaFact {
                id: format!("{name}-{worker}"),
                worker: (*worker).into(),
                device: "cpu".into(),
                sequences,
            })
            .collect();
        self.tell(fact).await;
    }

    /// A model that is being loaded.
    pub async fn loading(&self, name: &str, message: &str, done_bytes: u64, total_bytes: u64) {
        let progress =
            Progress { message: message.into(), done_bytes, total_bytes, eta: Some(Duration::from_secs(30)) };
        self.tell(fact(name, Standing::Loading(progress))).await;
    }

    /// A model that cannot be served.
    pub async fn failed(&self, name: &str, fault: Fault) {
        self.tell(fact(name, Standing::Failed(fault))).await;
    }

    pub async fn tell(&self, fact: ModelFact) {
        let (name, standing, replicas) = (fact.served_name.clone(), fact.standing.clone(), fact.ready.len());
        self.update(Update::Models(Change::Upsert(fact))).await;
        let mut routes = self.forwarder.dispatch.subscribe();
        let there = routes.wait_for(|routes| {
            routes
                .get(&name)
                .is_some_and(|route| route.standing == standing && route.replicas.len() == replicas)
        });
        drop(soon(there).await.unwrap());
    }

    /// Waits until so many requests wait and run, over all models.
    pub async fn until_counted(&self, waiting: u32, running: u32) {
        let mut changes = self.forwarder.ledger.subscribe();
        let counted = |_: &u64| {
            let activities = self.forwarder.ledger.snapshot();
            let sums = activities.iter().fold((0, 0), |(w, r), a| (w + a.waiting, r + a.running));
            sums == (waiting, running)
        };
        drop(soon(changes.wait_for(counted)).await.unwrap());
    }

    pub fn channel(&self) -> Channel {
        Endpoint::from_shared(format!("http://{}", self.grpc)).unwrap().connect_lazy()
    }

    pub fn client(&self) -> InferenceServiceClient<Channel> {
        InferenceServiceClient::new(self.channel())
    }

    /// A client that sends a `grpc-timeout` and leaves it to the server.
    pub async fn patient_client(&self) -> InferenceServiceClient<impl PatientService> {
        self.client_with(http2::Builder::new(TokioExecutor::new())).await
    }

    /// A client that answers pings and takes not one byte of an answer.
    pub async fn client_that_does_not_read(&self) -> InferenceServiceClient<impl PatientService> {
        let mut builder = http2::Builder::new(TokioExecutor::new());
        builder.initial_stream_window_size(0);
        self.client_with(builder).await
    }

    async fn client_with(
        &self,
        builder: http2::Builder<TokioExecutor>,
    ) -> InferenceServiceClient<impl PatientService> {
        let stream = TcpStream::connect(self.grpc).await.unwrap();
        let (sender, connection) = builder.handshake(TokioIo::new(stream)).await.unwrap();
        tokio::spawn(connection);
        let service = tower::service_fn(move |request: http::Request<tonic::body::Body>| {
            let mut sender = sender.clone();
            async move { sender.send_request(request).await }
        });
        InferenceServiceClient::with_origin(service, "http://gateway".parse().unwrap())
    }

    /// Begins a generation and returns its stream.
    pub async fn generate(&self, model: &str) -> Stream {
        Stream::of(self.client(), prompt(model, "hi")).await.unwrap()
    }

    pub async fn get(&self, path: &str) -> Response<Incoming> {
        self.http(Method::GET, path, "", &[]).await
    }

    pub async fn post(&self, path: &str, body: &serde_json::Value) -> Response<Incoming> {
        self.http(Method::POST, path, body.to_string(), &[]).await
    }

    pub async fn http(
        &self,
        method: Method,
        path: &str,
        body: impl Into<Bytes>,
        headers: &[(&str, &str)],
    ) -> Response<Incoming> {
        let stream = TcpStream::connect(self.http).await.unwrap();
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
        tokio::spawn(connection);
        let mut request = http::Request::builder()
            .method(method)
            .uri(path)
            .header("host", "gateway")
            .header("content-type", "application/json");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        soon(sender.send_request(request.body(Full::new(body.into())).unwrap())).await.unwrap()
    }

    pub async fn metrics(&self) -> String {
        text(self.get("/metrics").await).await
    }

    /// Gives the order to stop, as SIGTERM does.
    pub fn order_stop(&mut self) {
        self.stop.take().unwrap().send(()).unwrap();
    }

    /// Waits until the gateway has stopped.
    pub async fn stopped(self) {
        soon(self.served).await.unwrap().unwrap();
    }
}

pub fn fact(name: &str, standing: Standing) -> ModelFact {
    ModelFact {
        key: ModelKey { namespace: "default".into(), name: name.into() },
        created: jiff::Timestamp::from_second(1_700_000_000).unwrap(),
        served_name: name.into(),
        context_tokens: 4096,
        quantization: "Q4_1".into(),
        standing,
        ready: vec![],
    }
}

/// A request with a prompt and nothing else.
pub fn prompt(model: &str, text: &str) -> GenerateRequest {
    GenerateRequest {
        model: model.into(),
        input: Some(Input::Prompt(text.into())),
        ..GenerateRequest::default()
    }
}

/// The client's end of a generation.
pub struct Stream(Streaming<GenerateResponse>);

impl Stream {
    pub async fn of(
        mut client: InferenceServiceClient<Channel>,
        request: impl tonic::IntoRequest<GenerateRequest>,
    ) -> Result<Self, Status> {
        soon(client.generate(request)).await.map(|response| Self(response.into_inner()))
    }

    /// The next event; none at a good end.
    pub async fn next(&mut self) -> Result<Option<Event>, Status> {
        Ok(soon(self.0.message()).await?.and_then(|response| response.event))
    }

    /// The next event, which is a piece of text.
    pub async fn text(&mut self) -> String {
        match self.next().await.unwrap() {
            Some(Event::Delta(delta)) => delta.text,
            other => panic!("{other:?} is not a delta"),
        }
    }

    /// Everything that is left: the texts in one, and how it ended.
    pub async fn rest(&mut self) -> (String, Result<Event, Status>) {
        let mut text = String::new();
        loop {
            match self.next().await {
                Ok(Some(Event::Delta(delta))) => text.push_str(&delta.text),
                Ok(Some(Event::Waiting(_))) => {}
                Ok(Some(finish @ Event::Finish(_))) => {
                    assert_eq!(self.next().await.unwrap(), None, "nothing follows a finish");
                    return (text, Ok(finish));
                }
                Ok(None) => panic!("the stream ended without a terminal item after {text:?}"),
                Err(status) => return (text, Err(status)),
            }
        }
    }

    /// The status that it ends with.
    pub async fn error(&mut self) -> Status {
        self.rest().await.1.expect_err("an error")
    }
}

/// The body of a response, as text.
pub async fn text(response: Response<Incoming>) -> String {
    let body = soon(response.into_body().collect()).await.unwrap().to_bytes();
    String::from_utf8(body.to_vec()).unwrap()
}

/// The body of a response, as JSON.
pub async fn json(response: Response<Incoming>) -> serde_json::Value {
    let text = text(response).await;
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error} in {text}"))
}

/// A gateway with a worker `box` that says each prompt of model `chat` again.
pub async fn echoing() -> (Harness, Echo) {
    let harness = Harness::start().await;
    let worker = harness.worker("box", &["chat"]).await.echo();
    harness.model("chat", &["box"]).await;
    (harness, worker)
}
