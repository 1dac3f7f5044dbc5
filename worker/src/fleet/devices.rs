//! What the devices say of themselves, again and again.

use std::time::Duration;

use tokio::task;

use super::event::Event;
use super::handle::Message;
use super::memory::{Memory, Ours};
use super::run::Fleet;
use super::tasks::Death;
use crate::host::{Probe, Reading};
use crate::spec::Failure;

/// How often devices' memory is read.
const READ_EVERY: Duration = Duration::from_secs(3);

impl Fleet {
    pub(super) fn watch_devices(&mut self, mut probe: Box<dyn Probe>) {
        let messages = self.messages.clone();
        let store = self.store.clone();
        self.tasks.spawn(Death::Fatal("reading the devices"), async move {
            loop {
                tokio::time::sleep(READ_EVERY).await;
                let store = store.clone();
                let read = move || {
                    let readings = probe.read();
                    (probe, readings, store.usage())
                };
                let Ok((back, readings, usage)) = task::spawn_blocking(read).await else { return };
                probe = back;
                if messages.send(Message::Readings(readings)).is_err() {
                    return;
                }
                let _ = messages.send(Message::StoreUse(usage));
            }
        });
    }

    pub(super) fn take_readings(&mut self, readings: Vec<Reading>) {
        for reading in readings {
            let Some((device, memory)) = self.devices.iter_mut().find(|(d, _)| d.uuid == reading.uuid) else {
                continue;
            };
            let ours = Ours {
                bytes: self.state.resident_bytes(&device.uuid),
                settled: self.state.is_settled(&device.uuid),
                shown: device.shows_ours,
            };
            let mut unusable =
                device.engine.unavailable().map(|why| Failure::transient("DeviceUnavailable", why));
            match reading.memory {
                Ok(found) => {
                    *memory = Some(Memory::update(*memory, found.total, found.used, reading.at, ours));
                }
                Err(why) => unusable = Some(Failure::transient("DeviceUnreadable", why)),
            }
            let bytes = memory.map_or(0, |m| m.budget(self.reserve));
            let room = memory.map_or(0, |m| m.budget(0));
            let device = device.uuid.clone();
            self.step(Event::Budget { device, bytes, room, unusable });
        }
    }
}
