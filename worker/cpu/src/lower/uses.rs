//! Which registers nodes read and write.

use hearth_program::arch::{Node, Register};

/// The registers that a node reads, and the one that it writes whole without reading.
pub(super) struct Uses {
    pub(super) reads: [Option<Register>; 3],
    pub(super) writes: Option<Register>,
}

pub(super) fn uses(node: &Node) -> Uses {
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
