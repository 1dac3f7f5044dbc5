//! What a program takes is what a planner was told.

use hearth_model::footprint::{DeviceKind, Overheads, WeightStorage, footprint};
use hearth_model::testing::family_goldens;
use hearth_model::{DType, KvType, Shape};
use hearth_program::testing::FamilyFile;
use hearth_program::{Unwatched, build};

use super::cpu;

/// Part by part: no more than was planned, and not much less. Room for quantized rows is
/// planned, which plain weights don't need.
#[test]
fn a_familys_parts_are_those_that_were_planned() {
    let shape = Shape { context_tokens: 128, sequences: 3, kv_type: KvType::F16 };
    let overheads = Overheads::DEFAULT;
    for golden in family_goldens() {
        let file = FamilyFile::new(&golden, &golden.gguf(DType::F16).build());
        let model = build::read(&file.path()).unwrap();
        let overhead = overheads.of(DeviceKind::Cpu);
        let planned = footprint(&model.dims, &shape, WeightStorage::Packed, overhead).unwrap();
        let measured = cpu(2).build(&file.path(), &model, &shape, &mut Unwatched).unwrap().measured;
        let share = measured.activations as f64 / planned.activations as f64;
        println!("{:16} {share:.2} {measured:?} {planned:?}", golden.name);
        assert!((0.75..=1.0).contains(&share), "{}: {measured:?} {planned:?}", golden.name);
        // Values are padded to 16 elements, which those of all but such small models are.
        let padded = measured.kv > planned.kv && !model.dims.head_dim_v.is_multiple_of(16);
        assert!(padded || measured.kv == planned.kv, "{}: {measured:?} {planned:?}", golden.name);
        assert_eq!(measured.overhead, planned.overhead);
        let weights = measured.weights as f64 / planned.weights as f64;
        assert!((0.95..=1.05).contains(&weights), "{}: {measured:?} {planned:?}", golden.name);
    }
}
