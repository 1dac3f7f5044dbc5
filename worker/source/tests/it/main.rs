//! hearth-source against a real HTTPS server that answers as the hub does, and
//! that can fail in the ways that networks and servers do.

mod header;
mod policy;
mod resolve;
mod server;
mod store;
