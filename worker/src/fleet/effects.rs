//! Carries effects out. Each ends in the event that its documentation names.

use std::collections::HashMap;
use std::future;
use std::time::{Duration, Instant};

use hearth_proto::engine::v1::engine_service_client::EngineServiceClient;
use hearth_proto::engine::v1::load_response::Event as LoadEvent;
use hearth_proto::engine::v1::{LoadRequest, Loaded, UnloadRequest};
use hearth_proto::worker::v1::ReplicaState;
use hearth_source::Blob;
use tokio::sync::{mpsc, watch};
use tokio::task::AbortHandle;
use tokio::time::timeout;
use tonic::transport::Channel;
use tonic::{Code, Status};

use super::event::{Effect, Event, InstanceId, LoadStep, LocalFile, Try};
use super::handle::Message;
use super::route::InFlight;
use super::run::Fleet;
use super::tasks::Death;
use crate::convert::{footprint_from_proto, kv_type_to_proto};
use crate::spec::{Failure, FileSpec, ReplicaSpec};
use crate::status::to_failure;

/// An engine that does not unload within this is stuck, and is ended.
const UNLOAD_WITHIN: Duration = Duration::from_secs(30);
/// How often a fetch tells how far it is.
const PROGRESS_EVERY: Duration = Duration::from_millis(200);

/// What is kept for each instance besides its state.
#[derive(Default)]
pub(super) struct Instances(HashMap<InstanceId, Kept>);

#[derive(Default)]
struct Kept {
    in_flight: InFlight,
    /// Its file, which the store does not remove while this is held.
    blob: Option<Blob>,
    /// Its fetch or its load: never both at once.
    work: Option<AbortHandle>,
}

impl Instances {
    pub(super) fn in_flight(&mut self, id: InstanceId) -> InFlight {
        self.0.entry(id).or_default().in_flight.clone()
    }

    pub(super) fn outstanding(&self, id: InstanceId) -> u32 {
        self.0.get(&id).map_or(0, |kept| kept.in_flight.count())
    }

    /// Keeps a file for as long as the instance lives.
    pub(super) fn keep(&mut self, id: InstanceId, blob: Blob) -> LocalFile {
        let file = LocalFile { path: blob.path.clone(), sha256: blob.sha256, size_bytes: blob.size_bytes };
        // A late file of an instance that is gone is not kept.
        if let Some(kept) = self.0.get_mut(&id) {
            kept.blob = Some(blob);
        }
        file
    }

    fn begin(&mut self, id: InstanceId, work: AbortHandle) {
        let kept = self.0.entry(id).or_default();
        if let Some(before) = kept.work.replace(work) {
            before.abort();
        }
    }

    fn abort(&mut self, id: InstanceId) {
        if let Some(work) = self.0.get_mut(&id).and_then(|kept| kept.work.take()) {
            work.abort();
        }
    }

    pub(super) fn abort_all(&mut self) {
        self.0.values_mut().filter_map(|kept| kept.work.take()).for_each(|work| work.abort());
    }
}

impl Fleet {
    pub(super) fn carry_out(&mut self, effect: Effect) {
        match effect {
            Effect::Fetch { of, file } => self.fetch(of, file),
            Effect::StopFetch(id) => self.instances.abort(id),
            Effect::StartEngine { device, at } => self.start_engine(device, at),
            Effect::StopEngine { device } => self.engines.stopper(&device).cancel(),
            Effect::Load { of, spec, file } => self.load(of, *spec, file),
            Effect::Drain(id) => {
                let (in_flight, messages) = (self.instances.in_flight(id), self.messages.clone());
                self.tasks.spawn(Death::Nothing, async move {
                    in_flight.idle().await;
                    let _ = messages.send(Message::Event(Event::Idle(id)));
                });
            }
            Effect::Unload { instance, device } => self.unload(instance, &device),
            Effect::Forget(id) => {
                self.instances.abort(id);
                self.instances.0.remove(&id);
            }
        }
    }

    fn fetch(&mut self, of: Try, file: FileSpec) {
        let (store, messages) = (self.store.clone(), self.messages.clone());
        let death = Event::FetchFailed { of, failure: internal("fetching") };
        let work = self.tasks.spawn(Death::Means(death), async move {
            // Pieces come in more often than anybody wants to hear of; what is
            // told is the latest at each look, so that a stall shows, too.
            let latest = watch::Sender::new((0, 0));
            let fetching = store.fetch(&file, |done, total| {
                latest.send_replace((done, total));
            });
            let telling = async {
                let mut changes = latest.subscribe();
                while changes.changed().await.is_ok() {
                    let (done, total) = *changes.borrow_and_update();
                    let _ = messages.send(Message::Event(Event::FetchProgress { of, done, total }));
                    tokio::time::sleep(PROGRESS_EVERY).await;
                }
                future::pending().await
            };
            let result = tokio::select! {
                result = fetching => result,
                never = telling => never,
            };
            let message = match result {
                Ok(blob) => Message::Fetched(of, blob),
                Err(failure) => Message::Event(Event::FetchFailed { of, failure }),
            };
            let _ = messages.send(message);
        });
        self.instances.begin(of.instance, work);
    }

    fn start_engine(&mut self, device: String, at: Instant) {
        let Some((launcher, info, stop)) = self.engines.begin(&device) else { return };
        let messages = self.messages.clone();
        let metrics = self.metrics.clone();
        let failure = Some(internal("watching the engine process"));
        let death = Event::EngineDown { device: device.clone(), failure };
        self.tasks.spawn(Death::Means(death), async move {
            let up = {
                let (device, messages) = (device.clone(), messages.clone());
                move |channel| {
                    let _ = messages.send(Message::EngineUp { device, channel });
                }
            };
            let failure = launcher.run(&info, at, stop, up).await;
            if let Some(failure) = &failure {
                metrics.engine_ended(&device, &failure.reason);
            }
            let _ = messages.send(Message::Event(Event::EngineDown { device, failure }));
        });
    }

    fn load(&mut self, of: Try, spec: ReplicaSpec, file: LocalFile) {
        let messages = self.messages.clone();
        let channel = self.engines.channel(&spec.device);
        let death = Event::LoadFailed { of, failure: internal("loading") };
        let work = self.tasks.spawn(Death::Means(death), async move {
            let result = match channel {
                Some(channel) => load(channel, of, &spec, &file, &messages).await,
                None => Err(Failure::transient("EngineGone", "the engine process is gone")),
            };
            let event = match result {
                Ok(measured) => Event::Loaded { of, measured },
                Err(failure) => Event::LoadFailed { of, failure },
            };
            let _ = messages.send(Message::Event(event));
        });
        self.instances.begin(of.instance, work);
    }

    fn unload(&mut self, instance: InstanceId, device: &str) {
        self.instances.abort(instance);
        let (messages, stuck) = (self.messages.clone(), self.engines.stopper(device));
        let channel = self.engines.channel(device);
        self.tasks.spawn(Death::Nothing, async move {
            let gone = match channel {
                Some(channel) => {
                    let request = UnloadRequest { replica_id: instance.engine_id() };
                    let mut client = EngineServiceClient::new(channel);
                    match timeout(UNLOAD_WITHIN, client.unload(request)).await {
                        Ok(Ok(_)) => true,
                        // A load that was cancelled in time left nothing.
                        Ok(Err(status)) => status.code() == Code::NotFound,
                        Err(_) => false,
                    }
                }
                // No process, nothing held.
                None => true,
            };
            if gone {
                let _ = messages.send(Message::Event(Event::Unloaded(instance)));
            } else {
                // Its end says that all it held is gone.
                stuck.cancel();
            }
        });
    }
}

fn internal(what: &str) -> Failure {
    Failure::transient("Internal", format!("{what} failed within the worker; its log says where"))
}

async fn load(
    channel: Channel,
    of: Try,
    spec: &ReplicaSpec,
    file: &LocalFile,
    messages: &mpsc::UnboundedSender<Message>,
) -> Result<hearth_model::Footprint, Failure> {
    let path = file.path.to_str().ok_or_else(|| {
        Failure::permanent("FileUnreadable", format!("{} is not valid UTF-8", file.path.display()))
    })?;
    let request = LoadRequest {
        replica_id: of.instance.engine_id(),
        path: path.to_owned(),
        context_tokens: spec.context_tokens.get(),
        sequences: spec.sequences.get(),
        kv_type: kv_type_to_proto(spec.kv_type).into(),
    };
    let failed = |status: Status| {
        to_failure(&status).unwrap_or_else(|| {
            Failure::transient("LoadFailed", format!("the engine said: {}", status.message()))
        })
    };
    let mut events = EngineServiceClient::new(channel).load(request).await.map_err(failed)?.into_inner();
    while let Some(response) = events.message().await.map_err(failed)? {
        match response.event {
            Some(LoadEvent::Progress(progress)) => {
                let step = match progress.state() {
                    ReplicaState::Warming => LoadStep::Warming,
                    _ => LoadStep::Weights,
                };
                let (done, total) = (progress.done_bytes, progress.total_bytes);
                let _ = messages.send(Message::Event(Event::LoadProgress { of, step, done, total }));
            }
            Some(LoadEvent::Loaded(Loaded { measured })) => {
                return Ok(measured.map(footprint_from_proto).unwrap_or(spec.footprint));
            }
            None => {}
        }
    }
    Err(Failure::transient("LoadFailed", "the engine ended the load without a result"))
}
