//! Hearth's controller and gateway.
