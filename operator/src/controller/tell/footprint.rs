//! A footprint as the API spells it. What is computed with it is the model's own.

use hearth_api::model::Footprint as Told;
use hearth_model::Footprint;

/// As it is told.
pub fn footprint(footprint: &Footprint) -> Told {
    let Footprint { weights, kv, activations, overhead } = *footprint;
    Told { weights, kv, activations, overhead }
}

/// What was told.
pub fn untold(told: &Told) -> Footprint {
    let Told { weights, kv, activations, overhead } = *told;
    Footprint { weights, kv, activations, overhead }
}
