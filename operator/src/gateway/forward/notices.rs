//! What a waiting client is told, and how often.

use std::time::Duration;

use hearth_proto::inference::v1::Waiting;
use tokio::time::{Instant, sleep_until};

use crate::gateway::{dispatch::Spot, routes::facts::Progress};

/// Between two notices, at the least.
const LEAST_GAP: Duration = Duration::from_secs(1);
/// Between two notices that say the same, so that nobody on the way closes a silent stream.
const LONGEST_SILENCE: Duration = Duration::from_secs(10);

/// The notices of one request.
#[derive(Debug, Default)]
pub(super) struct Notices {
    told: Option<(Instant, Progress)>,
    looked: Option<Instant>,
}

impl Notices {
    /// Waits for the next notice: the first comes at once, a change within a second, and every
    /// ten seconds the same again. Cancel safe.
    pub(super) async fn next(&mut self, spot: &Spot) -> Waiting {
        loop {
            if let Some(looked) = self.looked {
                sleep_until(looked + LEAST_GAP).await;
            }
            let now = Instant::now();
            self.looked = Some(now);
            let progress = spot.progress();
            let news = self
                .told
                .as_ref()
                .is_none_or(|(at, told)| *told != progress || now.duration_since(*at) >= LONGEST_SILENCE);
            if news {
                self.told = Some((now, progress.clone()));
                return waiting(progress);
            }
        }
    }
}

fn waiting(progress: Progress) -> Waiting {
    let Progress { message, done_bytes, total_bytes, eta } = progress;
    let eta = eta.and_then(|eta| prost_types::Duration::try_from(eta).ok());
    Waiting { message, done_bytes, total_bytes, eta }
}
