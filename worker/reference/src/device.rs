//! Opening a device.

use burn::tensor::Device;

use thiserror::Error;

/// Where the reference runs its tensors.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Compute {
    /// The CPU, through burn's flex backend.
    #[default]
    Cpu,
    /// The CUDA device with this index. Needs the feature `cuda`.
    Cuda(usize),
    /// The discrete Vulkan device with this index. Needs the feature `vulkan`.
    Vulkan(usize),
    /// The default Metal device. Needs the feature `metal`.
    Metal,
}

/// Why a device was not opened.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum OpenError {
    /// The build lacks the feature that the asked compute device needs.
    #[error("this build cannot compute on {device}: build with the feature `{feature}`, or choose Cpu")]
    NotBuilt {
        /// The device that was asked for.
        device: &'static str,
        /// The Cargo feature that brings it.
        feature: &'static str,
    },
    /// The device did not answer.
    #[error("{device} cannot be opened: {message}")]
    Device {
        /// The device that was asked for.
        device: String,
        /// What its driver said.
        message: String,
    },
}

/// Opens the device, and multiplies something on it: drivers are loaded on first
/// use, and a machine without one is better told now.
pub(crate) fn open(compute: Compute) -> Result<Device, OpenError> {
    let device = match compute {
        Compute::Cpu => Device::flex(),
        Compute::Cuda(index) => cuda(index)?,
        Compute::Vulkan(index) => vulkan(index)?,
        Compute::Metal => metal()?,
    };
    probe(&device).map_err(|message| OpenError::Device { device: format!("{compute:?}"), message })?;
    Ok(device)
}

fn probe(device: &Device) -> Result<(), String> {
    let multiply = || {
        let ones = burn::tensor::Tensor::<2>::ones([4, 4], device);
        ones.clone().matmul(ones).sum().try_into_scalar::<f32>().map_err(|error| error.to_string())
    };
    // Drivers that are not there are told by panicking.
    match std::panic::catch_unwind(std::panic::AssertUnwindSafe(multiply)) {
        Ok(Ok(64.0)) => Ok(()),
        Ok(Ok(other)) => Err(format!("it computes {other} where 64 is right")),
        Ok(Err(message)) => Err(message),
        Err(_) => Err("its driver is not there or failed; the log has the reason".into()),
    }
}

#[cfg(feature = "cuda")]
#[allow(clippy::unnecessary_wraps)]
fn cuda(index: usize) -> Result<Device, OpenError> {
    Ok(Device::cuda(index))
}

#[cfg(not(feature = "cuda"))]
fn cuda(_: usize) -> Result<Device, OpenError> {
    Err(OpenError::NotBuilt { device: "CUDA", feature: "cuda" })
}

#[cfg(feature = "vulkan")]
#[allow(clippy::unnecessary_wraps)]
fn vulkan(index: usize) -> Result<Device, OpenError> {
    Ok(Device::vulkan(burn::tensor::DeviceKind::DiscreteGpu(index)))
}

#[cfg(not(feature = "vulkan"))]
fn vulkan(_: usize) -> Result<Device, OpenError> {
    Err(OpenError::NotBuilt { device: "Vulkan", feature: "vulkan" })
}

#[cfg(feature = "metal")]
#[allow(clippy::unnecessary_wraps)]
fn metal() -> Result<Device, OpenError> {
    Ok(Device::metal(burn::tensor::DeviceKind::DefaultDevice))
}

#[cfg(not(feature = "metal"))]
fn metal() -> Result<Device, OpenError> {
    Err(OpenError::NotBuilt { device: "Metal", feature: "metal" })
}

#[cfg(test)]
mod tests {
    use super::open;
    use crate::Compute;

    #[test]
    fn the_cpu_is_always_there() {
        assert!(open(Compute::Cpu).is_ok());
    }

    #[cfg(not(feature = "cuda"))]
    #[test]
    fn a_device_that_was_not_built_names_its_feature() {
        let message = open(Compute::Cuda(0)).unwrap_err().to_string();
        assert!(message.contains("`cuda`"), "{message}");
    }
}
