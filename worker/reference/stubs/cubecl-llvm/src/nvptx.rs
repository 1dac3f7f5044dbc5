//! NVIDIA GPUs.

pub mod ptx_version {
    //! Versions of PTX.

    use std::fmt;

    /// A version of PTX, named by the driver that loads it: with no compiler to
    /// tell, it only keeps what is cached for different drivers apart.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
    pub struct PtxVersion(i32);

    impl PtxVersion {
        /// The newest version that a driver loads; 12080 is the driver of CUDA 12.8.
        pub fn for_driver(driver: i32) -> Option<Self> {
            Some(Self(driver))
        }
    }

    impl fmt::Display for PtxVersion {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            write!(f, "driver{}", self.0)
        }
    }
}
