//! Mutual TLS between Hearth's processes: identities, live certificates, dialling and serving.
