//! Model files: headers, architectures, and the memory that a model needs.
