//! What every engine has to hold to.
