//! A worker whose answers the test writes.

use std::collections::BTreeSet;

use futures::{StreamExt as _, stream::BoxStream};
use hearth_operator::gateway::validate;
use hearth_proto::inference::v1::{
    Delta, Finish, FinishReason, GenerateRequest, GenerateResponse, ListModelsRequest, ListModelsResponse,
    TokenizeRequest, TokenizeResponse, Usage, generate_request,
    generate_response::Event,
    inference_service_server::{InferenceService, InferenceServiceServer},
    tokenize_request,
};
use hearth_proto::{FORWARDED_MESSAGE, REPLICA_METADATA};
use hearth_tls::{Identity, Incoming, Role, testing::TestCa};
use tokio::{
    net::TcpListener,
    runtime::Runtime,
    sync::{mpsc, oneshot},
};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, metadata::MetadataMap, transport::Server};

use crate::harness::soon;

/// A worker process. It has a runtime of its own, so that it can die as a process does.
pub struct FakeWorker {
    pub name: String,
    pub address: String,
    calls: mpsc::UnboundedReceiver<Call>,
    /// The replicas that calls to tokenize named.
    named: mpsc::UnboundedReceiver<String>,
    runtime: Option<Runtime>,
}

/// A generation that reached a worker and waits for the test to say what becomes of it.
pub struct Call {
    pub request: GenerateRequest,
    pub metadata: MetadataMap,
    head: oneshot::Sender<Result<mpsc::Receiver<Item>, Status>>,
}

/// A generation that the worker has begun to answer.
pub struct Answer {
    items: mpsc::Sender<Item>,
}

type Item = Result<GenerateResponse, Status>;

impl FakeWorker {
    /// A worker that holds these models.
    pub async fn start(ca: &TestCa, name: &str, models: &[&str]) -> Self {
        Self::listen(ca, name, models, "127.0.0.1:0").await
    }

    /// As [`FakeWorker::start`], at a given address.
    pub async fn listen(ca: &TestCa, name: &str, models: &[&str], address: &str) -> Self {
        let live = ca.live(&Identity::worker(name).unwrap());
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let (calls_out, calls) = mpsc::unbounded_channel();
        let models = models.iter().map(|model| (*model).to_owned()).collect();
        let (named_out, named) = mpsc::unbounded_channel();
        let service = Service { models, calls: calls_out, named: named_out };
        let (address_out, address_in) = oneshot::channel();
        let wanted = address.to_owned();
        runtime.spawn(async move {
            let listener = TcpListener::bind(wanted).await.unwrap();
            address_out.send(listener.local_addr().unwrap()).unwrap();
            Server::builder()
                .add_service(
                    InferenceServiceServer::new(service).max_decoding_message_size(FORWARDED_MESSAGE),
                )
                .serve_with_incoming(Incoming::new(listener, live))
                .await
        });
        let address = soon(address_in).await.unwrap().to_string();
        Self { name: name.to_owned(), address, calls, named, runtime: Some(runtime) }
    }

    /// The replica that the next call to tokenize names.
    pub async fn named(&mut self) -> String {
        soon(self.named.recv()).await.expect("a worker that lives")
    }

    /// The next generation that reaches the worker.
    pub async fn call(&mut self) -> Call {
        soon(self.calls.recv()).await.expect("a worker that lives")
    }

    /// Whether no generation reached the worker that was not taken yet.
    pub fn is_idle(&mut self) -> bool {
        self.calls.try_recv().is_err()
    }

    /// Dies without a word, as a process that is killed.
    pub fn kill(mut self) {
        self.runtime.take().unwrap().shutdown_background();
    }

    /// Answers each generation by saying the prompt again, word by word.
    pub fn echo(mut self) -> Echo {
        let runtime = self.runtime.take().unwrap();
        let mut calls = std::mem::replace(&mut self.calls, mpsc::unbounded_channel().1);
        runtime.spawn(async move {
            while let Some(call) = calls.recv().await {
                tokio::spawn(call.echo());
            }
        });
        Echo { address: self.address.clone(), runtime: Some(runtime) }
    }
}

impl Drop for FakeWorker {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// A worker that answers by itself.
pub struct Echo {
    pub address: String,
    runtime: Option<Runtime>,
}

impl Drop for Echo {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

impl Call {
    /// Refuses the generation before anything of an answer.
    pub fn refuse(self, status: Status) {
        let _ = self.head.send(Err(status));
    }

    /// Begins to answer.
    pub fn accept(self) -> Answer {
        let (items, receiver) = mpsc::channel(8);
        let _ = self.head.send(Ok(receiver));
        Answer { items }
    }

    /// Answers with the words of the prompt, as far as `max_tokens` allows.
    async fn echo(self) {
        let text = match &self.request.input {
            Some(generate_request::Input::Prompt(prompt)) => prompt.clone(),
            Some(generate_request::Input::Chat(chat)) => chat.messages.last().unwrap().content.clone(),
            _ => String::new(),
        };
        let words: Vec<String> = text.split_inclusive(' ').map(str::to_owned).collect();
        let max = self.request.stop.as_ref().and_then(|stop| stop.max_tokens).unwrap_or(u32::MAX);
        let said = words.len().min(max as usize);
        let reason = if said < words.len() { FinishReason::Length } else { FinishReason::Stop };
        let answer = self.accept();
        for word in &words[..said] {
            answer.delta(word).await;
        }
        answer.finish(reason, words.len() as u32, said as u32).await;
    }
}

impl Answer {
    pub async fn delta(&self, text: &str) {
        let delta = Delta { text: text.into(), token_ids: vec![1], ..Delta::default() };
        self.item(Ok(GenerateResponse { event: Some(Event::Delta(delta)) })).await;
    }

    /// Generates for ever, until nobody wants the answer any more.
    pub async fn flood(&self, text: &str) {
        let flood = async {
            while !self.items.is_closed() {
                self.delta(text).await;
            }
        };
        soon(flood).await;
    }

    pub async fn finish(&self, reason: FinishReason, prompt: u32, completion: u32) {
        let usage = Usage { prompt_tokens: prompt, completion_tokens: completion, cached_tokens: prompt - 1 };
        let finish = Finish { reason: reason.into(), usage: Some(usage), stop_sequence: None };
        self.item(Ok(GenerateResponse { event: Some(Event::Finish(finish)) })).await;
    }

    pub async fn fail(&self, status: Status) {
        self.item(Err(status)).await;
    }

    /// Waits until nobody wants the answer any more.
    pub async fn gone(&self) {
        soon(self.items.closed()).await;
    }

    async fn item(&self, item: Item) {
        let _ = self.items.send(item).await;
    }
}

struct Service {
    models: BTreeSet<String>,
    calls: mpsc::UnboundedSender<Call>,
    named: mpsc::UnboundedSender<String>,
}

impl Service {
    fn admit<T>(&self, request: &Request<T>, model: &str) -> Result<(), Status> {
        hearth_tls::require(request, Role::Gateway)?;
        if self.models.contains(model) {
            return Ok(());
        }
        Err(Status::not_found(format!("this worker does not hold {model:?}")))
    }
}

#[tonic::async_trait]
impl InferenceService for Service {
    type GenerateStream = BoxStream<'static, Item>;

    async fn generate(
        &self,
        request: Request<GenerateRequest>,
    ) -> Result<Response<Self::GenerateStream>, Status> {
        validate::generate(request.get_ref())?;
        self.admit(&request, &request.get_ref().model)?;
        let (head, answer) = oneshot::channel();
        let (metadata, _, request) = request.into_parts();
        self.calls
            .send(Call { request, metadata, head })
            .map_err(|_| Status::unavailable("the test is over"))?;
        let items = answer.await.map_err(|_| Status::unavailable("the test dropped the call"))??;
        Ok(Response::new(ReceiverStream::new(items).boxed()))
    }

    async fn tokenize(
        &self,
        request: Request<TokenizeRequest>,
    ) -> Result<Response<TokenizeResponse>, Status> {
        self.admit(&request, &request.get_ref().model)?;
        let replica = request.metadata().get(REPLICA_METADATA).and_then(|id| id.to_str().ok());
        let _ = self.named.send(replica.unwrap_or_default().to_owned());
        let Some(tokenize_request::Input::Prompt(prompt)) = request.into_inner().input else {
            return Err(Status::unimplemented("a fake knows no templates"));
        };
        Ok(Response::new(TokenizeResponse { ids: prompt.bytes().map(u32::from).collect() }))
    }

    async fn list_models(
        &self,
        _: Request<ListModelsRequest>,
    ) -> Result<Response<ListModelsResponse>, Status> {
        Ok(Response::new(ListModelsResponse::default()))
    }
}
