//! Requests that go on while something is done to the installation.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use tokio::{task::JoinHandle, time::timeout};

use super::{Cluster, Gateway, prompt};

/// Clients that ask one after the other, until they are stopped or an answer is not whole.
pub(crate) struct Traffic {
    stop: Arc<AtomicBool>,
    done: Arc<AtomicUsize>,
    clients: Vec<JoinHandle<Result<()>>>,
}

impl Traffic {
    /// Lets this many clients ask a model for `tokens` tokens again and again.
    pub(crate) fn start(cluster: &Cluster, model: &'static str, clients: usize, tokens: u32) -> Self {
        let (stop, done) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let client = |_| {
            let (stop, done, cluster) = (stop.clone(), done.clone(), cluster.clone());
            tokio::spawn(async move {
                while !stop.load(Ordering::Relaxed) {
                    // A new connection each time, as a client that retries a closed one makes it.
                    let gateway = Gateway::dial(&cluster).await?;
                    let answer = gateway.generate(prompt(model, "Hello", tokens)).await?;
                    ensure!(answer.tokens == tokens as usize, "{} tokens", answer.tokens);
                    done.fetch_add(1, Ordering::Relaxed);
                }
                Ok(())
            })
        };
        let clients = (0..clients).map(client).collect();
        Self { stop, done, clients }
    }

    /// Waits until this many more requests were answered, or a client gave up.
    pub(crate) async fn goes_on(&self, more: usize, limit: Duration) -> Result<()> {
        let target = self.done.load(Ordering::Relaxed) + more;
        let reached = async {
            while self.done.load(Ordering::Relaxed) < target
                && !self.clients.iter().any(JoinHandle::is_finished)
            {
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        };
        timeout(limit, reached).await.context("requests stopped")
    }

    /// Stops the clients.
    ///
    /// # Errors
    /// The first answer that was not whole.
    pub(crate) async fn stop(self) -> Result<()> {
        self.stop.store(true, Ordering::Relaxed);
        for client in self.clients {
            client.await?.context("a request failed meanwhile")?;
        }
        Ok(())
    }
}
