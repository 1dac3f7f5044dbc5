//! Bytes as people read them.

const UNITS: [(&str, u32); 5] = [("Ti", 40), ("Gi", 30), ("Mi", 20), ("Ki", 10), ("B", 0)];

/// Three digits or so and a binary unit: `1.2Gi`, `24.0Gi`, `340Mi`, `512B`.
#[must_use]
pub fn human(bytes: u64) -> String {
    let (unit, shift) = UNITS.into_iter().find(|(_, shift)| bytes >> shift > 0).unwrap_or(("B", 0));
    match unit {
        "B" => format!("{bytes}B"),
        "Ki" | "Mi" if bytes >> shift >= 10 => format!("{}{unit}", rounded(bytes, shift, 1)),
        _ => format!("{}{unit}", tenths(bytes, shift)),
    }
}

/// GiB with one digit, without a unit: `21.4`. Below 0.05 GiB, two: `0.02`.
#[must_use]
pub fn gib(bytes: u64) -> String {
    let hundredths = rounded(bytes, 30, 100);
    if bytes > 0 && hundredths < 5 { format!("0.{:02}", hundredths.max(1)) } else { tenths(bytes, 30) }
}

/// `used of total`, both in GiB: `15.2 of 24.0 GiB`.
#[must_use]
pub fn human_pair(part: u64, whole: u64) -> String {
    format!("{} of {} GiB", gib(part), gib(whole))
}

/// A whole number with commas between thousands: `65,536`.
pub(crate) fn thousands(number: u32) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

fn tenths(bytes: u64, shift: u32) -> String {
    let tenths = rounded(bytes, shift, 10);
    format!("{}.{}", tenths / 10, tenths % 10)
}

/// `bytes · factor / 2^shift`, to the nearest.
fn rounded(bytes: u64, shift: u32, factor: u128) -> u128 {
    let unit = 1u128 << shift;
    (u128::from(bytes) * factor + unit / 2) / unit
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_well() {
        for (bytes, text) in [
            (0, "0B"),
            (512, "512B"),
            (1536, "1.5Ki"),
            (98 << 20, "98Mi"),
            (3 << 29, "1.5Gi"),
            (24 << 30, "24.0Gi"),
            ((24 << 30) - 1, "24.0Gi"),
            (3 << 39, "1.5Ti"),
            (u64::MAX, "16777216.0Ti"),
        ] {
            assert_eq!(human(bytes), text);
        }
        for (bytes, text) in
            [(0, "0.0"), (1, "0.01"), (20 << 20, "0.02"), (1 << 27, "0.1"), (43 << 29, "21.5")]
        {
            assert_eq!(gib(bytes), text);
        }
        assert_eq!(human_pair(3 << 29, 24 << 30), "1.5 of 24.0 GiB");
        assert_eq!(
            [thousands(7), thousands(512), thousands(65536), thousands(1_048_576)],
            ["7", "512", "65,536", "1,048,576"]
        );
    }
}
