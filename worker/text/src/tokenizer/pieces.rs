//! What every token stands for.

/// The bytes of all tokens, one after another.
#[derive(Debug)]
pub(super) struct Pieces {
    bytes: Vec<u8>,
    /// Token `id` is `bytes[ends[id - 1]..ends[id]]`.
    ends: Vec<usize>,
    begins_with_space: bool,
}

impl Pieces {
    pub(super) fn with_capacity(tokens: usize) -> Self {
        // Vocabularies average five to seven bytes a token.
        Self {
            bytes: Vec::with_capacity(tokens * 8),
            ends: Vec::with_capacity(tokens),
            begins_with_space: false,
        }
    }

    /// The same pieces, for a vocabulary that puts a space before every text.
    pub(super) fn after_a_space(self) -> Self {
        Self { begins_with_space: true, ..self }
    }

    /// Whether a text of its own begins with a space that nobody wrote.
    pub(super) fn begins_with_space(&self) -> bool {
        self.begins_with_space
    }

    pub(super) fn push(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
        self.ends.push(self.bytes.len());
    }

    pub(super) fn len(&self) -> usize {
        self.ends.len()
    }

    pub(super) fn get(&self, id: u32) -> &[u8] {
        let id = id as usize;
        let Some(&end) = self.ends.get(id) else { return &[] };
        &self.bytes[self.start(id)..end]
    }

    /// Bytes of the longest token.
    pub(super) fn longest(&self) -> usize {
        (0..self.len()).map(|id| self.ends[id] - self.start(id)).max().unwrap_or(0)
    }

    fn start(&self, id: usize) -> usize {
        id.checked_sub(1).map_or(0, |before| self.ends[before])
    }
}

#[cfg(test)]
mod tests {
    use super::Pieces;

    #[test]
    fn pieces_come_back_as_they_went_in() {
        let mut pieces = Pieces::with_capacity(3);
        for piece in [&b"ab"[..], b"", b"cde"] {
            pieces.push(piece);
        }
        assert_eq!((pieces.get(0), pieces.get(1), pieces.get(2)), (&b"ab"[..], &b""[..], &b"cde"[..]));
        assert_eq!(pieces.get(3), b"");
        assert_eq!(pieces.longest(), 3);
    }
}
