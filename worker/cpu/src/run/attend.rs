//! Attention: which tasks, and who merges what they find.

use std::sync::PoisonError;

use hearth_kernels::attend::{Queries, Sight, Task, finish, state_len};
use hearth_kernels::pool::{Blocks, Both, Runs};

use super::scratch::SplitTask;
use super::{Run, Scratch};
use crate::lower::Attend;

/// Tasks a thread that are enough for threads to end together.
const TASKS: usize = 8;
/// Splits that one task takes at the most.
const SPLITS: usize = 8;

impl Run<'_> {
    pub(super) fn attend(&mut self, op: &Attend) {
        let (pool, isa, slice, batch) = (self.pool, self.isa, self.slice, self.batch);
        let Self { numbers, widths, kv, scratch, rows, .. } = self;
        let (kv, form, group) = (&**kv, &kv.layer(op.layer).form, op.look.group);
        let table = kv.layer(op.layer).group;
        let (query_width, out_width) = (widths[op.query as usize], widths[op.out as usize]);
        let [query, out] = match numbers.get_disjoint_mut([op.query as usize, op.out as usize]) {
            Ok(registers) => registers,
            Err(error) => panic!("queries and results share a register: {error}"),
        };
        let (query, out) = (&query[..*rows * query_width], &mut out[..*rows * out_width]);
        let blocks = &slice.blocks;
        let head_columns = group * form.value_dim();

        let with_task = |block: usize, kv_head: usize, with: &mut dyn FnMut(&Task<'_>)| {
            let row = blocks.of[block];
            let page = |page: usize| kv.page(op.layer, slice.page(batch, row, table, page));
            let rows = blocks.rows(block);
            let position = slice.positions[rows.start];
            let length = match op.look.sight {
                Sight::Past { .. } => position + rows.len(),
                Sight::All => batch[row].tokens.len(),
            };
            let queries = Queries {
                numbers: &query[rows.start * query_width + kv_head * group * form.key_dim()..],
                stride: query_width,
                tokens: rows.len(),
                position,
                length,
            };
            with(&Task { form, look: &op.look, page: &page, kv_head, queries });
        };

        let Scratch { attend, states, tasks, task_ends, head_ends, .. } = &mut **scratch;
        let lists = Lists { tasks, task_ends, head_ends };
        let heads = form.kv_heads();
        let in_parts = lists.plan(blocks.len(), heads, pool.threads(), states.len(), |block| {
            let mut found = (0..0, 0);
            with_task(block, 0, &mut |task| {
                found = (task.splits(), state_len(form, task.queries.tokens * group));
            });
            found
        });
        let scratch_of = |thread: usize| attend[thread].lock().unwrap_or_else(PoisonError::into_inner);
        if in_parts {
            pool.over(Runs::new(states, task_ends), |chunk, states, thread| {
                let SplitTask { block, kv_head, splits } = &tasks[chunk];
                with_task(*block, *kv_head, &mut |task| {
                    task.parts(isa, splits.clone(), &mut scratch_of(thread), states);
                });
            });
            let out = Blocks::new(out, out_width, &blocks.ends, head_columns);
            pool.over(Both::new(Runs::new(states, head_ends), out), |_, (states, mut out), _| {
                finish(isa, form, group, states, &mut out);
            });
        } else {
            let out = Blocks::new(out, out_width, &blocks.ends, head_columns);
            pool.over(out, |chunk, mut out, thread| {
                with_task(chunk / heads, chunk % heads, &mut |task| {
                    task.whole(isa, &mut scratch_of(thread), &mut out);
                });
            });
        }
    }
}

/// The tasks of a phase in which blocks are attended to in parts.
struct Lists<'a> {
    tasks: &'a mut Vec<SplitTask>,
    task_ends: &'a mut Vec<usize>,
    head_ends: &'a mut Vec<usize>,
}

impl Lists<'_> {
    /// Lists the tasks of blocks, of which `of` gives the splits and the length of a
    /// state. `false`, and nothing is listed, where blocks as they are make enough
    /// tasks, none has two splits, or there is no room for their states: the results
    /// are the same.
    fn plan(
        self,
        blocks: usize,
        heads: usize,
        threads: usize,
        room: usize,
        of: impl Fn(usize) -> (std::ops::Range<usize>, usize),
    ) -> bool {
        let Self { tasks, task_ends, head_ends } = self;
        tasks.clear();
        task_ends.clear();
        head_ends.clear();
        let (mut splits, mut most, mut needed) = (0, 0, 0);
        for block in 0..blocks {
            let (own, len) = of(block);
            splits += own.len();
            most = most.max(own.len());
            needed += own.len() * len * heads;
        }
        // Blocks of about the same length share out well if they are many.
        let even = most * blocks <= 2 * splits;
        let many = blocks * heads >= TASKS * threads;
        let tasks_needed = splits * heads;
        if most < 2 || (even && many) || needed > room || tasks_needed > tasks.capacity() {
            return false;
        }
        let each = (tasks_needed / (TASKS * threads)).clamp(1, SPLITS);
        let mut end = 0;
        for block in 0..blocks {
            let (own, len) = of(block);
            for kv_head in 0..heads {
                for first in own.clone().step_by(each) {
                    let splits = first..own.end.min(first + each);
                    end += splits.len() * len;
                    tasks.push(SplitTask { block, kv_head, splits });
                    task_ends.push(end);
                }
                head_ends.push(end);
            }
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tasks_cover_the_splits_of_every_block_and_head() {
        let (mut tasks, mut task_ends, mut head_ends) =
            (Vec::with_capacity(100), Vec::with_capacity(100), Vec::with_capacity(100));
        let mut plan = |room| {
            let lists = Lists { tasks: &mut tasks, task_ends: &mut task_ends, head_ends: &mut head_ends };
            lists.plan(2, 3, 1, room, |block| ([0..7, 2..4][block].clone(), 10 + block))
        };
        assert!(!plan(3 * 7 * 10 + 3 * 2 * 11 - 1), "no room");
        assert!(plan(3 * 7 * 10 + 3 * 2 * 11));
        assert_eq!(head_ends, [70, 140, 210, 232, 254, 276]);
        assert_eq!(task_ends.last(), Some(&276));
        for (block, splits) in [0..7, 2..4].into_iter().enumerate() {
            for head in 0..3 {
                let own = tasks.iter().filter(|task| task.block == block && task.kv_head == head);
                assert!(own.flat_map(|task| task.splits.clone()).eq(splits.clone()));
            }
        }
    }
}
