//! One link for every worker that has an address.

use std::collections::BTreeMap;
use std::time::Instant;

use hearth_proto::worker::v1::ApplyRequest;
use hearth_tls::{DialOptions, Identity, Live};
use tokio::sync::watch;
use tokio_util::task::AbortOnDropHandle;
use tracing::{error, warn};

use super::super::trigger::Trigger;
use super::link::{Link, LinkState};

/// The links. They belong to the reconcile loop: dropped with it, they close.
pub struct Links {
    live: Live,
    trigger: Trigger,
    open: BTreeMap<String, Open>,
}

struct Open {
    address: String,
    state: watch::Receiver<LinkState>,
    intent: watch::Sender<Option<ApplyRequest>>,
    task: AbortOnDropHandle<()>,
}

impl Links {
    /// No links yet; they will show the certificate in `live`.
    pub fn new(live: Live, trigger: Trigger) -> Self {
        Self { live, trigger, open: BTreeMap::new() }
    }

    /// Opens links to workers that got an address, closes those that lost it.
    pub fn follow(&mut self, addresses: &BTreeMap<String, String>, now: Instant) {
        self.open.retain(|worker, open| {
            let stays = addresses.get(worker) == Some(&open.address);
            let died = open.task.is_finished();
            if died {
                error!(worker, "the task of a link ended; it is started again");
            }
            stays && !died
        });
        for (worker, address) in addresses {
            if self.open.contains_key(worker) {
                continue;
            }
            match Identity::worker(worker) {
                Ok(identity) => {
                    let open = self.open(worker, address, identity, now);
                    self.open.insert(worker.clone(), open);
                }
                Err(error) => warn!(worker, %error, "no link: the name cannot be in a certificate"),
            }
        }
    }

    /// What a leader of `epoch` knows through the links.
    pub fn states(&self, epoch: u64) -> BTreeMap<String, LinkState> {
        let known = |open: &Open| open.state.borrow().clone().believed(epoch);
        self.open.iter().map(|(worker, open)| (worker.clone(), known(open))).collect()
    }

    /// What a worker shall hold. Handed over until the worker took it; an
    /// intent that is the same as before is not handed over again.
    pub fn intend(&self, worker: &str, intent: ApplyRequest) {
        if let Some(open) = self.open.get(worker) {
            open.intent.send_if_modified(|before| {
                let changed = before.as_ref() != Some(&intent);
                if changed {
                    *before = Some(intent);
                }
                changed
            });
        }
    }

    fn open(&self, worker: &str, address: &str, identity: Identity, now: Instant) -> Open {
        let channel = hearth_tls::dial(address, identity, &self.live, &DialOptions::default());
        let (state, states) = watch::channel(LinkState::new(now));
        let (intent, intents) = watch::channel(None);
        let link = Link {
            worker: worker.to_owned(),
            channel,
            intent: intents,
            state,
            trigger: self.trigger.clone(),
        };
        Open {
            address: address.to_owned(),
            state: states,
            intent,
            task: AbortOnDropHandle::new(tokio::spawn(link.run())),
        }
    }
}
