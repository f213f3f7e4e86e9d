//! What machine this is: distribution, kernels, whether their headers are ready, who holds the package manager.

pub mod chroot;
pub mod distro;
pub mod headers;
pub mod kconfig;
pub mod kernel_choice;
pub mod kernels;
pub mod other_root;
pub mod package_manager;
pub(crate) mod process;
pub mod resolve;
pub mod secure_boot;
pub mod users;

pub use process::Owner;
