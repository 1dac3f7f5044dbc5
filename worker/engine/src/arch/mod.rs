//! Architectures as lists of nodes.
