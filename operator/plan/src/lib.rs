//! Where each model goes: a pure function from what was observed to a plan.
