//! Guesses at what follows, checked many at a time.
//!
//! A decode row may hold guesses behind its token. The model answers each of them as
//! if it had been picked; the picker then picks as it would have without them, and a
//! guess that it does not pick ends the row. As a pick depends on text and position
//! alone, the output is the same with guesses as without: they save steps and nothing
//! else.

use super::sequence::Sequence;

/// The longest run of tokens that is looked up, and the shortest.
const LONGEST: usize = 4;
const SHORTEST: usize = 2;

/// How far back is looked: a scan of a long text at every step would cost more than
/// it saves.
const REACH: usize = 8192;

/// What is remembered of a sequence's guesses.
#[derive(Clone, Copy, Debug)]
pub(super) struct Luck {
    /// Guesses that the next step may check.
    next: usize,
    /// Steps that go without, after guesses that were all wrong.
    pause: usize,
    /// How long the last pause was.
    paused: usize,
}

impl Default for Luck {
    fn default() -> Self {
        Self { next: 4, pause: 0, paused: 0 }
    }
}

impl Sequence {
    /// Appends up to `room` guesses at what follows the text, if there are to be any.
    ///
    /// It is guessed that a text goes on as it did before: after the last tokens
    /// comes what came after the same tokens earlier. That is good at quoting,
    /// editing and code.
    pub(super) fn guess(&mut self, room: usize, guesses: &mut Vec<u32>) {
        if self.guesses == 0 || room == 0 {
            return;
        }
        if self.luck.pause > 0 {
            self.luck.pause -= 1;
            return;
        }
        // One less than may come: the answer to the last guess is a token too.
        let most = self.guesses.min(self.luck.next).min(room).min(self.left().saturating_sub(1));
        if let Some(follows) = look_up(&self.tokens, most) {
            guesses.extend_from_slice(follows);
        }
    }
}

impl Luck {
    /// Learns how many of the guesses that were checked were right.
    pub(super) fn learn(&mut self, checked: usize, right: usize, most: usize) {
        const LONGEST_PAUSE: usize = 32;
        if checked == 0 {
            return;
        }
        if right == 0 {
            self.paused = (2 * self.paused + 1).min(LONGEST_PAUSE);
            self.pause = self.paused;
            self.next = (self.next / 2).max(1);
        } else {
            self.paused = 0;
            self.next = if right == checked { self.next * 2 } else { right + 1 }.min(most.max(1));
        }
    }
}

/// Up to `most` tokens that followed the last tokens of `text` where they last stood
/// before: the longest run that did.
fn look_up(text: &[u32], most: usize) -> Option<&[u32]> {
    if most == 0 {
        return None;
    }
    let text = &text[text.len().saturating_sub(REACH)..];
    (SHORTEST..=LONGEST.min(text.len().saturating_sub(1))).rev().find_map(|len| {
        let run = &text[text.len() - len..];
        // The run itself is where nothing follows yet.
        let at = text[..text.len() - 1].windows(len).rposition(|window| window == run)?;
        let follows = &text[at + len..];
        Some(&follows[..most.min(follows.len())])
    })
}

#[cfg(test)]
mod tests {
    use super::{Luck, look_up};

    #[test]
    fn what_followed_the_longest_run_is_guessed() {
        // The last two tokens stood before twice, the last three once, and earlier.
        let text = [9, 1, 2, 3, 7, 7, 5, 2, 3, 8, 8, 1, 2, 3];
        assert_eq!(look_up(&text, 3), Some([7, 7, 5].as_slice()));
        assert_eq!(look_up(&text[..8], 3), None, "one token is not enough");
        assert_eq!(look_up(&[4, 4, 4, 4], 5), Some([4].as_slice()), "up to the end of the text");
        for text in [&[][..], &[1], &[1, 1], &[1, 2, 3]] {
            assert_eq!(look_up(text, 3), None);
        }
        assert_eq!(look_up(&text, 0), None);
    }

    #[test]
    fn luck_decides_how_many_are_guessed() {
        let mut luck = Luck::default();
        luck.learn(4, 4, 12);
        assert_eq!(luck.next, 8);
        luck.learn(8, 8, 12);
        assert_eq!(luck.next, 12);
        luck.learn(12, 2, 12);
        assert_eq!(luck.next, 3);
        let pauses = [(); 3].map(|()| {
            luck.learn(3, 0, 12);
            luck.pause
        });
        assert_eq!((pauses, luck.next), ([1, 3, 7], 1));
        luck.learn(1, 1, 12);
        luck.learn(1, 0, 12);
        assert_eq!(luck.pause, 1);
    }
}
