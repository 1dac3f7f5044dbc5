//! Bytes that arrive in any pieces, given out as whole characters.

/// Holds back the beginning of a character until its end arrives.
#[derive(Debug, Default)]
pub(crate) struct Utf8Stream {
    /// At most three bytes: an incomplete character.
    pending: Vec<u8>,
}

impl Utf8Stream {
    /// The characters that `bytes` complete. What can never become a character
    /// is given out as U+FFFD.
    pub(crate) fn push(&mut self, bytes: &[u8]) -> String {
        self.pending.extend_from_slice(bytes);
        let mut text = String::with_capacity(self.pending.len());
        let mut rest = self.pending.as_slice();
        loop {
            match std::str::from_utf8(rest) {
                Ok(valid) => {
                    text.push_str(valid);
                    rest = &[];
                    break;
                }
                Err(error) => {
                    let (valid, after) = rest.split_at(error.valid_up_to());
                    text.push_str(&String::from_utf8_lossy(valid));
                    let Some(invalid) = error.error_len() else {
                        rest = after;
                        break;
                    };
                    text.push(char::REPLACEMENT_CHARACTER);
                    rest = &after[invalid..];
                }
            }
        }
        self.pending = rest.to_vec();
        text
    }

    /// What is left when nothing more comes: U+FFFD for an incomplete character.
    pub(crate) fn finish(&mut self) -> String {
        String::from_utf8_lossy(&std::mem::take(&mut self.pending)).into_owned()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::Utf8Stream;

    #[test]
    fn a_character_comes_out_once_it_is_whole() {
        let mut stream = Utf8Stream::default();
        let bytes = "a🔥".as_bytes();
        assert_eq!(stream.push(&bytes[..3]), "a");
        assert_eq!(stream.push(&bytes[3..4]), "");
        assert_eq!(stream.push(&bytes[4..]), "🔥");
        assert_eq!(stream.finish(), "");
    }

    #[test]
    fn an_unfinished_character_becomes_a_replacement() {
        let mut stream = Utf8Stream::default();
        assert_eq!(stream.push(&[0xf0, 0x9f]), "");
        assert_eq!(stream.finish(), "\u{fffd}");
    }

    proptest! {
        #[test]
        fn pieces_do_not_matter(bytes: Vec<u8>, cuts in proptest::collection::vec(1usize..5, 0..64)) {
            let whole = String::from_utf8_lossy(&bytes).into_owned();
            let (mut stream, mut rest, mut text) = (Utf8Stream::default(), bytes.as_slice(), String::new());
            for cut in cuts {
                let (piece, after) = rest.split_at(cut.min(rest.len()));
                text += &stream.push(piece);
                rest = after;
            }
            text += &stream.push(rest);
            text += &stream.finish();
            prop_assert_eq!(text, whole);
        }
    }
}
