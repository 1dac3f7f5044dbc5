//! Every kernel against its twin, the twin against plain arithmetic.

mod errors;
mod made;
mod result;
mod twins;
