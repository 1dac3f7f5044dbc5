//! The form in which weights lie in memory.
