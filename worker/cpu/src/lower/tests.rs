use hearth_kernels::pack::Layout;
use hearth_model::testing::{TinyLlama, family_goldens};
use hearth_model::{DType, Model, gguf};
use hearth_program::arch::{self, Graph, Node, Register, Weight, WeightId, WeightShape};

use super::{Effect, Lowered, Op, Step, lower};

fn tiny(tied: bool) -> Graph {
    of(&TinyLlama { tied, ..TinyLlama::new(1) }.builder().build())
}

fn family(name: &str) -> Graph {
    let golden = family_goldens().into_iter().find(|golden| golden.name == name).unwrap();
    of(&golden.gguf(DType::F32).build())
}

fn of(bytes: &[u8]) -> Graph {
    let gguf::Progress::Done(header) = gguf::parse(bytes, Some(bytes.len() as u64)).unwrap() else {
        panic!("the whole file was there");
    };
    arch::graph(&Model::from_gguf(&header).unwrap())
}

fn layout(graph: &Graph, WeightId(id): WeightId) -> Option<Layout> {
    let Weight { tensors, shape, plus: _ } = &graph.weights[id];
    match shape {
        WeightShape::Matrix { outputs, inputs } | WeightShape::Experts { outputs, inputs, .. } => {
            Some(Layout::of(tensors[0].dtype, *outputs as u64, *inputs as u64).unwrap())
        }
        WeightShape::Vector { .. } => None,
    }
}

fn lowered(graph: &Graph) -> Lowered {
    lower(graph, &|weight| layout(graph, weight)).unwrap()
}

fn names(steps: &[Step]) -> Vec<&'static str> {
    let name = |step: &Step| match &step.op {
        Op::Embed { .. } => "embed",
        Op::Norm { .. } => "norm",
        Op::Linears(linears) => match (linears.norm.is_some(), linears.effect) {
            (true, Effect::Keep) => "normed linears",
            (true, Effect::Gate(_)) => "normed gate",
            (false, Effect::AddTo(_)) => "added linear",
            (false, Effect::Keep) => "linears",
            (false, Effect::Activate(_)) => "activated linear",
            _ => "other linears",
        },
        Op::Place(_) => "place",
        Op::Attend(_) => "attend",
        Op::Gate { .. } => "gate",
        Op::Add { .. } => "add",
        Op::Map { .. } => "map",
        Op::Keep { .. } => "keep",
        Op::AddRows { .. } => "add rows",
        Op::AttendRows(..) => "attend rows",
        Op::Rope { .. } => "rope",
        Op::UnitLength { .. } => "unit length",
        Op::Mixture(mixture) => match (mixture.norm.is_some(), mixture.sum.is_some()) {
            (true, true) => "normed added mixture",
            _ => "other mixture",
        },
    };
    steps.iter().map(name).collect()
}

/// Five phases a layer, and every node in one operation.
#[test]
fn a_llama_layer_is_five_phases() {
    for tied in [true, false] {
        let graph = tiny(tied);
        let Lowered { body, epilogue } = lowered(&graph);
        let layer = ["normed linears", "place", "attend", "added linear", "normed gate", "added linear"];
        let expected = ["embed"].into_iter().chain(layer).chain(layer).collect::<Vec<_>>();
        assert_eq!(names(&body), expected);
        assert_eq!(names(&epilogue), ["keep", "normed linears"]);
        let mut next = 0;
        for step in body.iter().chain(&epilogue) {
            assert_eq!(step.replaces.start, next);
            assert!(!step.replaces.is_empty());
            next = step.replaces.end;
        }
        assert_eq!(next, graph.nodes().count());
    }
}

/// A product that something else reads is kept.
#[test]
fn what_is_read_later_is_not_fused_away() {
    let mut graph = tiny(true);
    let gate = |graph: &Graph| {
        let is_gate = |node: &Node| matches!(node, Node::Gate { .. });
        graph.layers[0].nodes.iter().position(is_gate).unwrap()
    };
    let at = gate(&graph) + 1;
    graph.layers[0].nodes.insert(at, Node::Add { input: Register::Gate, out: Register::Up });
    let last = graph.layers[0].nodes.len() - 1;
    let Node::Add { input, .. } = graph.layers[0].nodes[last] else { panic!("a layer ends with its sum") };
    graph.layers[0].nodes.push(Node::Add { input, out: Register::Hidden });
    let expected = [
        "embed",
        "normed linears",
        "place",
        "attend",
        "added linear",
        "normed linears",
        "gate",
        "add",
        "linears",
        "add",
        "add",
    ];
    assert_eq!(names(&lowered(&graph).body)[..expected.len()], expected);
}

/// Linear layers of another input, or that write over one of the phase, come later.
#[test]
fn a_phase_has_one_input_and_outputs_of_its_own() {
    let mut graph = tiny(true);
    let twice = graph.layers[0].nodes[1];
    graph.layers[0].nodes.insert(2, twice);
    assert_eq!(names(&lowered(&graph).body)[..4], ["embed", "normed linears", "linears", "place"]);
}

#[test]
fn experts_and_encoders_have_operations_of_their_own() {
    let Lowered { body, .. } = lowered(&family("mixtral"));
    let layer = ["normed linears", "place", "attend", "added linear", "normed added mixture"];
    assert_eq!(names(&body)[..6], [&["embed"][..], &layer].concat());
    let Lowered { body, epilogue } = lowered(&family("bert"));
    let start = ["embed", "add rows", "add rows", "norm"];
    let layer =
        ["linears", "attend rows", "added linear", "norm", "activated linear", "added linear", "norm"];
    assert_eq!(names(&body)[..11], [&start[..], &layer].concat());
    assert_eq!(names(&epilogue), ["keep", "unit length"]);
}

/// No family is refused, from either format.
#[test]
fn every_family_is_lowered() {
    for golden in family_goldens() {
        let graph = of(&golden.gguf(DType::F32).build());
        assert!(lower(&graph, &|weight| layout(&graph, weight)).is_ok(), "{}", golden.name);
    }
}

#[test]
fn what_is_not_computed_is_named() {
    let refused = |graph: &Graph| lower(graph, &|weight| layout(graph, weight)).unwrap_err().to_string();
    let mut graph = tiny(true);
    graph.epilogue.push(Node::Mean { at: Register::Hidden });
    assert!(refused(&graph).contains("read in pieces"));
    let mut graph = tiny(true);
    graph.layers[1].attention.sight = arch::Sight::All;
    assert!(refused(&graph).contains("not alike"));
    let mut graph = tiny(true);
    graph.epilogue.push(Node::Append { keys: Register::Key, values: Register::Value });
    assert!(refused(&graph).contains("outside a layer"));
}
