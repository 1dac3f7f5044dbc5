//! What people call the mix of types in a file.
