//! What a body weighs once it is read.

use serde_json::Value;

/// An upper bound, but for the allocator's slack, of the bytes that a body of JSON takes as
/// [`Value`]s: its texts, and its values in arrays that grew by doubling.
pub(in super::super) fn weight(body: &[u8]) -> usize {
    let (mut values, mut in_text, mut escaped) = (1_usize, false, false);
    for byte in body {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_text => escaped = true,
            b'"' => in_text = !in_text,
            // What begins a value, or a name, behind another.
            b',' | b':' | b'[' | b'{' if !in_text => values += 1,
            _ => {}
        }
    }
    body.len().saturating_add(values.saturating_mul(2 * size_of::<Value>()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_count_and_texts_do_not() {
        let values = |body: &str| (weight(body.as_bytes()) - body.len()) / (2 * size_of::<Value>());
        assert_eq!(values(r#"{"a": "x, [y: {\"z\", \\"}"#), 3);
        assert_eq!(values(r#"{"prompt": [1, 2, 3]}"#), 6);
        // The worst there is: more than all requests may hold together.
        let ones = format!("[{}1]", "1,".repeat(2_000_000));
        assert!(weight(ones.as_bytes()) > 128 << 20);
    }
}
