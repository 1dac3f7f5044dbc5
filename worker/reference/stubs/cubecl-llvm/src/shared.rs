//! What all targets share.

pub mod lowered_features {
    //! What a target compiles.

    use cubecl_core::ir::DeviceProperties;

    /// A kind of GPU.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub enum GpuTarget {
        /// An NVIDIA GPU.
        Nvptx,
    }

    /// Takes from a device what the compiler cannot do. Nothing: it does not run.
    pub fn restrict_features(_: &mut DeviceProperties, _: GpuTarget) {}
}
