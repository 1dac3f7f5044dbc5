//! From nodes to fused operations.
//!
//! Runs of nodes are found by pattern (`fuse`), wherever they stand. A pattern that
//! leaves a register unwritten is taken only where nothing reads the register before it
//! is written again, so that any graph computes what its nodes say.

mod fuse;
mod op;
#[cfg(test)]
mod tests;
mod uses;

use hearth_kernels::attend::{self, Look};
use hearth_kernels::pack::Layout;
use hearth_program::arch::{Attention, Graph, Node, Register, Sight, WeightId};

pub(crate) use op::{Attend, Effect, Linears, Map, Mixture, Op, Part, Place, Pooled, Step, Turn};

use uses::{Uses, uses};

/// What this program does not compute.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the CPU engine does not compute {what}")]
pub(crate) struct NotLowered {
    /// In words.
    pub(crate) what: &'static str,
}

/// The operations of a graph: those that all rows run, and those of answered rows.
#[derive(Clone, Debug)]
pub(crate) struct Lowered {
    /// Prologue and layers.
    pub(crate) body: Vec<Step>,
    /// Epilogue.
    pub(crate) epilogue: Vec<Step>,
}

/// A node, and what its layer says.
#[derive(Clone, Copy)]
struct At<'a> {
    node: &'a Node,
    layer: Option<Kept<'a>>,
}

#[derive(Clone, Copy)]
struct Kept<'a> {
    attention: &'a Attention,
    /// Index among the layers that keep keys and values. Those that keep none for longer
    /// than they run share a place.
    index: usize,
}

/// Lowers a graph. `layout` gives the outline of a matrix, or of each of several.
pub(crate) fn lower(
    graph: &Graph,
    layout: &dyn Fn(WeightId) -> Option<Layout>,
) -> Result<Lowered, NotLowered> {
    if graph.sees_ahead() && graph.layers.windows(2).any(|pair| pair[0].attention != pair[1].attention) {
        return Err(NotLowered { what: "tokens that see ahead in layers that are not alike" });
    }
    let outside = |node| At { node, layer: None };
    let mut nodes = graph.prologue.iter().map(outside).collect::<Vec<_>>();
    let mut index = 0;
    for layer in &graph.layers {
        let kept = Kept { attention: &layer.attention, index };
        nodes.extend(layer.nodes.iter().map(|node| At { node, layer: Some(kept) }));
        index += usize::from(layer.attention.sight != Sight::All);
    }
    let body_end = nodes.len();
    nodes.extend(graph.epilogue.iter().map(outside));

    let lowering = Lowering { nodes, graph, layout };
    let body = lowering.run(0, body_end)?;
    let epilogue = lowering.run(body_end, lowering.nodes.len())?;
    Ok(Lowered { body, epilogue })
}

struct Lowering<'a> {
    nodes: Vec<At<'a>>,
    graph: &'a Graph,
    layout: &'a dyn Fn(WeightId) -> Option<Layout>,
}

impl Lowering<'_> {
    fn run(&self, start: usize, end: usize) -> Result<Vec<Step>, NotLowered> {
        let mut steps = Vec::new();
        let mut at = start;
        while at < end {
            let (op, next) = match self.fused(at, end) {
                Some(found) => found,
                None => (self.single(at)?, at + 1),
            };
            steps.push(Step { op, replaces: at..next });
            at = next;
        }
        Ok(steps)
    }

    /// An operation of one node.
    fn single(&self, at: usize) -> Result<Op, NotLowered> {
        let refuse = |what| Err(NotLowered { what });
        match *self.nodes[at].node {
            Node::Embed { table, out } => Ok(Op::Embed { table, out }),
            Node::AddRows { table, rows, out } => Ok(Op::AddRows { table, rows, out }),
            Node::Norm { input, norm, out } => Ok(Op::Norm { input, norm, out }),
            Node::Rope { at, heads, rope } => Ok(Op::Rope { at, head_dim: self.head_dim(at, heads), rope }),
            Node::Attend { query, out } => match self.nodes[at].layer {
                Some(Kept { attention, index }) if attention.sight != Sight::All => {
                    Ok(Op::Attend(Attend { query, out, look: look(attention), layer: index }))
                }
                _ => refuse("attention to what is not kept"),
            },
            Node::Gate { activation, gate, out } => Ok(Op::Gate { activation, gate, out }),
            Node::Activate { activation, at } => Ok(Op::Map { at, map: Map::Activate(activation) }),
            Node::Add { input, out } => Ok(Op::Add { input, out }),
            Node::Scale { at, factor } => Ok(Op::Map { at, map: Map::Scale(factor) }),
            Node::SoftCap { at, cap } => Ok(Op::Map { at, map: Map::SoftCap(cap) }),
            Node::KeepAnswered { at } => Ok(Op::Keep { at, pooled: Pooled::Answered }),
            // A text that is read in pieces has no row for all of them.
            Node::Mean { .. } | Node::First { .. } if !self.graph.sees_ahead() => {
                refuse("one vector of a text that is read in pieces, but for the last one")
            }
            Node::Mean { at } => Ok(Op::Keep { at, pooled: Pooled::Mean }),
            Node::First { at } => Ok(Op::Keep { at, pooled: Pooled::First }),
            Node::UnitLength { at } => Ok(Op::UnitLength { at }),
            Node::Append { .. } | Node::AttendRows { .. } => refuse("keys and values outside a layer"),
            Node::Linear { .. } | Node::Experts { .. } => refuse("a product with what is not a matrix"),
        }
    }

    /// Whether some node behind `at` reads what is in the register now.
    fn is_read_after(&self, register: Register, at: usize) -> bool {
        for At { node, .. } in &self.nodes[at + 1..] {
            let Uses { reads, writes } = uses(node);
            if reads.contains(&Some(register)) {
                return true;
            }
            if writes == Some(register) {
                return false;
            }
        }
        register == self.graph.answer
    }

    fn head_dim(&self, at: Register, heads: usize) -> usize {
        self.graph.width(at) / heads.max(1)
    }
}

fn look(attention: &Attention) -> Look {
    let Attention { heads, kv_heads, key_dim: _, value_dim: _, scale, soft_cap, sight } = *attention;
    let sight = match sight {
        Sight::Past { window } => attend::Sight::Past { window },
        Sight::All => attend::Sight::All,
    };
    Look { group: heads / kv_heads, scale, soft_cap, sight }
}
