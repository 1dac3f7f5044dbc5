//! Randomness without state: a counter put through a mixing function.

/// A number in `[0, 1)`, uniform over seeds and positions.
pub(crate) fn unit(seed: u64, position: u64) -> f64 {
    // Mixing the seed first keeps neighbouring seeds from being shifted copies
    // of each other.
    let bits = mix(mix(seed).wrapping_add(position));
    // The 53 high bits are as many as a double holds.
    (bits >> 11) as f64 / (1u64 << 53) as f64
}

/// The output function of SplitMix64 (Steele, Lea and Flood 2014): a bijection
/// in which each input bit moves about half of the output bits.
fn mix(input: u64) -> u64 {
    let mut z = input.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::{mix, unit};

    #[test]
    fn the_mixer_is_splitmix64() {
        // The published sequence from seed 1234567.
        let golden = 0x9e37_79b9_7f4a_7c15u64;
        let outputs = (0..3u64).map(|n| mix(1_234_567u64.wrapping_add(golden.wrapping_mul(n))));
        let expected = [6_457_827_717_110_365_317, 3_203_168_211_198_807_973, 9_817_491_932_198_370_423];
        assert_eq!(outputs.collect::<Vec<u64>>(), expected);
    }

    #[test]
    fn units_are_spread_evenly() {
        for seed in [0, 1, u64::MAX] {
            let mean = (0..10_000).map(|at| unit(seed, at)).sum::<f64>() / 10_000.0;
            assert!((mean - 0.5).abs() < 0.02, "{mean}");
        }
        assert!((0..10_000).all(|at| (0.0..1.0).contains(&unit(3, at))));
    }
}
