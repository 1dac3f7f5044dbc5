//! From nodes to fused operations.
//!
//! Runs of nodes are found by pattern, wherever they stand. A pattern that leaves a
//! register unwritten is taken only where nothing reads the register before it is
//! written again, so that any graph computes what its nodes say.

mod op;
#[cfg(test)]
mod tests;

use hearth_kernels::attend::Look;
use hearth_kernels::linear::{Cuts, MATRICES};
use hearth_kernels::pack::Layout;
use hearth_program::arch::{
    Activation, Attention, Graph, Node, Norm, NormKind, Register, Sight, TableRows, WeightId,
};

pub(crate) use op::{Attend, Effect, Linears, Map, Op, Part, Place, Step, Turn};

/// Bytes of weights that a thread takes at a time: about a microsecond of reading, some
/// times what claiming them costs, and few enough that threads end a phase together.
const CUT_BYTES: usize = 16 << 10;

/// What this program does not compute.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the CPU engine does not compute {what} yet; the reference engine does")]
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
    /// Index among the layers that keep keys and values.
    index: usize,
}

/// Lowers a graph. `layout` gives the outline of a matrix.
pub(crate) fn lower(
    graph: &Graph,
    layout: &dyn Fn(WeightId) -> Option<Layout>,
) -> Result<Lowered, NotLowered> {
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

    let mut lowering = Lowering { nodes, graph, layout };
    let body = lowering.run(0, body_end)?;
    let all = lowering.nodes.len();
    let epilogue = lowering.run(body_end, all)?;
    Ok(Lowered { body, epilogue })
}

struct Lowering<'a> {
    nodes: Vec<At<'a>>,
    graph: &'a Graph,
    layout: &'a dyn Fn(WeightId) -> Option<Layout>,
}

impl Lowering<'_> {
    fn run(&mut self, start: usize, end: usize) -> Result<Vec<Step>, NotLowered> {
        let mut steps = Vec::new();
        let mut at = start;
        while at < end {
            let (op, next) = self.longest(at, end)?;
            steps.push(Step { op, replaces: at..next });
            at = next;
        }
        Ok(steps)
    }

    /// The operation that takes the most nodes from `at` on, and where the next begins.
    fn longest(&self, at: usize, end: usize) -> Result<(Op, usize), NotLowered> {
        if let Some((op, next)) = self.place(at, end)? {
            return Ok((op, next));
        }
        match *self.nodes[at].node {
            Node::Norm { input, norm, out } => {
                check_norm(&norm)?;
                if norm.parts == 1
                    && input != out
                    && let Some((op, next)) = self.linears(Some((input, norm)), out, at + 1, end)?
                {
                    return Ok((op, next));
                }
                Ok((Op::Norm { input, norm, out }, at + 1))
            }
            Node::Linear { input, .. } => match self.linears(None, input, at, end)? {
                Some(found) => Ok(found),
                None => Err(NotLowered { what: "a linear layer whose weight is not a matrix" }),
            },
            _ => Ok((self.single(at)?, at + 1)),
        }
    }

    /// An operation of one node.
    fn single(&self, at: usize) -> Result<Op, NotLowered> {
        let refuse = |what| Err(NotLowered { what });
        match *self.nodes[at].node {
            Node::Embed { table, out } => Ok(Op::Embed { table, out }),
            Node::AddRows { rows: TableRows::Position, .. } => refuse("learned positions"),
            Node::AddRows { rows: TableRows::Only(_), .. } => refuse("token types"),
            Node::Attend { query, out } => {
                let Some(Kept { attention, index }) = self.nodes[at].layer else {
                    return refuse("attention outside a layer");
                };
                Ok(Op::Attend(Attend { query, out, look: look(attention)?, layer: index }))
            }
            Node::AttendRows { .. } => refuse("attention to tokens behind"),
            Node::Gate { activation, gate, out } => {
                check_activation(activation)?;
                Ok(Op::Gate { activation, gate, out })
            }
            Node::Activate { .. } => refuse("activations without a gate"),
            Node::Experts { .. } => refuse("mixtures of experts"),
            Node::Add { input, out } => Ok(Op::Add { input, out }),
            Node::Scale { at, factor } => Ok(Op::Map { at, map: Map::Scale(factor) }),
            Node::SoftCap { at, cap } => Ok(Op::Map { at, map: Map::SoftCap(cap) }),
            Node::KeepAnswered { at } => Ok(Op::KeepAnswered { at }),
            Node::Mean { .. } | Node::First { .. } | Node::UnitLength { .. } => refuse("pooled answers"),
            Node::Rope { .. } => refuse("rotary positions without pages"),
            Node::Append { .. } | Node::Norm { .. } | Node::Linear { .. } => refuse("a node on its own"),
        }
    }

    /// `(Norm | Rope)*, Append`.
    fn place(&self, at: usize, end: usize) -> Result<Option<(Op, usize)>, NotLowered> {
        let mut turns = Vec::new();
        for next in at..end {
            match *self.nodes[next].node {
                Node::Norm { input, norm, out } if input == out && of_heads(out) => {
                    check_norm(&norm)?;
                    turns.push(Turn::Norm { at: out, norm });
                }
                Node::Rope { at, heads, rope } if of_heads(at) => {
                    let head_dim = self.graph.width(at) / heads.max(1);
                    turns.push(Turn::Rope { at, head_dim, rope });
                }
                Node::Append { keys, values } => {
                    let Some(Kept { index, .. }) = self.nodes[next].layer else { return Ok(None) };
                    return Ok(Some((Op::Place(Place { turns, keys, values, layer: index }), next + 1)));
                }
                _ => return Ok(None),
            }
        }
        Ok(None)
    }

    /// `Linear+, (Add | Gate)?` from `at` on, all of the same input.
    fn linears(
        &self,
        norm: Option<(Register, Norm)>,
        input: Register,
        at: usize,
        end: usize,
    ) -> Result<Option<(Op, usize)>, NotLowered> {
        let mut parts: Vec<Part> = Vec::new();
        let mut layouts = Vec::new();
        let mut next = at;
        while next < end && parts.len() < MATRICES {
            let Node::Linear { input: from, weight, bias, out } = *self.nodes[next].node else { break };
            if from != input || out == input || parts.iter().any(|part| part.out == out) {
                break;
            }
            let Some(layout) = (self.layout)(weight) else { break };
            parts.push(Part { weight, bias, out });
            layouts.push(layout);
            next += 1;
        }
        if parts.is_empty() {
            return Ok(None);
        }
        let mut effect = Effect::Keep;
        if next < end {
            match *self.nodes[next].node {
                Node::Add { input: product, out }
                    if parts.len() == 1
                        && product == parts[0].out
                        && out != input
                        && out != product
                        && !self.is_read_after(product, next) =>
                {
                    effect = Effect::AddTo(out);
                    next += 1;
                }
                Node::Gate { activation, gate, out }
                    if parts.len() == 2
                        && gate == parts[0].out
                        && out == parts[1].out
                        && layouts[0].outputs() == layouts[1].outputs()
                        && !self.is_read_after(gate, next) =>
                {
                    check_activation(activation)?;
                    effect = Effect::Gate(activation);
                    next += 1;
                }
                _ => {}
            }
        }
        let quantized = layouts.iter().any(Layout::is_quantized);
        let cuts = match effect {
            Effect::Gate(_) => Cuts::new(&layouts[..1], CUT_BYTES / 2),
            Effect::Keep | Effect::AddTo(_) => Cuts::new(&layouts, CUT_BYTES),
        };
        Ok(Some((Op::Linears(Linears { norm, input, quantized, parts, cuts, effect }), next)))
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
}

/// Whether a register holds heads.
fn of_heads(register: Register) -> bool {
    matches!(register, Register::Query | Register::Key | Register::Value)
}

fn look(attention: &Attention) -> Result<Look, NotLowered> {
    let Attention { heads, kv_heads, key_dim: _, value_dim: _, scale, soft_cap, sight } = *attention;
    let Sight::Past { window } = sight else {
        return Err(NotLowered { what: "attention to tokens behind" });
    };
    Ok(Look { group: heads / kv_heads, scale, soft_cap, window })
}

fn check_norm(norm: &Norm) -> Result<(), NotLowered> {
    match norm {
        Norm { kind: NormKind::Layer, .. } => Err(NotLowered { what: "norms around the mean" }),
        Norm { bias: Some(_), .. } => Err(NotLowered { what: "norms with a bias" }),
        Norm { kind: NormKind::Rms, bias: None, .. } => Ok(()),
    }
}

fn check_activation(activation: Activation) -> Result<(), NotLowered> {
    match activation {
        Activation::Silu | Activation::GeluTanh => Ok(()),
        Activation::Gelu => Err(NotLowered { what: "the error function of GELU" }),
    }
}

/// The registers that a node reads, and the one that it writes whole without reading.
struct Uses {
    reads: [Option<Register>; 3],
    writes: Option<Register>,
}

fn uses(node: &Node) -> Uses {
    let (reads, writes) = match *node {
        Node::Embed { table: _, out } => ([None; 3], Some(out)),
        Node::Norm { input, norm: _, out } | Node::Linear { input, weight: _, bias: _, out } => {
            ([Some(input), None, None], Some(out))
        }
        Node::Experts { input, experts: _, out } => ([Some(input), None, None], Some(out)),
        Node::Attend { query, out } => ([Some(query), None, None], Some(out)),
        Node::AttendRows { query, keys, values, out } => ([Some(query), Some(keys), Some(values)], Some(out)),
        Node::Append { keys, values } => ([Some(keys), Some(values), None], None),
        Node::Gate { activation: _, gate: input, out } | Node::Add { input, out } => {
            ([Some(input), Some(out), None], None)
        }
        Node::AddRows { table: _, rows: _, out: at }
        | Node::Rope { at, heads: _, rope: _ }
        | Node::Activate { activation: _, at }
        | Node::Scale { at, factor: _ }
        | Node::SoftCap { at, cap: _ }
        | Node::KeepAnswered { at }
        | Node::Mean { at }
        | Node::First { at }
        | Node::UnitLength { at } => ([Some(at), None, None], None),
    };
    Uses { reads, writes }
}
