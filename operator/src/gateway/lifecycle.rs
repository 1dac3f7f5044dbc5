//! Whether the gateway takes requests, and how it stops.

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// What the gateway has and where it is in its life. Shared by everything that serves.
#[derive(Debug)]
pub struct Lifecycle {
    state: watch::Sender<State>,
    cut: CancellationToken,
}

/// What readiness is made of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct State {
    /// The models and Workers of the cluster have been read.
    pub synced: bool,
    /// There is a certificate to dial Workers with.
    pub credentials: bool,
    /// The process was asked to stop.
    pub stopping: bool,
}

impl State {
    /// What keeps the gateway from being ready; absent if nothing does.
    pub fn missing(self) -> Option<&'static str> {
        match self {
            Self { stopping: true, .. } => Some("the gateway is stopping"),
            Self { synced: false, .. } => Some("the models of the cluster have not been read yet"),
            Self { credentials: false, .. } => {
                Some("the Secret with the gateway's certificate is not there yet")
            }
            Self { synced: true, credentials: true, stopping: false } => None,
        }
    }
}

impl Default for Lifecycle {
    fn default() -> Self {
        Self { state: watch::Sender::new(State::default()), cut: CancellationToken::new() }
    }
}

impl Lifecycle {
    /// The state now.
    pub fn state(&self) -> State {
        *self.state.borrow()
    }

    /// Tells of each change.
    pub fn subscribe(&self) -> watch::Receiver<State> {
        self.state.subscribe()
    }

    /// Changes the state; those who watch hear of it only if it differs.
    pub fn update(&self, edit: impl FnOnce(&mut State)) {
        self.state.send_if_modified(|state| {
            let before = *state;
            edit(state);
            *state != before
        });
    }

    /// Ends the requests that are still running, each with one terminal status.
    pub fn cut(&self) {
        self.cut.cancel();
    }

    /// Waits for [`Lifecycle::cut`].
    pub async fn is_cut(&self) {
        self.cut.cancelled().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn says_what_is_missing() {
        let lifecycle = Lifecycle::default();
        assert!(lifecycle.state().missing().unwrap().contains("models"));
        lifecycle.update(|state| state.synced = true);
        assert!(lifecycle.state().missing().unwrap().contains("certificate"));
        lifecycle.update(|state| state.credentials = true);
        assert_eq!(lifecycle.state().missing(), None);
        lifecycle.update(|state| state.stopping = true);
        assert!(lifecycle.state().missing().unwrap().contains("stopping"));
    }
}
