//! `hearth.engine.v1` over an [`Engine`].

use hearth_engine::Engine;
use hearth_proto::engine::v1::engine_service_server::EngineService;
use hearth_proto::engine::v1::{LoadRequest, StatsRequest, StatsResponse, UnloadRequest, UnloadResponse};
use hearth_proto::inference::v1::{GenerateRequest, TokenizeRequest, TokenizeResponse};
use tokio::sync::{mpsc, oneshot};
use tonic::{Request, Response, Status};

use super::convert;
use super::load::LoadStream;
use super::mailbox::{Reader, mailbox};
use crate::status;

pub(super) struct EngineApi {
    engine: Engine,
}

impl EngineApi {
    pub(super) fn new(engine: Engine) -> Self {
        Self { engine }
    }
}

/// The engine's thread ended without an answer; the process is about to.
fn thread_gone<E>(_: E) -> Status {
    Status::aborted("the engine's thread is gone and the engine is started anew")
}

#[tonic::async_trait]
impl EngineService for EngineApi {
    type LoadStream = LoadStream;

    async fn load(&self, request: Request<LoadRequest>) -> Result<Response<LoadStream>, Status> {
        let spec = convert::load_spec(request.into_inner())?;
        // Unbounded, and yet bounded: a load says what it does a few hundred
        // times, and its listener must not wait.
        let (sender, events) = mpsc::unbounded_channel();
        let cancel = self.engine.load(
            spec,
            Box::new(move |event| {
                // Whoever no longer listens has dropped the cancel, too.
                let _ = sender.send(event);
            }),
        );
        Ok(Response::new(LoadStream { events, _cancel: cancel }))
    }

    async fn unload(&self, request: Request<UnloadRequest>) -> Result<Response<UnloadResponse>, Status> {
        let (done, unloaded) = oneshot::channel();
        self.engine.unload(
            &request.into_inner().replica_id,
            Box::new(move |result| {
                let _ = done.send(result);
            }),
        );
        unloaded
            .await
            .map_err(thread_gone)?
            .map_err(|unknown| status::unknown_model(&unknown.id, unknown.to_string()))?;
        Ok(Response::new(UnloadResponse {}))
    }

    type GenerateStream = Reader;

    async fn generate(&self, request: Request<GenerateRequest>) -> Result<Response<Reader>, Status> {
        let (id, request) = convert::request(request.into_inner())?;
        let (sink, reader) = mailbox();
        let cancel = self.engine.generate(&id, request, Box::new(sink));
        Ok(Response::new(reader.with(cancel)))
    }

    async fn tokenize(
        &self,
        request: Request<TokenizeRequest>,
    ) -> Result<Response<TokenizeResponse>, Status> {
        let (id, input) = convert::tokenize(request.into_inner())?;
        let (done, tokenized) = oneshot::channel();
        self.engine.tokenize(
            &id,
            input,
            Box::new(move |result| {
                let _ = done.send(result);
            }),
        );
        let ids = tokenized.await.map_err(thread_gone)?.map_err(|e| convert::request_error(&e))?;
        Ok(Response::new(TokenizeResponse { ids }))
    }

    async fn stats(&self, _: Request<StatsRequest>) -> Result<Response<StatsResponse>, Status> {
        let replicas = self.engine.stats().into_iter().map(convert::replica_stats).collect();
        Ok(Response::new(StatsResponse { replicas }))
    }
}
