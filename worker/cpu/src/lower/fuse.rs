//! The patterns that become one operation.

use hearth_kernels::linear::{Cuts, MATRICES};
use hearth_kernels::pack::Layout;
use hearth_program::arch::{Node, Norm, Register};

use super::{Attend, Effect, Kept, Linears, Lowering, Mixture, Op, Part, Place, Turn, look};

/// Bytes of weights that a thread takes at a time: about a microsecond of reading, some
/// times what claiming them costs, and few enough that threads end a phase together.
const CUT_BYTES: usize = 16 << 10;

/// What is made of some nodes, and where the next begins.
type Fused = Option<(Op, usize)>;

impl Lowering<'_> {
    /// The operation that takes the most nodes from `at` on, if a pattern begins there.
    pub(super) fn fused(&self, at: usize, end: usize) -> Fused {
        if let Some(found) = self.place(at, end) {
            return Some(found);
        }
        match *self.nodes[at].node {
            Node::Norm { input, norm, out } if norm.parts == 1 && input != out => {
                self.products(Some((input, norm)), out, at + 1, end)
            }
            Node::Linear { input, .. } | Node::Experts { input, .. } => self.products(None, input, at, end),
            _ => None,
        }
    }

    fn products(&self, norm: Option<(Register, Norm)>, input: Register, at: usize, end: usize) -> Fused {
        self.linears(norm, input, at, end).or_else(|| self.mixture(norm, input, at, end))
    }

    /// `(Norm | Rope)*, (Append | AttendRows)`.
    fn place(&self, at: usize, end: usize) -> Fused {
        let mut turns = Vec::new();
        for next in at..end {
            let layer = self.nodes[next].layer;
            match *self.nodes[next].node {
                Node::Norm { input, norm, out } if input == out && of_heads(out) => {
                    turns.push(Turn::Norm { at: out, norm });
                }
                Node::Rope { at, heads, rope } if of_heads(at) => {
                    turns.push(Turn::Rope { at, head_dim: self.head_dim(at, heads), rope });
                }
                Node::Append { keys, values } => {
                    let Kept { index, .. } = layer?;
                    return Some((Op::Place(Place { turns, keys, values, layer: index }), next + 1));
                }
                Node::AttendRows { query, keys, values, out } => {
                    let Kept { attention, index } = layer?;
                    let place = Place { turns, keys, values, layer: index };
                    let attend = Attend { query, out, look: look(attention), layer: index };
                    return Some((Op::AttendRows(place, attend), next + 1));
                }
                _ => return None,
            }
        }
        None
    }

    /// `Linear+, (Add | Gate | Activate)?` from `at` on, all of the same input.
    fn linears(&self, norm: Option<(Register, Norm)>, input: Register, at: usize, end: usize) -> Fused {
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
            return None;
        }
        let effect = if next < end { self.effect(input, &parts, &layouts, next) } else { Effect::Keep };
        next += usize::from(effect != Effect::Keep);
        let quantized = layouts.iter().any(Layout::is_quantized);
        let cuts = match effect {
            Effect::Gate(_) => Cuts::new(&layouts[..1], CUT_BYTES / 2),
            Effect::Keep | Effect::AddTo(_) | Effect::Activate(_) => Cuts::new(&layouts, CUT_BYTES),
        };
        Some((Op::Linears(Linears { norm, input, quantized, parts, cuts, effect }), next))
    }

    /// What node `next` does with the products before it, if it can be done with them.
    fn effect(&self, input: Register, parts: &[Part], layouts: &[Layout], next: usize) -> Effect {
        match (*self.nodes[next].node, parts) {
            (Node::Add { input: product, out }, [part])
                if product == part.out
                    && out != input
                    && out != product
                    && !self.is_read_after(product, next) =>
            {
                Effect::AddTo(out)
            }
            (Node::Gate { activation, gate, out }, [first, second])
                if gate == first.out
                    && out == second.out
                    && layouts[0].outputs() == layouts[1].outputs()
                    && !self.is_read_after(gate, next) =>
            {
                Effect::Gate(activation)
            }
            (Node::Activate { activation, at }, [part]) if at == part.out => Effect::Activate(activation),
            _ => Effect::Keep,
        }
    }

    /// `Experts, Add?` at `at`, of this input.
    fn mixture(&self, norm: Option<(Register, Norm)>, input: Register, at: usize, end: usize) -> Fused {
        let node = if at < end { self.nodes[at].node } else { return None };
        let Node::Experts { input: from, experts, out } = *node else { return None };
        if from != input || out == input {
            return None;
        }
        let [router, gate, up, down] =
            [experts.router, experts.gate, experts.up, experts.down].map(self.layout);
        let (router, gate, up, down) = (router?, gate?, up?, down?);
        let mut next = at + 1;
        let mut sum = None;
        if next < end
            && let Node::Add { input: made, out: to } = *self.nodes[next].node
            && made == out
            && to != out
            && to != input
        {
            // What is made is kept too, so it does not matter who reads it.
            sum = Some(to);
            next += 1;
        }
        let mixture = Mixture {
            norm,
            input,
            experts,
            quantized: gate.is_quantized() || up.is_quantized(),
            plain: !gate.is_quantized() || !up.is_quantized(),
            down_quantized: down.is_quantized(),
            width: gate.outputs(),
            router: Cuts::new(&[router], CUT_BYTES),
            inner: Cuts::new(&[gate], CUT_BYTES / 2),
            outer: Cuts::new(&[down], CUT_BYTES),
            out,
            sum,
        };
        Some((Op::Mixture(mixture), next))
    }
}

/// Whether a register holds heads.
fn of_heads(register: Register) -> bool {
    matches!(register, Register::Query | Register::Key | Register::Value)
}
