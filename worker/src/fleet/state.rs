//! What is known of every replica and device.

use std::collections::BTreeMap;
use std::time::Instant;

use hearth_model::Footprint;

use super::event::{InstanceId, LocalFile, Try};
use super::progress::Progress;
use crate::spec::{Failure, Fence, ReplicaSpec};

/// Unasked ends of an engine process in a row that make a device unhealthy.
pub const UNHEALTHY_DEATHS: u32 = 3;

/// Everything that decides what is done next.
#[derive(Debug, Default)]
pub struct State {
    /// The fence of the set in force.
    pub applied: Option<Fence>,
    /// All replicas that are wanted, or still leave something behind.
    pub instances: BTreeMap<InstanceId, Instance>,
    /// By uuid.
    pub devices: BTreeMap<String, DeviceSlot>,
    /// Nothing new is begun.
    pub leaving: bool,
    pub(super) last_instance: u64,
}

/// One coming and going of a replica.
#[derive(Debug)]
pub struct Instance {
    /// What it is to be.
    pub spec: ReplicaSpec,
    /// The newest intent that it satisfies.
    pub fence: Fence,
    /// Whether the set in force names it.
    pub wanted: bool,
    /// Where it stands.
    pub stage: Stage,
    /// Grows with each try of a step.
    pub number: u32,
    /// Failures in a row.
    pub failures: u32,
    /// Engine processes in a row that ended while they loaded it.
    pub kills: u32,
    /// The last failure; cleared when it is ready.
    pub failure: Option<Failure>,
    /// Bytes of the device that were free when it found no room there.
    pub found_free: Option<u64>,
    /// The file, once it is here.
    pub file: Option<LocalFile>,
    /// What the engine allocated, once it has.
    pub measured: Option<Footprint>,
}

/// Where an instance stands.
#[derive(Clone, Debug, PartialEq)]
pub enum Stage {
    /// For its turn to fetch, or for the time of another try.
    Waiting {
        /// Not earlier than this.
        not_before: Option<Instant>,
    },
    /// Its bytes come in.
    Fetching {
        /// The start of this try.
        since: Instant,
        /// Bytes.
        progress: Progress,
    },
    /// The file is here; it waits for its turn on the device.
    Fetched,
    /// The engine takes it in.
    Loading {
        /// The start of this try.
        since: Instant,
        /// In the present step's unit.
        progress: Progress,
        /// Weights are there; a first generation runs.
        warming: bool,
    },
    /// It answers requests.
    Ready,
    /// It answers what it began, and nothing new.
    Draining {
        /// Then it is unloaded all the same.
        until: Instant,
    },
    /// The engine lets it go.
    Unloading,
    /// It did not work.
    Failed {
        /// Then it is tried again; never, if the cause is permanent.
        retry_at: Option<Instant>,
    },
}

impl Stage {
    /// Whether the engine process holds, or may hold, memory for it.
    pub fn is_resident(&self) -> bool {
        match self {
            Self::Loading { .. } | Self::Ready | Self::Draining { .. } | Self::Unloading => true,
            Self::Waiting { .. } | Self::Fetching { .. } | Self::Fetched | Self::Failed { .. } => false,
        }
    }

    /// Whether the device's engine process has a reason to run.
    pub fn needs_engine(&self) -> bool {
        matches!(self, Self::Fetched) || self.is_resident()
    }
}

impl Instance {
    /// Bytes on the device: as allocated, or as planned until that is known.
    pub fn bytes(&self) -> u64 {
        self.measured.unwrap_or(self.spec.footprint).total()
    }

    /// Begins another try; results of earlier ones are void.
    pub(super) fn next_try(&mut self, id: InstanceId) -> Try {
        self.number += 1;
        Try { instance: id, number: self.number }
    }
}

/// A device and its engine process.
#[derive(Debug, Default)]
pub struct DeviceSlot {
    /// Bytes that ours may take altogether.
    pub budget: u64,
    /// The same, if nothing were kept in reserve.
    pub room: u64,
    /// Why nothing can be loaded there.
    pub unusable: Option<Failure>,
    /// Its engine process.
    pub engine: EngineState,
    /// Unasked ends of the engine process since it was last stable.
    pub deaths: u32,
    /// Since when nothing happened that could end it: the last death or load.
    pub calm_since: Option<Instant>,
    /// What the last of them was.
    pub last_death: Option<Failure>,
    /// Not started again before this time.
    pub not_before: Option<Instant>,
}

/// An engine process's life.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum EngineState {
    /// There is none.
    #[default]
    Stopped,
    /// It does not answer yet.
    Starting,
    /// It answers.
    Up,
    /// It was asked to go.
    Stopping,
}

impl State {
    /// A worker with these devices and nothing on them.
    pub fn new(devices: impl IntoIterator<Item = String>) -> Self {
        Self {
            devices: devices.into_iter().map(|uuid| (uuid, DeviceSlot::default())).collect(),
            ..Self::default()
        }
    }

    /// Instances on a device.
    pub fn on<'a>(&'a self, device: &'a str) -> impl Iterator<Item = (InstanceId, &'a Instance)> {
        self.instances.iter().filter(move |(_, i)| i.spec.device == device).map(|(id, i)| (*id, i))
    }

    /// Bytes that ours take on a device, or may take.
    pub fn resident_bytes(&self, device: &str) -> u64 {
        self.on(device)
            .filter(|(_, i)| i.stage.is_resident())
            .fold(0, |sum, (_, i)| sum.saturating_add(i.bytes()))
    }

    /// Whether [`State::resident_bytes`] is what a reading of the device shows,
    /// rather than something on its way.
    pub fn is_settled(&self, device: &str) -> bool {
        let engine = self.devices.get(device).map_or(EngineState::Stopped, |d| d.engine);
        matches!(engine, EngineState::Stopped | EngineState::Up)
            && self.on(device).all(|(_, i)| !matches!(i.stage, Stage::Loading { .. } | Stage::Unloading))
    }
}
