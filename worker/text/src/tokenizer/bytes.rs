//! The alphabet of byte-level vocabularies: every byte as a printable character.

/// The byte that a character stands for.
pub(super) fn byte_of(c: char) -> Option<u8> {
    let byte = match u32::from(c) {
        code @ (0x21..=0x7e | 0xa1..=0xac | 0xae..=0xff) => code,
        code @ 0x100..=0x120 => code - 0x100,
        code @ 0x121..=0x142 => code - 0x121 + 0x7f,
        0x143 => 0xad,
        _ => return None,
    };
    u8::try_from(byte).ok()
}

/// The bytes of a token that is written in the alphabet as a whole.
pub(super) fn bytes_of(token: &str) -> Option<Vec<u8>> {
    token.chars().map(byte_of).collect()
}

/// The character that stands for a byte. Printable bytes of Latin-1 stand for
/// themselves; the others are numbered from U+0100 on, in order.
pub(super) fn char_of(byte: u8) -> char {
    let index = match byte {
        b'!'..=b'~' | 0xa1..=0xac | 0xae..=0xff => return char::from(byte),
        0..=0x20 => byte,
        0x7f..=0xa0 => byte - 0x7f + 33,
        0xad => 67,
    };
    char::from_u32(0x100 + u32::from(index)).unwrap_or(char::REPLACEMENT_CHARACTER)
}

#[cfg(test)]
mod tests {
    use super::{byte_of, bytes_of, char_of};

    #[test]
    fn bytes_and_characters_map_one_to_one() {
        for byte in 0..=u8::MAX {
            assert_eq!(byte_of(char_of(byte)), Some(byte));
        }
        assert_eq!(char_of(b' '), 'Ġ');
        assert_eq!(char_of(b'\n'), 'Ċ');
        assert_eq!(byte_of(' '), None);
        assert_eq!(byte_of('中'), None);
        assert_eq!(bytes_of("Ġa"), Some(b" a".to_vec()));
        assert_eq!(bytes_of("a b"), None);
    }

    #[test]
    fn the_alphabet_is_the_encoders() {
        let alphabet = tokenizers::pre_tokenizers::byte_level::ByteLevel::alphabet();
        assert!((0..=u8::MAX).all(|byte| alphabet.contains(&char_of(byte))));
    }
}
