//! The one task that owns the fleet's state.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use hearth_proto::worker::v1::WatchResponse;
use tokio::sync::{mpsc, watch};
use tokio::task;
use tokio::time::{MissedTickBehavior, interval, sleep_until};

use super::effects::Instances;
use super::engines::Engines;
use super::essence::essence;
use super::event::Event;
use super::handle::{ApplyError, FleetHandle, Message};
use super::memory::Memory;
use super::route::{Route, Routes};
use super::state::{Stage, State};
use super::tasks::{Death, Tasks};
use crate::convert::{StoreUse, snapshot};
use crate::host::{Device, Probe};
use crate::intent::{Intent, IntentError, IntentFile, Verdict};
use crate::metrics::Metrics;
use crate::spec::{Failure, Fence};
use crate::store::ModelStore;
use crate::supervise::Launcher;

/// The most often that moving numbers are told.
const TELL_EVERY: Duration = Duration::from_secs(1);

/// What a fleet is made of.
pub struct Setup {
    /// The devices.
    pub probe: Box<dyn Probe>,
    /// Bytes of each device that are left to others.
    pub reserve: u64,
    /// How engine processes are started.
    pub launcher: Launcher,
    /// Where files are kept.
    pub store: Arc<ModelStore>,
    /// Where the set in force is kept.
    pub state_dir: PathBuf,
    /// What is counted.
    pub metrics: Arc<Metrics>,
}

/// The owner of everything that this worker holds.
pub struct Fleet {
    pub(super) state: State,
    pub(super) instances: Instances,
    pub(super) engines: Engines,
    pub(super) tasks: Tasks,
    pub(super) messages: mpsc::UnboundedSender<Message>,
    pub(super) store: Arc<ModelStore>,
    pub(super) metrics: Arc<Metrics>,
    inbox: mpsc::UnboundedReceiver<Message>,
    intents: IntentFile,
    intent: Option<Intent>,
    pub(super) devices: Vec<(Device, Option<Memory>)>,
    pub(super) reserve: u64,
    store_use: StoreUse,
    told: watch::Sender<Arc<WatchResponse>>,
    routes: watch::Sender<Arc<Routes>>,
}

impl Fleet {
    /// Reads the set that was in force, and the devices, once.
    ///
    /// # Errors
    /// When there is a set that cannot be understood: to begin with none would
    /// unload everything behind the controller's back.
    pub fn new(setup: Setup) -> Result<(Self, FleetHandle), IntentError> {
        let Setup { mut probe, reserve, launcher, store, state_dir, metrics } = setup;
        let intents = IntentFile::in_dir(&state_dir);
        let intent = intents.load()?;
        let (messages, inbox) = mpsc::unbounded_channel();
        let found: Vec<Device> = probe.devices().to_vec();
        let state = State::new(found.iter().map(|d| d.uuid.clone()));
        let (told, told_rx) = watch::channel(Arc::new(WatchResponse::default()));
        let (routes, routes_rx) = watch::channel(Arc::new(Routes::default()));
        let handle = FleetHandle { messages: messages.clone(), told: told_rx, routes: routes_rx };
        let mut fleet = Self {
            state,
            instances: Instances::default(),
            engines: Engines::new(launcher, &found),
            tasks: Tasks::default(),
            messages,
            store_use: store.usage(),
            store,
            metrics,
            inbox,
            intents,
            intent: intent.clone(),
            devices: found.into_iter().map(|d| (d, None)).collect(),
            reserve,
            told,
            routes,
        };
        fleet.take_readings(probe.read());
        fleet.watch_devices(probe);
        if let Some(intent) = intent {
            tracing::info!(fence = %intent.fence, replicas = intent.replicas.len(), "restoring the set in force");
            fleet.step(Event::Applied(intent));
        }
        fleet.publish(true);
        Ok((fleet, handle))
    }

    /// Runs until it is stopped.
    ///
    /// # Errors
    /// What can no longer be done without: the process should end.
    pub async fn run(mut self) -> Result<(), &'static str> {
        let mut ticks = interval(TELL_EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let deadline = self.state.next_deadline(Instant::now());
            let mut whole = false;
            tokio::select! {
                Some(message) = self.inbox.recv() => {
                    if let Message::Stop(reply) = message {
                        self.end().await;
                        let _ = reply.send(());
                        return Ok(());
                    }
                    self.take(message).await;
                }
                Some(death) = self.tasks.next() => match death {
                    Death::Nothing => {}
                    Death::Means(event) => self.step(event),
                    Death::Fatal(what) => return Err(what),
                },
                () = sleep_until(deadline.unwrap_or_else(Instant::now).into()), if deadline.is_some() => {
                    self.step(Event::Tick);
                }
                _ = ticks.tick() => whole = true,
            }
            self.publish(whole);
        }
    }

    async fn take(&mut self, message: Message) {
        match message {
            Message::Apply(intent, reply) => {
                let _ = reply.send(self.apply(intent).await);
            }
            Message::Event(event) => self.step(event),
            Message::EngineUp { device, channel } => {
                self.engines.connected(&device, channel);
                self.step(Event::EngineUp { device });
            }
            Message::Fetched(of, blob) => {
                let file = self.instances.keep(of.instance, blob);
                self.step(Event::Fetched { of, file });
            }
            Message::Readings(readings) => self.take_readings(readings),
            Message::StoreUse(usage) => self.store_use = usage.settle(self.store_use),
            Message::Ping(reply) => {
                let _ = reply.send(());
            }
            Message::Stop(_) => {}
        }
    }

    async fn apply(&mut self, new: Intent) -> Result<Fence, ApplyError> {
        if self.state.leaving {
            return Err(ApplyError::Leaving);
        }
        let fence = new.fence;
        match self.intent.as_ref().map_or(Verdict::Newer, |current| current.judge(&new)) {
            Verdict::Older => {
                let applied = self.intent.as_ref().map(|i| i.fence).unwrap_or_default();
                return Err(ApplyError::Older { new: fence, applied });
            }
            Verdict::Conflict => return Err(ApplyError::Conflict(fence)),
            Verdict::Same => {}
            Verdict::Newer => {
                let (file, to_save) = (self.intents.clone(), new.clone());
                // Awaited here, so that sets are kept in the order they came in.
                task::spawn_blocking(move || file.save(&to_save))
                    .await
                    .map_err(|_| ApplyError::Leaving)??;
                tracing::info!(%fence, replicas = new.replicas.len(), "a set was applied");
            }
        }
        self.intent = Some(new.clone());
        self.step(Event::Applied(new));
        Ok(fence)
    }

    pub(super) fn step(&mut self, event: Event) {
        if let Event::EngineDown { device, .. } = &event {
            self.engines.disconnected(device);
        }
        let before = self.failures();
        let is_applied = matches!(event, Event::Applied(_));
        let effects = self.state.step(event, Instant::now());
        if is_applied {
            self.store.want(self.state.instances.values().map(|i| i.spec.file.clone()).collect());
        }
        for effect in effects {
            self.carry_out(effect);
        }
        for (id, failure) in self.failures() {
            if !before.contains(&(id.clone(), failure.clone())) {
                tracing::warn!(replica = id, reason = failure.reason, "{}", failure.message);
            }
        }
    }

    fn failures(&self) -> Vec<(String, Failure)> {
        let of = |i: &super::state::Instance| i.failure.clone().map(|f| (i.spec.id.clone(), f));
        self.state.instances.values().filter_map(of).collect()
    }

    /// Tells what changed: the essence at once, the rest if `whole`.
    fn publish(&mut self, whole: bool) {
        let now = Instant::now();
        let mut routes = Routes::default();
        for (id, instance) in &self.state.instances {
            let ready = instance.wanted && instance.stage == Stage::Ready;
            let channel = ready.then(|| self.engines.channel(&instance.spec.device)).flatten();
            let route = channel.map(|channel| Route {
                instance: *id,
                replica: instance.spec.id.clone(),
                device: instance.spec.device.clone(),
                channel,
                in_flight: self.instances.in_flight(*id),
            });
            routes.add(instance, route, now);
        }
        self.routes.send_replace(Arc::new(routes));
        let outstanding = |id| self.instances.outstanding(id);
        let new = snapshot(&self.state, &self.devices, self.store_use, outstanding, now);
        self.told.send_if_modified(|told| {
            let tell = if whole { **told != new } else { essence(told) != essence(&new) };
            if tell {
                *told = Arc::new(new);
            }
            tell
        });
    }

    /// Ends every engine process; other work is let go of.
    async fn end(&mut self) {
        self.instances.abort_all();
        self.engines.stop_all();
        while self.engines.any_running() {
            match self.inbox.recv().await {
                Some(Message::Event(Event::EngineDown { device, .. })) => self.engines.disconnected(&device),
                Some(_) => {}
                None => break,
            }
        }
        self.tasks.shutdown().await;
    }
}
