//! Hearth's Kubernetes API: ServedModel and Worker.
