//! Gives the room that is left to new replicas, as longer contexts.

use hearth_model::{
    Footprint,
    footprint::{footprint, max_context},
};

use crate::{
    candidates::shape,
    observed::{Model, ModelFile},
    slots::Slot,
};

/// The longest context of a new replica, and what it then takes, where `others`
/// bytes of the slot are promised already.
pub(crate) fn longest(
    model: &Model,
    file: &ModelFile,
    slot: &Slot<'_>,
    others: u64,
) -> Option<(u32, Footprint)> {
    let device = slot.device;
    let room = slot.new_room.checked_sub(others)?;
    let shape = shape(model, model.context.min);
    let range = model.context.min..=model.context.max;
    let context = max_context(&file.dims, &shape, range, device.storage, &device.overhead, room)?;
    let shape = hearth_model::Shape { context_tokens: context, ..shape };
    Some((context, footprint(&file.dims, &shape, device.storage, &device.overhead).ok()?))
}
