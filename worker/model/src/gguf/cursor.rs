//! A position in a prefix of a file.

use crate::{Format, HeaderError, Problem};

/// Why reading stopped.
#[derive(Debug)]
pub(super) enum Stop {
    /// The prefix must be at least `needed` bytes long for `what`.
    Short { what: &'static str, needed: u64 },
    /// No longer prefix will help.
    Bad(HeaderError),
}

impl Stop {
    pub(super) fn bad(offset: u64, problem: Problem) -> Self {
        Self::Bad(HeaderError { format: Format::Gguf, offset, problem })
    }
}

#[derive(Debug)]
pub(super) struct Cursor<'a> {
    bytes: &'a [u8],
    /// At most `bytes.len()`.
    at: usize,
}

impl<'a> Cursor<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    /// Bytes read so far.
    pub(super) fn offset(&self) -> u64 {
        self.at as u64
    }

    /// How many of `count` items of at least `item_bytes` each can be in what is
    /// left: what an allocation may rely on.
    pub(super) fn at_most(&self, count: u64, item_bytes: u64) -> usize {
        let left = (self.bytes.len() - self.at) as u64;
        usize::try_from(count.min(left / item_bytes)).unwrap_or(0)
    }

    /// The next `len` bytes.
    pub(super) fn take(&mut self, what: &'static str, len: u64) -> Result<&'a [u8], Stop> {
        // A length that overflows is longer than any file.
        let needed = self.offset().saturating_add(len);
        let short = Stop::Short { what, needed };
        let Ok(end) = usize::try_from(needed) else { return Err(short) };
        let Some(taken) = self.bytes.get(self.at..end) else { return Err(short) };
        self.at = end;
        Ok(taken)
    }

    pub(super) fn array<const N: usize>(&mut self, what: &'static str) -> Result<[u8; N], Stop> {
        let mut out = [0; N];
        out.copy_from_slice(self.take(what, N as u64)?);
        Ok(out)
    }

    pub(super) fn u32(&mut self, what: &'static str) -> Result<u32, Stop> {
        self.array(what).map(u32::from_le_bytes)
    }

    pub(super) fn u64(&mut self, what: &'static str) -> Result<u64, Stop> {
        self.array(what).map(u64::from_le_bytes)
    }

    /// A 64-bit count of at most `allowed`.
    pub(super) fn count(&mut self, what: &'static str, allowed: u64) -> Result<u64, Stop> {
        let at = self.offset();
        let found = self.u64(what)?;
        if found > allowed {
            return Err(Stop::bad(at, Problem::TooLarge { what, found, allowed }));
        }
        Ok(found)
    }

    /// A string of at most `allowed` bytes, with its length before it.
    pub(super) fn string(&mut self, what: &'static str, allowed: u64) -> Result<&'a str, Stop> {
        let len = self.count(what, allowed)?;
        let at = self.offset();
        let bytes = self.take(what, len)?;
        std::str::from_utf8(bytes)
            .map_err(|e| Stop::bad(at.saturating_add(e.valid_up_to() as u64), Problem::Utf8 { what }))
    }
}
