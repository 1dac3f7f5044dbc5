//! The gateway as a whole, without a cluster: facts go in through its channels, workers are
//! fakes that speak the real protocol over mTLS, clients are real.

#![allow(unreachable_pub)]

mod contract;
mod faults;
mod generate;
mod harness;
mod limits;
mod openai;
mod report;
mod services;
mod stop;
mod unread;
mod watch;
mod worker;
