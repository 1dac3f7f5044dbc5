//! How a `config.json` says that positions are stretched.

use super::Object;
use crate::arch::gguf::unknown_scaling;
use crate::arch::rope::yarn_magnitude;
use crate::arch::{ArchError, Factors, RopeScaling};

/// The key of the context before the stretch.
const ORIGINAL: &str = "original_max_position_embeddings";

/// The stretch, and what turned elements are multiplied with.
pub(super) fn scaling(
    c: Object<'_>,
    s: Object<'_>,
    context_length: u32,
) -> Result<(RopeScaling, f32), ArchError> {
    let f32 = |key| s.require(&[key], Object::f32);
    let kind = s.first(&["rope_type", "type"], Object::str)?;
    let scaling = match kind {
        None | Some("default") => RopeScaling::None,
        Some("linear") => RopeScaling::Linear { factor: f32("factor")? },
        Some("llama3") => RopeScaling::Llama3 {
            factor: f32("factor")?,
            low: f32("low_freq_factor")?,
            high: f32("high_freq_factor")?,
            original_context: s.require(&[ORIGINAL], Object::u32)?,
        },
        Some("longrope" | "su") => {
            let original_context = match s.u32(ORIGINAL)? {
                Some(context) => context,
                None => c.require(&[ORIGINAL], Object::u32)?,
            };
            let factors = |key| Ok::<_, ArchError>(Factors::Numbers(s.require(&[key], Object::f32s)?));
            let (short, long) = (factors("short_factor")?, factors("long_factor")?);
            let magnitude = match s.f32("attention_factor")? {
                Some(magnitude) => magnitude,
                None => {
                    let stretch = f64::from(context_length) / f64::from(original_context);
                    long_magnitude(stretch, original_context)
                }
            };
            return Ok((RopeScaling::LongRope { short, long, original_context }, magnitude));
        }
        Some("yarn") => return yarn(c, s, context_length),
        Some(other) => return Err(unknown_scaling(other)),
    };
    Ok((scaling, 1.0))
}

/// YaRN. What it leaves out is as those have it who published it.
fn yarn(c: Object<'_>, s: Object<'_>, context_length: u32) -> Result<(RopeScaling, f32), ArchError> {
    let original_context = match c.u32(ORIGINAL)? {
        Some(context) => context,
        None => s.u32(ORIGINAL)?.unwrap_or(context_length),
    };
    let factor = match s.f32("factor")? {
        Some(factor) => factor,
        None => context_length as f32 / original_context as f32,
    };
    let nonzero = |key| Ok::<_, ArchError>(s.f32(key)?.filter(|x| *x != 0.0));
    let magnitude = match (s.f32("attention_factor")?, nonzero("mscale")?, nonzero("mscale_all_dim")?) {
        (Some(magnitude), ..) => magnitude,
        (None, Some(over), Some(under)) => yarn_magnitude(factor, over) / yarn_magnitude(factor, under),
        (None, ..) => yarn_magnitude(factor, 1.0),
    };
    let scaling = RopeScaling::Yarn {
        factor,
        fast: nonzero("beta_fast")?.unwrap_or(32.0),
        slow: nonzero("beta_slow")?.unwrap_or(1.0),
        truncate: s.bool("truncate")?.unwrap_or(true),
        original_context,
    };
    Ok((scaling, magnitude))
}

/// How much larger turned elements become, so that attention stays as sharp over a
/// context `stretch` times as long.
fn long_magnitude(stretch: f64, original_context: u32) -> f32 {
    if stretch <= 1.0 {
        return 1.0;
    }
    (1.0 + stretch.ln() / f64::from(original_context).ln()).sqrt() as f32
}
