//! Small model files for tests.
