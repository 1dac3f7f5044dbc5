//! Whatever sequences do, each reads what it wrote.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use hearth_program::{PAGE_TOKENS, PREFILL_CHUNK, PageId, PageLayout};
use proptest::prelude::*;

use super::{layout, salt, text};
use crate::kv::{Pool, Table};

#[derive(Clone, Debug)]
enum Op {
    /// A text of a salt, and how many tokens it is longer than its letters.
    Begin {
        salted: bool,
        letters: String,
        tail: usize,
    },
    /// Computes up to so many tokens of a sequence.
    Compute {
        which: prop::sample::Index,
        tokens: usize,
    },
    /// Computes some tokens that are not shared, as if they were guesses.
    Guess {
        which: prop::sample::Index,
        tokens: usize,
    },
    Drop {
        which: prop::sample::Index,
    },
    Forget,
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        4 => (any::<bool>(), "[ab]{0,6}", 0..PAGE_TOKENS)
            .prop_map(|(salted, letters, tail)| Op::Begin { salted, letters, tail }),
        8 => (any::<prop::sample::Index>(), 1..=PREFILL_CHUNK)
            .prop_map(|(which, tokens)| Op::Compute { which, tokens }),
        2 => (any::<prop::sample::Index>(), 1usize..9).prop_map(|(which, tokens)| Op::Guess { which, tokens }),
        3 => any::<prop::sample::Index>().prop_map(|which| Op::Drop { which }),
        1 => Just(Op::Forget),
    ]
}

/// What a cell of a page holds: the text up to it.
type Cell = Option<(bool, Vec<u32>)>;

struct Sequence {
    salted: bool,
    tokens: Vec<u32>,
    taken: usize,
    table: Table,
}

/// A device that keeps whole texts, and everything that was ever shared.
struct World {
    layout: PageLayout,
    pool: Pool,
    cells: Vec<Vec<[Cell; PAGE_TOKENS]>>,
    live: Vec<Sequence>,
    shared: HashSet<(bool, Vec<u32>)>,
    /// Whether there is room for everything, so that nothing is ever evicted.
    roomy: bool,
    forgot: bool,
}

impl World {
    fn new(layout: PageLayout, roomy: bool) -> Self {
        let cells = layout.groups.iter().map(|group| vec![[const { None }; PAGE_TOKENS]; group.pages]);
        let (pool, cells) = (Pool::new(&layout), cells.collect());
        Self { layout, pool, cells, live: Vec::new(), shared: HashSet::new(), roomy, forgot: false }
    }

    fn begin(&mut self, salted: bool, letters: &str, tail: usize) {
        let mut tokens = text(letters);
        tokens.extend(std::iter::repeat_n(7, tail));
        let most = tokens.len().saturating_sub(1);
        let table = self.pool.begin(&salt(if salted { "salt" } else { "" }), &tokens, most);
        let taken = table.shared_tokens();
        // The longest that a map of all that was shared knows.
        let ends = (0..=most / PAGE_TOKENS).map(|pages| pages * PAGE_TOKENS);
        let known =
            ends.take_while(|end| *end == 0 || self.shared.contains(&(salted, tokens[..*end].to_vec())));
        let known = known.last().unwrap_or(0);
        assert!(taken <= known, "{taken} tokens were found of {known} that were shared");
        if self.roomy && !self.forgot {
            assert_eq!(taken, known);
        }
        self.live.push(Sequence { salted, tokens, taken, table });
    }

    /// Writes the next tokens; a sequence for which there is no room goes.
    fn compute(&mut self, which: usize, count: usize, keep: bool) {
        let sequence = &mut self.live[which];
        let count = count.min(sequence.tokens.len() - sequence.taken);
        let end = sequence.taken + count;
        sequence.table.slide(sequence.taken);
        if sequence.table.reserve(end).is_err() {
            assert!(!self.roomy);
            self.live.remove(which);
            return;
        }
        let Sequence { salted, tokens, taken, .. } = &self.live[which];
        for position in *taken..end {
            for group in 0..self.layout.groups.len() {
                let page = self.live[which].table.tables()[group][position / PAGE_TOKENS];
                let others = self.live.iter().enumerate().filter(|(other, _)| *other != which);
                assert!(
                    others.into_iter().all(|(_, other)| !other.table.tables()[group].contains(&page)),
                    "{page:?} is written and is not its own"
                );
                let cell = Some((*salted, tokens[..=position].to_vec()));
                self.cells[group][page.0 as usize][position % PAGE_TOKENS] = cell;
            }
        }
        if keep {
            let sequence = &mut self.live[which];
            sequence.taken = end;
            sequence.table.share(&sequence.tokens[..end]);
            for full in (PAGE_TOKENS..=end).step_by(PAGE_TOKENS) {
                self.shared.insert((sequence.salted, sequence.tokens[..full].to_vec()));
            }
        }
    }

    fn check(&self) {
        let mut holders = vec![BTreeMap::<PageId, usize>::new(); self.layout.groups.len()];
        for sequence in &self.live {
            for (at, (group, table)) in self.layout.groups.iter().zip(sequence.table.tables()).enumerate() {
                let seen = group.first_seen(sequence.taken)..sequence.taken;
                for position in seen {
                    let page = table[position / PAGE_TOKENS];
                    let cell = &self.cells[at][page.0 as usize][position % PAGE_TOKENS];
                    let text = Some((sequence.salted, sequence.tokens[..=position].to_vec()));
                    assert!(*cell == text, "position {position} holds another text");
                }
                let held = table.iter().filter(|page| **page != PageId::NONE);
                assert_eq!(held.clone().collect::<BTreeSet<_>>().len(), held.clone().count());
                for page in held {
                    *holders[at].entry(*page).or_default() += 1;
                }
            }
        }
        for (occupancy, holders) in self.pool.occupancy().iter().zip(&holders) {
            assert_eq!(occupancy.held(), holders.len());
            assert_eq!(occupancy.held() + occupancy.free + occupancy.cached, occupancy.total);
        }
    }
}

fn run(layout: PageLayout, roomy: bool, ops: Vec<Op>) {
    let mut world = World::new(layout, roomy);
    for op in ops {
        match op {
            Op::Begin { salted, letters, tail } => world.begin(salted, &letters, tail),
            Op::Compute { which, tokens } if !world.live.is_empty() => {
                world.compute(which.index(world.live.len()), tokens, true);
            }
            Op::Guess { which, tokens } if !world.live.is_empty() => {
                world.compute(which.index(world.live.len()), tokens, false);
            }
            Op::Drop { which } if !world.live.is_empty() => {
                world.live.swap_remove(which.index(world.live.len()));
            }
            Op::Forget => {
                world.pool.forget();
                world.forgot = true;
            }
            Op::Compute { .. } | Op::Guess { .. } | Op::Drop { .. } => {}
        }
        world.check();
    }
    world.live.clear();
    world.check();
    world.pool.forget();
    let all_free = |pool: &Pool| pool.occupancy().iter().all(|group| group.free == group.total);
    assert!(all_free(&world.pool), "everything comes back");
    assert_eq!(world.pool.lock().nodes(), 0, "no text is remembered without a page");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, ..ProptestConfig::default() })]

    #[test]
    fn each_sequence_reads_what_it_wrote(ops in prop::collection::vec(op(), 1..80)) {
        run(layout(&[None], 7, 2), false, ops);
    }

    #[test]
    fn windows_change_nothing(
        ops in prop::collection::vec(op(), 1..80),
        window in prop_oneof![Just(1), Just(PAGE_TOKENS), Just(PAGE_TOKENS + 1), 2..200usize],
    ) {
        run(layout(&[Some(window), None, Some(window)], 7, 2), false, ops);
    }

    #[test]
    fn windows_alone_change_nothing(
        ops in prop::collection::vec(op(), 1..80), windows in prop::collection::vec(1..120usize, 1..3),
    ) {
        let windows = windows.into_iter().map(Some).collect::<Vec<_>>();
        run(layout(&windows, 7, 2), false, ops);
    }

    #[test]
    fn with_room_for_all_everything_is_found(ops in prop::collection::vec(op(), 1..60)) {
        run(layout(&[None, Some(40)], 7, 200), true, ops);
    }
}
