//! The worker as others see it: a real process, its real engine processes,
//! real sockets. Waits follow what the worker tells, never a clock.

mod failures;
mod files;
mod life;
mod local;
mod requests;
mod support;
mod tls;
