//! Where model files come from: URIs, resolution, headers by range, verified downloads.
