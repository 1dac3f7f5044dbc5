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

#[cfg(test)]
mod tests {
    use super::byte_of;

    /// The character that stands for a byte. Printable bytes of Latin-1 stand for
    /// themselves; the others are numbered from U+0100 on, in order.
    pub(super) fn char_of(byte: u8) -> char {
        match byte {
            b'!'..=b'~' | 0xa1..=0xac | 0xae..=0xff => char::from(byte),
            0..=0x20 => from_latin_extended(u32::from(byte)),
            0x7f..=0xa0 => from_latin_extended(u32::from(byte) - 0x7f + 33),
            0xad => from_latin_extended(67),
        }
    }

    fn from_latin_extended(index: u32) -> char {
        char::from_u32(0x100 + index).unwrap_or(char::REPLACEMENT_CHARACTER)
    }

    #[test]
    fn bytes_and_characters_map_one_to_one() {
        for byte in 0..=u8::MAX {
            assert_eq!(byte_of(char_of(byte)), Some(byte));
        }
        assert_eq!(char_of(b' '), 'Ġ');
        assert_eq!(char_of(b'\n'), 'Ċ');
        assert_eq!(byte_of(' '), None);
        assert_eq!(byte_of('中'), None);
    }

    #[test]
    fn the_alphabet_is_the_encoders() {
        let alphabet = tokenizers::pre_tokenizers::byte_level::ByteLevel::alphabet();
        assert!((0..=u8::MAX).all(|byte| alphabet.contains(&char_of(byte))));
    }
}
