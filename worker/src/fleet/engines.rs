//! The engine processes, by device.

use std::collections::HashMap;
use std::sync::Arc;

use tokio_util::sync::CancellationToken;
use tonic::transport::Channel;

use crate::host::Device;
use crate::supervise::Launcher;

pub(super) struct Engines {
    launcher: Arc<Launcher>,
    by_device: HashMap<String, Engine>,
}

struct Engine {
    device: Arc<Device>,
    /// There is a process, or one is about to be.
    running: bool,
    /// Ends the present process.
    stop: CancellationToken,
    /// To the present process, once it answers.
    channel: Option<Channel>,
}

impl Engines {
    pub(super) fn new(launcher: Launcher, devices: &[Device]) -> Self {
        let engine = |device: &Device| Engine {
            device: Arc::new(device.clone()),
            running: false,
            stop: CancellationToken::new(),
            channel: None,
        };
        Self {
            launcher: Arc::new(launcher),
            by_device: devices.iter().map(|d| (d.uuid.clone(), engine(d))).collect(),
        }
    }

    /// What the next process on this device needs; it is then counted as running.
    pub(super) fn begin(&mut self, device: &str) -> Option<(Arc<Launcher>, Arc<Device>, CancellationToken)> {
        let engine = self.by_device.get_mut(device)?;
        engine.running = true;
        engine.stop = CancellationToken::new();
        engine.channel = None;
        Some((self.launcher.clone(), engine.device.clone(), engine.stop.clone()))
    }

    pub(super) fn connected(&mut self, device: &str, channel: Channel) {
        if let Some(engine) = self.by_device.get_mut(device) {
            engine.channel = Some(channel);
        }
    }

    pub(super) fn disconnected(&mut self, device: &str) {
        if let Some(engine) = self.by_device.get_mut(device) {
            engine.running = false;
            engine.channel = None;
        }
    }

    pub(super) fn channel(&self, device: &str) -> Option<Channel> {
        self.by_device.get(device)?.channel.clone()
    }

    /// Ends the present process, and no later one.
    pub(super) fn stopper(&self, device: &str) -> CancellationToken {
        self.by_device.get(device).map(|e| e.stop.clone()).unwrap_or_default()
    }

    pub(super) fn stop_all(&self) {
        self.by_device.values().for_each(|e| e.stop.cancel());
    }

    pub(super) fn any_running(&self) -> bool {
        self.by_device.values().any(|e| e.running)
    }
}
