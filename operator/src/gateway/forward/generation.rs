//! One request to generate, from the queue to its terminal item.

use std::{mem, sync::Arc, time::Duration};

use hearth_proto::inference::v1::{Finish, GenerateResponse, Waiting, generate_response::Event};
use tokio::{
    select,
    time::{Instant, sleep, sleep_until, timeout_at},
};
use tonic::{Code, Status, Streaming};

use super::{
    Forwarder,
    attempts::{Attempts, Failure},
    message::Message,
    notices::Notices,
    waiting_for,
};
use crate::gateway::{
    deadline::Deadline,
    dispatch::{Permit, Ticket},
    ledger::Counted,
    refusal::Refusal,
    verdict::after_output,
};

/// A generation under way. Dropping it takes it back from wherever it is.
#[derive(Debug)]
pub(super) struct Generation {
    forwarder: Arc<Forwarder>,
    message: Message,
    deadline: Deadline,
    began: Instant,
    phase: Phase,
    counted: Counted,
    notices: Notices,
    attempts: Attempts,
    /// Something of the answer was passed on: from here on there is no second try.
    committed: bool,
}

#[derive(Debug)]
enum Phase {
    Queued(Ticket),
    Granted(Permit),
    Streaming(Permit, Box<Streaming<GenerateResponse>>),
    Ended,
}

/// What one turn of [`Generation::next`] came to.
enum Step {
    Phase(Phase),
    Tell(Waiting),
    Item(GenerateResponse),
    Broken(Status),
    End(Status),
}

impl Generation {
    pub(super) fn new(
        forwarder: Arc<Forwarder>,
        message: Message,
        deadline: Deadline,
        ticket: Ticket,
        counted: Counted,
    ) -> Self {
        Self {
            forwarder,
            message,
            deadline,
            began: Instant::now(),
            phase: Phase::Queued(ticket),
            counted,
            notices: Notices::default(),
            attempts: Attempts::default(),
            committed: false,
        }
    }

    /// The next item. The last one is a `finish` event or an error, and there is exactly one of
    /// those; after it comes `None`.
    pub(super) async fn next(&mut self) -> Option<Result<GenerateResponse, Status>> {
        loop {
            let forwarder = self.forwarder.clone();
            let step = select! {
                biased;
                () = forwarder.lifecycle.is_cut(), if !matches!(self.phase, Phase::Ended) => {
                    Step::End(Refusal::Stopping.into())
                }
                step = self.step() => step?,
            };
            match step {
                Step::Phase(phase) => self.phase = phase,
                Step::Tell(waiting) => {
                    return Some(Ok(GenerateResponse { event: Some(Event::Waiting(waiting)) }));
                }
                Step::Item(response) => {
                    if let Some(item) = self.pass_on(response) {
                        return Some(Ok(item));
                    }
                }
                Step::Broken(status) => {
                    if let Err(status) = self.recover(status) {
                        return Some(Err(self.end(status)));
                    }
                }
                Step::End(status) => return Some(Err(self.end(status))),
            }
        }
    }

    /// Waits for something that is the client's to do, while the request holds its replica.
    ///
    /// # Errors
    /// The status that the generation has ended with instead: its time is up, or the client did
    /// nothing for as long as `patience`.
    pub(super) async fn unless_over<T>(
        &mut self,
        client: impl Future<Output = T>,
        patience: Duration,
    ) -> Result<T, Status> {
        let forwarder = self.forwarder.clone();
        let refusal = select! {
            biased;
            done = client => return Ok(done),
            () = forwarder.lifecycle.is_cut() => Refusal::Stopping,
            () = sleep_until(self.deadline.end) => {
                self.deadline.passed("the client had not taken what was generated")
            }
            () = sleep(patience) => {
                forwarder.metrics.unread(self.message.model());
                Refusal::Unread { after: patience }
            }
        };
        Err(self.end(refusal.into()))
    }

    /// Cancel safe: the phase changes only between two calls.
    async fn step(&mut self) -> Option<Step> {
        let Self { forwarder, message, deadline, phase, notices, .. } = self;
        Some(match phase {
            Phase::Ended => return None,
            Phase::Queued(ticket) => {
                let spot = ticket.spot();
                select! {
                    biased;
                    granted = ticket.granted() => match granted {
                        Ok(permit) => Step::Phase(Phase::Granted(permit)),
                        Err(refusal) => Step::End(refusal.into()),
                    },
                    () = sleep_until(deadline.wait) => {
                        let doing = waiting_for(message.model(), &spot.progress().message);
                        Step::End(deadline.passed(&doing).into())
                    }
                    waiting = notices.next(&spot) => Step::Tell(waiting),
                }
            }
            Phase::Granted(permit) => {
                self.counted.running();
                let call = forwarder.call(permit, message.clone(), deadline);
                match timeout_at(deadline.end, call).await {
                    Ok(Ok(response)) => {
                        let Phase::Granted(permit) = mem::replace(phase, Phase::Ended) else { return None };
                        Step::Phase(Phase::Streaming(permit, Box::new(response)))
                    }
                    Ok(Err(status)) => Step::Broken(status),
                    Err(_) => Step::End(deadline.passed("the worker had not begun to answer").into()),
                }
            }
            Phase::Streaming(_, stream) => match timeout_at(deadline.end, stream.message()).await {
                Ok(Ok(Some(response))) => Step::Item(response),
                Ok(Ok(None)) => Step::Broken(Status::aborted("the worker ended its answer without a finish")),
                Ok(Err(status)) => Step::Broken(status),
                Err(_) => Step::End(deadline.passed("the model was generating").into()),
            },
        })
    }

    /// Takes note of what a worker sent. Returns what the client gets of it.
    fn pass_on(&mut self, response: GenerateResponse) -> Option<GenerateResponse> {
        let metrics = self.forwarder.metrics.clone();
        match response.event.as_ref()? {
            Event::Waiting(_) => {}
            Event::Delta(_) => {
                if !self.committed {
                    self.commit();
                    metrics.first_token(self.message.model(), self.began.elapsed());
                }
            }
            Event::Finish(Finish { usage, .. }) => {
                self.commit();
                if let Some(usage) = usage {
                    self.counted.used(usage);
                    metrics.used(self.message.model(), usage.prompt_tokens, usage.completion_tokens);
                }
                metrics.ended(self.message.model(), "Generate", Code::Ok);
                // The replica is free; what it still has to say, there is nothing.
                self.phase = Phase::Ended;
            }
        }
        Some(response)
    }

    fn commit(&mut self) {
        self.committed = true;
        if let Phase::Streaming(permit, _) = &self.phase {
            permit.answered();
        }
    }

    /// Lines the request up again if nothing of the answer was passed on.
    fn recover(&mut self, status: Status) -> Result<(), Status> {
        let (permit, taken) = match mem::replace(&mut self.phase, Phase::Ended) {
            Phase::Granted(permit) => (permit, false),
            Phase::Streaming(permit, _) => (permit, true),
            Phase::Queued(_) | Phase::Ended => return Err(status),
        };
        if self.committed {
            if self.deadline.is_over(Instant::now()) {
                return Err(self.deadline.passed("the model was generating").into());
            }
            return Err(after_output(&status, &permit.replica().worker));
        }
        let failure = Failure { status, taken };
        let ticket =
            self.attempts.again(&self.forwarder, self.message.model(), permit, failure, &self.deadline)?;
        self.counted.waiting();
        self.phase = Phase::Queued(ticket);
        Ok(())
    }

    fn end(&mut self, status: Status) -> Status {
        self.phase = Phase::Ended;
        self.forwarder.metrics.ended(self.message.model(), "Generate", status.code());
        status
    }
}

impl Drop for Generation {
    fn drop(&mut self) {
        if !matches!(self.phase, Phase::Ended) {
            // The client went away.
            self.forwarder.metrics.ended(self.message.model(), "Generate", Code::Cancelled);
        }
    }
}
