//! Channels to the Workers, one each, shared by all requests.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use hearth_tls::{DialOptions, Identity, IdentityError, Live, dial};
use tokio::sync::watch;
use tonic::transport::Channel;

use super::routes::{Replica, Routes};

/// Channels by Worker. A channel connects with its first call and reconnects by itself.
#[derive(Debug)]
pub struct Pool {
    credentials: watch::Receiver<Option<Live>>,
    options: DialOptions,
    channels: Mutex<HashMap<String, Entry>>,
}

#[derive(Clone, Debug)]
struct Entry {
    address: String,
    channel: Channel,
}

/// Why there is no channel.
#[derive(Debug, thiserror::Error)]
pub enum PoolError {
    /// The Secret has not been read yet.
    #[error("the gateway has no certificate yet")]
    NoCredentials,
    /// The Worker's name cannot be in a certificate.
    #[error("the Worker cannot be named in a certificate")]
    Name(#[from] IdentityError),
}

impl Pool {
    /// An empty pool that dials with these credentials once there are any.
    pub fn new(credentials: watch::Receiver<Option<Live>>, options: DialOptions) -> Self {
        Self { credentials, options, channels: Mutex::default() }
    }

    /// The channel to the Worker of a replica. Must be called on a Tokio runtime.
    ///
    /// # Errors
    /// When there are no credentials, or the name is none. That nobody answers shows in the
    /// first call.
    pub fn channel(&self, replica: &Replica) -> Result<Channel, PoolError> {
        let mut channels = self.lock();
        if let Some(entry) = channels.get(&replica.worker)
            && entry.address == replica.address
        {
            return Ok(entry.channel.clone());
        }
        let channel = self.dial(Identity::worker(&replica.worker)?, &replica.address)?;
        let entry = Entry { address: replica.address.clone(), channel: channel.clone() };
        channels.insert(replica.worker.clone(), entry);
        Ok(channel)
    }

    /// A channel to the controller, which is not kept.
    ///
    /// # Errors
    /// When there are no credentials yet.
    pub fn controller(&self, address: &str) -> Result<Channel, PoolError> {
        self.dial(Identity::Controller, address)
    }

    /// Drops the channel to a Worker that did not answer, so that the next call dials anew.
    pub fn evict(&self, replica: &Replica) {
        let mut channels = self.lock();
        if channels.get(&replica.worker).is_some_and(|entry| entry.address == replica.address) {
            channels.remove(&replica.worker);
        }
    }

    /// Drops the channels to Workers that no route leads to. Calls on them go on to their end.
    pub fn retain(&self, routes: &Routes) {
        let used = |worker: &str, entry: &Entry| {
            routes.iter().any(|(_, route)| {
                route
                    .replicas
                    .iter()
                    .any(|replica| replica.worker == worker && replica.address == entry.address)
            })
        };
        self.lock().retain(|worker, entry| used(worker, entry));
    }

    fn dial(&self, expected: Identity, address: &str) -> Result<Channel, PoolError> {
        let live = self.credentials.borrow().clone().ok_or(PoolError::NoCredentials)?;
        Ok(dial(address, expected, &live, &self.options))
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Entry>> {
        self.channels.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use hearth_tls::testing::TestCa;

    use super::*;

    fn replica(worker: &str, address: &str) -> Replica {
        Replica {
            id: "uid-0".into(),
            worker: worker.into(),
            device: "cpu".into(),
            address: address.into(),
            sequences: 1,
        }
    }

    fn size(pool: &Pool) -> usize {
        pool.lock().len()
    }

    #[tokio::test]
    async fn keeps_one_channel_a_worker_and_follows_its_address() {
        let live = TestCa::new().live(&Identity::Gateway);
        let (credentials, receiver) = watch::channel(None);
        let pool = Pool::new(receiver, DialOptions::default());
        let old = replica("box", "127.0.0.1:1");
        assert!(matches!(pool.channel(&old), Err(PoolError::NoCredentials)));
        credentials.send_replace(Some(live));
        pool.channel(&old).unwrap();
        pool.channel(&old).unwrap();
        assert_eq!(size(&pool), 1);
        let new = replica("box", "127.0.0.1:2");
        pool.channel(&new).unwrap();
        assert_eq!(size(&pool), 1);
        pool.evict(&old);
        assert_eq!(size(&pool), 1, "the channel to the new address stays");
        pool.retain(&Routes::default());
        assert_eq!(size(&pool), 0);
        assert!(matches!(pool.channel(&replica("Not A Name", "h:1")), Err(PoolError::Name(_))));
    }
}
