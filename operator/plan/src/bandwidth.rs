//! How fast a device is before anything was measured on it.

use hearth_model::footprint::DeviceKind;

/// Memory bandwidth in GB/s by the maker's data sheets: generating a token reads
/// every weight once, so it ranks devices. A product is named by words that must
/// stand in its name one after the other; where several entries match, the one
/// with the most words counts.
const PRODUCTS: &[(&[&str], u32)] = &[
    (&["t4"], 320),
    (&["l4"], 300),
    (&["p40"], 347),
    (&["3060"], 360),
    (&["a4000"], 448),
    (&["4070", "ti"], 504),
    (&["3090"], 936),
    (&["5080"], 960),
    (&["4090"], 1008),
    (&["5090"], 1792),
    (&["h100"], 3350),
    (&["h200"], 4800),
    (&["m1"], 68),
    (&["m1", "pro"], 200),
    (&["m1", "max"], 400),
    (&["m1", "ultra"], 800),
    (&["m2"], 100),
    (&["m2", "pro"], 200),
    (&["m2", "max"], 400),
    (&["m2", "ultra"], 800),
    (&["m3"], 100),
    (&["m3", "pro"], 150),
    (&["m3", "max"], 400),
    (&["m3", "ultra"], 819),
    (&["m4"], 120),
    (&["m4", "pro"], 273),
    (&["m4", "max"], 546),
    (&["m5"], 153),
    (&["m5", "pro"], 307),
    (&["m5", "max"], 614),
];

/// An estimate of a device's memory bandwidth in GB/s, by its product's name, or
/// by its kind where the product is not known. A CPU is the slowest of all.
#[must_use]
pub fn bandwidth(kind: DeviceKind, product: &str) -> u32 {
    let unknown = match kind {
        DeviceKind::Cuda => 256,
        DeviceKind::Metal | DeviceKind::Vulkan => 64,
        // Two channels of desktop memory give 40 to 90 GB/s, of which engines reach about half.
        DeviceKind::Cpu => return 32,
    };
    let name = product.to_ascii_lowercase();
    let words: Vec<&str> =
        name.split(|c: char| !c.is_ascii_alphanumeric()).filter(|w| !w.is_empty()).collect();
    PRODUCTS
        .iter()
        .filter(|(pattern, _)| words.windows(pattern.len()).any(|w| w == *pattern))
        .max_by_key(|(pattern, _)| pattern.len())
        .map_or(unknown, |(_, bandwidth)| *bandwidth)
}

/// Devices of one class count as equally fast: the power of two below their bandwidth.
pub(crate) fn class(bandwidth: u32) -> u32 {
    bandwidth.max(1).ilog2()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn knows_products_however_they_are_written() {
        for (kind, product, expected) in [
            (DeviceKind::Cuda, "NVIDIA GeForce RTX 3090", 936),
            (DeviceKind::Cuda, "NVIDIA-GeForce-RTX-4070-Ti", 504),
            (DeviceKind::Cuda, "Tesla-T4", 320),
            (DeviceKind::Cuda, "NVIDIA L4", 300),
            (DeviceKind::Cuda, "NVIDIA L40S", 256),
            (DeviceKind::Cuda, "NVIDIA H100 80GB HBM3", 3350),
            (DeviceKind::Cuda, "", 256),
            (DeviceKind::Metal, "Apple M4 Pro", 273),
            (DeviceKind::Metal, "Apple M4", 120),
            (DeviceKind::Metal, "Apple M9", 64),
            (DeviceKind::Cpu, "Apple M4 Max", 32),
        ] {
            assert_eq!(bandwidth(kind, product), expected, "{product}");
        }
    }

    #[test]
    fn nearly_as_fast_is_as_fast() {
        assert_eq!(class(1008), class(936));
        assert!(class(1792) > class(1008) && class(300) > class(32));
        assert_eq!(class(0), 0);
    }
}
