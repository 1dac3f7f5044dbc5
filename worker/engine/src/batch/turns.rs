//! Which prompts a step reads, and how much of them.

use super::cost::{CostModel, Work};
use super::terms::Limits;

/// Prompts are cut at multiples of this, and at their ends.
const CUT: usize = 16;

/// How many times what decoding takes a step may take however long that is, so that
/// prompts are read also where many decode.
const LEAST_PACE: f64 = 1.5;

/// What of a prompt could be read next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Piece {
    /// The sequence.
    pub(super) index: usize,
    /// Tokens before it; a multiple of [`CUT`].
    pub(super) start: usize,
    /// Tokens of it, at the most.
    pub(super) tokens: usize,
}

impl Piece {
    /// What its first tokens cost.
    pub(super) fn work(&self, tokens: usize) -> Work {
        let attended = tokens * (self.start + tokens);
        Work { prefill: tokens, attended, ..Work::default() }
    }

    /// How many tokens it may be cut to, the most first.
    fn cuts(&self) -> impl Iterator<Item = usize> {
        let cuts = (1..self.tokens.div_ceil(CUT)).rev().map(|cut| cut * CUT);
        std::iter::once(self.tokens).chain(cuts)
    }

    /// The least that it may be cut to.
    fn least(&self) -> usize {
        self.tokens.min(CUT)
    }
}

/// What a step may take.
#[derive(Clone, Copy, Debug)]
pub(super) struct Budget {
    /// What decodes in it.
    decoding: Work,
    /// Pieces at the most.
    pieces: usize,
    /// Milliseconds at the most.
    step: f64,
    /// How many times what decoding takes alone.
    pace: f64,
}

/// Sequences of a batch.
#[derive(Clone, Copy, Debug)]
pub(super) struct Shares {
    /// Those that decode.
    pub(super) decode: usize,
    /// Those that are read.
    pub(super) read: usize,
}

impl Budget {
    /// Of `decoding` and up to so many pieces. Sequences get as much of the time each,
    /// whether they are read or decode, within what limits leave.
    pub(super) fn new(limits: &Limits, decoding: Work, shares: Shares, pieces: usize) -> Self {
        let step = limits.step.as_secs_f64() * 1e3;
        let fair = 1.0 + shares.read as f64 / shares.decode.max(1) as f64;
        let pace = fair.max(LEAST_PACE).min(limits.pace);
        Self { decoding, pieces: pieces.max(1), step, pace }
    }

    /// Whether nobody waits for the step's tokens.
    fn alone(&self) -> bool {
        self.decoding == Work::default()
    }

    /// Milliseconds, and how many of them decoding takes.
    fn of(&self, cost: &CostModel) -> (f64, f64) {
        if self.alone() {
            return (self.step, 0.0);
        }
        let decoding = cost.predict(self.decoding);
        (self.step.max(LEAST_PACE * decoding).min(self.pace * decoding), decoding)
    }
}

/// Lets prompts take turns, and sees to it that those who decode beside them wait no
/// longer than they have to: pieces are cut to the time that a step has.
///
/// If the least piece takes more than that, it is put off until the steps before it
/// have saved what it takes too long, so that steps keep their time on average and
/// prompts are still read.
#[derive(Debug, Default)]
pub(super) struct Turns {
    /// Counts pieces.
    turn: usize,
    /// Milliseconds that steps without a piece have saved, while prompts waited.
    saved: f64,
}

impl Turns {
    /// The pieces of the next step, of those that could be read: sequences, and tokens
    /// of each.
    pub(super) fn choose(
        &mut self,
        pieces: &[Piece],
        budget: &Budget,
        cost: &CostModel,
    ) -> Vec<(usize, usize)> {
        if pieces.is_empty() {
            self.saved = 0.0;
            return Vec::new();
        }
        let (milliseconds, decoding) = budget.of(cost);
        let (before, from) = pieces.split_at(self.turn % pieces.len());
        let mut work = budget.decoding;
        let mut chosen = Vec::new();
        for piece in from.iter().chain(before).take(budget.pieces) {
            let takes = |tokens| cost.predict(work.and(piece.work(tokens)));
            let least = piece.least();
            let tokens = if let Some(fits) = piece.cuts().find(|tokens| takes(*tokens) <= milliseconds) {
                fits
            } else if chosen.is_empty() && budget.alone() {
                // Cut, it would take longer in all.
                piece.tokens
            } else if chosen.is_empty() && takes(least) - self.saved <= milliseconds {
                least
            } else {
                break;
            };
            work = work.and(piece.work(tokens));
            chosen.push((piece.index, tokens));
            if tokens < piece.tokens {
                break;
            }
        }
        self.turn = self.turn.wrapping_add(chosen.len());
        if chosen.is_empty() {
            // Never nothing, so that a prompt's turn comes however long steps are.
            self.saved += (milliseconds - decoding).max(milliseconds / 8.0);
        } else {
            self.saved = 0.0;
        }
        chosen
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{Budget, CostModel, Limits, Piece, Shares, Turns, Work};

    fn prompt(index: usize, tokens: usize) -> Piece {
        Piece { index, start: 0, tokens }
    }

    /// Steps of 20 ms, beside this many that decode.
    fn beside(decode: usize, pieces: usize) -> Budget {
        let limits = Limits { places: 8, step: Duration::from_millis(20), pace: f64::INFINITY };
        Budget::new(&limits, Work { decode, ..Work::default() }, MANY_TO_READ, pieces)
    }

    const MANY_TO_READ: Shares = Shares { decode: 1, read: 1000 };

    /// A device that takes so many milliseconds for a token of each kind.
    fn device(a_prompt_token: f64, a_decode_token: f64) -> CostModel {
        let mut model = CostModel::new();
        for nth in 0..400usize {
            let (prefill, decode) = (nth % 5 * 32, nth % 7);
            let work = Work { prefill, decode, attended: nth % 11 * 1000, context: nth % 13 * 100 };
            let takes = a_prompt_token * prefill as f64 + a_decode_token * decode as f64;
            model.learn(work, Duration::from_secs_f64(takes / 1e3));
        }
        model
    }

    #[test]
    fn prompts_take_turns() {
        let (mut turns, cost) = (Turns::default(), device(0.01, 1.0));
        let pieces = [prompt(3, 128), prompt(5, 128), prompt(9, 128)];
        let mut next = |most| turns.choose(&pieces, &beside(1, most), &cost);
        let one = |index| vec![(index, 128)];
        assert_eq!([next(1), next(1), next(1), next(1)], [one(3), one(5), one(9), one(3)]);
        assert_eq!(next(2), [(5, 128), (9, 128)]);
        assert_eq!(next(8), [(3, 128), (5, 128), (9, 128)]);
    }

    #[test]
    fn a_step_takes_as_much_as_fits_its_time() {
        let (mut turns, cost) = (Turns::default(), device(0.051, 1.0));
        let pieces = [0, 1, 2, 3].map(|index| prompt(index, 128));
        // 6.5 ms a piece and 4 ms of decoding: two pieces are 17 ms, and 48 tokens more 19.5.
        assert_eq!(turns.choose(&pieces, &beside(4, 4), &cost), [(0, 128), (1, 128), (2, 48)]);
        assert_eq!(turns.choose(&pieces, &beside(0, 4), &cost), [(3, 128), (0, 128), (1, 128)]);
    }

    #[test]
    fn a_step_takes_no_more_than_a_few_times_what_decoding_takes() {
        let (mut turns, cost) = (Turns::default(), device(0.051, 1.0));
        let limits = Limits { places: 8, step: Duration::from_millis(20), pace: 2.0 };
        let tokens = |cost: &CostModel, turns: &mut Turns, decode| {
            let work = Work { decode, ..Work::default() };
            let budget = Budget::new(&limits, work, MANY_TO_READ, 1);
            turns.choose(&[prompt(0, 128)], &budget, cost).into_iter().map(|(_, tokens)| tokens).sum()
        };
        let taken: [usize; 4] = [1, 2, 4, 7].map(|decode| tokens(&cost, &mut turns, decode));
        assert_eq!(taken, [16, 32, 64, 128]);
        let cost = device(0.2, 1.0);
        let taken: [usize; 3] = [8, 16, 30].map(|decode| tokens(&cost, &mut turns, decode));
        assert_eq!(taken, [32, 32, 64], "8 of 16 ms, 8 of 24, 15 of 45");
    }

    #[test]
    fn sequences_get_as_much_time_each() {
        let (mut turns, cost) = (Turns::default(), device(0.051, 1.0));
        let limits = Limits { places: 8, step: Duration::from_millis(1000), pace: 3.0 };
        let mut tokens = |decode, read| {
            let work = Work { decode: 4, ..Work::default() };
            let budget = Budget::new(&limits, work, Shares { decode, read }, 1);
            turns.choose(&[prompt(0, 500)], &budget, &cost)[0].1
        };
        // 4 ms of decoding.
        assert_eq!(tokens(4, 4), 64, "as much again");
        assert_eq!(tokens(4, 6), 112, "half as much again as that");
        assert_eq!(tokens(4, 100), 144, "twice as much at the most");
        assert_eq!(tokens(4, 1), 32, "half at the least");
    }

    #[test]
    fn a_piece_that_takes_too_long_is_put_off_and_not_for_ever() {
        let (mut turns, cost) = (Turns::default(), device(3.6, 1.0));
        let pieces = [prompt(0, 128)];
        // 57.6 ms for 16 tokens, 4 ms of decoding: steps of 4 ms save 16 each, and 41.6
        // are missing.
        let taken = (0..8).map(|_| turns.choose(&pieces, &beside(4, 1), &cost).len());
        assert_eq!(taken.collect::<Vec<_>>(), [0, 0, 0, 1, 0, 0, 0, 1]);
        // Nobody waits beside it.
        assert_eq!(turns.choose(&pieces, &beside(0, 1), &cost), [(0, 128)]);
        // Not even decoding keeps its time.
        let taken = (0..500).filter(|_| !turns.choose(&pieces, &beside(40, 1), &cost).is_empty());
        assert!(taken.count() > 5);
    }

    #[test]
    fn cuts_are_at_multiples_and_at_the_end() {
        let cuts = |tokens| prompt(0, tokens).cuts().collect::<Vec<_>>();
        assert_eq!(cuts(50), [50, 48, 32, 16]);
        assert_eq!(cuts(32), [32, 16]);
        assert_eq!(cuts(16), [16]);
        assert_eq!((cuts(5), prompt(0, 5).least(), prompt(0, 50).least()), (vec![5], 5, 16));
    }
}
