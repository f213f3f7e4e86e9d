//! What machine this is: distribution, kernels, whether their headers are ready, who holds the package manager.

pub mod kconfig;
pub mod users;
