//! A rejection as a sentence.

use std::fmt;

use hearth_model::Footprint;

use super::{Candidate, Held, Reason, Rejection};
use crate::bytes::{gib, human, human_pair, thousands};

/// A sentence with the numbers: what was missing at this candidate.
impl fmt::Display for Rejection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Candidate { worker, device } = &self.candidate;
        let device = device.as_deref().unwrap_or("a device");
        match &self.reason {
            Reason::InsufficientMemory {
                needs,
                context,
                sequences,
                total,
                used_by_others,
                reserve,
                held,
                available,
            } => {
                let Footprint { weights, kv, activations, overhead } = needs;
                write!(
                    f,
                    "needs {} GiB: weights {}, KV {} at {} × {sequences}, activations {}, overhead {}; {worker}: {} free on {device}",
                    gib(needs.total()),
                    gib(*weights),
                    gib(*kv),
                    thousands(*context),
                    gib(*activations),
                    gib(*overhead),
                    human_pair(*available, *total),
                )?;
                for Held { model, bytes } in held.iter().take(3) {
                    write!(f, ", {} held by {model}", gib(*bytes))?;
                }
                if let Some(rest @ [_, ..]) = held.get(3..) {
                    let bytes = rest.iter().map(|h| h.bytes).sum();
                    write!(f, ", {} by {} more", gib(bytes), rest.len())?;
                }
                if *used_by_others > 0 {
                    write!(f, ", {} used by others", gib(*used_by_others))?;
                }
                if *reserve > 0 {
                    write!(f, ", {} reserved for others", gib(*reserve))?;
                }
                Ok(())
            }
            Reason::GpusTaken { wanted, free, holders } => {
                write!(f, "{worker}: the worker Pod requests {wanted} GPU(s), {free} are left")?;
                if !holders.is_empty() {
                    let more = holders.len().saturating_sub(3);
                    let names: Vec<&str> = holders.iter().take(3).map(String::as_str).collect();
                    write!(f, "; held by {}", names.join(", "))?;
                    if more > 0 {
                        write!(f, " and {more} more")?;
                    }
                }
                write!(f, "; it is served when they end")
            }
            Reason::CannotStart { reason, message } => {
                write!(f, "{worker} can't start ({reason}): {message}")
            }
            Reason::NotMeasured => {
                write!(f, "{worker} must run once before its memory is known; it is being started")
            }
            Reason::AwaitsMeasurement { workers } => {
                write!(
                    f,
                    "{worker}: fits on {device}, but {} may be faster and is measured first",
                    workers.join(", ")
                )
            }
            Reason::StoreFull { needs, free } => {
                write!(
                    f,
                    "{worker}: the file takes {}, its store has {} left beside what is in use; \
                     enlarge its disk and the Worker's spec.store.size",
                    human(*needs),
                    human(*free)
                )
            }
            Reason::LoadFailed { message } => {
                write!(f, "{worker}: the file can't be loaded on {device}: {message}")
            }
            Reason::DeviceFailed { message } => write!(f, "{worker}: {device} does not work: {message}"),
            Reason::WorkerGone => write!(f, "{worker} does not answer"),
            Reason::WorkerDraining => write!(f, "{worker} finishes what it has and will exit"),
            Reason::WorkerClosed => write!(f, "{worker} is closed by its administrator (spec.closed)"),
            Reason::NoDevice => write!(f, "{worker} has no device that an engine runs on"),
            Reason::DeviceExcluded { wanted } => {
                write!(f, "{worker}: {device} is not among spec.placement.devices: {}", wanted.join(", "))
            }
            Reason::SelectorMismatch { selector } => {
                write!(f, "{worker} does not match spec.placement.workerSelector: {selector}")
            }
            Reason::JoinedDenied => {
                write!(f, "{worker} is outside the cluster and spec.placement.joined is Deny")
            }
            Reason::NamespaceNotAllowed { namespace } => {
                write!(f, "{worker} takes no models of namespace {namespace} (its spec.allowedNamespaces)")
            }
            Reason::Unresolved { why } => f.write_str(why),
            Reason::HasReplica => write!(f, "{worker}: {device} has a replica of this model already"),
            Reason::NotNeeded { taken, taken_bandwidth, bandwidth } => {
                write!(
                    f,
                    "{worker}: {device} ({bandwidth} GB/s) is not needed; it is on {taken} ({taken_bandwidth} GB/s)"
                )
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{at, short_of};
    use super::*;

    #[test]
    fn memory_is_told_part_by_part() {
        assert_eq!(
            short_of("box", 152).to_string(),
            "needs 21.6 GiB: weights 18.5, KV 2.6 at 65,536 × 1, activations 0.2, overhead 0.3; \
             box: 15.2 of 24.0 GiB free on GPU-1, 8.1 held by default/chat, 0.7 used by others"
        );
    }

    #[test]
    fn a_full_store_is_told_with_what_is_needed_and_what_is_left() {
        assert_eq!(
            at("box", Reason::StoreFull { needs: 98 << 20, free: 48 << 20 }).to_string(),
            "box: the file takes 98Mi, its store has 48Mi left beside what is in use; \
             enlarge its disk and the Worker's spec.store.size"
        );
    }
}
