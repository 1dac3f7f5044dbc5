//! Tells the parent whether the device gets on.

use std::time::Duration;

use hearth_engine::Pulse;
use tonic_health::ServingStatus;
use tonic_health::server::HealthReporter;

use super::DEVICE_SERVICE;

/// How often the device thread's pulse is felt.
const FEEL_EVERY: Duration = Duration::from_secs(1);

/// Keeps the health of [`DEVICE_SERVICE`] what the pulse says. Never returns.
pub(super) async fn tell(pulse: impl Fn() -> Pulse, reporter: &HealthReporter) {
    let mut told = None;
    loop {
        let now = pulse();
        let status = if now.is_late() { ServingStatus::NotServing } else { ServingStatus::Serving };
        if told != Some(status) {
            if let (ServingStatus::NotServing, Some(step)) = (status, now.under_way) {
                tracing::error!(
                    tokens = step.tokens,
                    seconds = step.for_now.as_secs(),
                    allowed = step.allowed.as_secs(),
                    steps = now.steps,
                    "the device does not end a step"
                );
            }
            reporter.set_service_status(DEVICE_SERVICE, status).await;
            told = Some(status);
        }
        tokio::time::sleep(FEEL_EVERY).await;
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use hearth_engine::StepUnderWay;
    use tonic_health::pb::HealthCheckRequest;
    use tonic_health::pb::health_check_response::ServingStatus as Told;
    use tonic_health::pb::health_server::Health;
    use tonic_health::server::{HealthService, health_reporter};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_step_without_end_is_told_and_so_is_its_end() {
        let (reporter, _) = health_reporter();
        let service = HealthService::from_health_reporter(reporter.clone());
        let seconds = AtomicU64::new(0);
        let pulse = || Pulse {
            steps: 7,
            under_way: Some(StepUnderWay {
                tokens: 1,
                for_now: Duration::from_secs(seconds.load(Ordering::Relaxed)),
                allowed: Duration::from_secs(60),
            }),
        };
        let asks = async {
            for (at, expected) in [(60, Told::Serving), (61, Told::NotServing), (0, Told::Serving)] {
                seconds.store(at, Ordering::Relaxed);
                tokio::time::sleep(FEEL_EVERY * 2).await;
                let request = HealthCheckRequest { service: DEVICE_SERVICE.to_owned() };
                let told = service.check(tonic::Request::new(request)).await.unwrap().into_inner();
                assert_eq!(told.status(), expected, "{at} s into a step of 60");
            }
        };
        tokio::select! {
            () = tell(pulse, &reporter) => panic!("it returned"),
            () = asks => {}
        }
    }
}
