//! The one module with unsafe code: system calls whose safety is a matter of when they are made.

use std::io;

use rustix::thread::UnshareFlags;

/// Leaves the given namespaces.
///
/// # Errors
/// The system's own, `EPERM` where namespaces are refused.
pub(crate) fn unshare(flags: UnshareFlags) -> io::Result<()> {
    debug_assert!(!flags.contains(UnshareFlags::FILES));
    // SAFETY: only CLONE_FILES is dangerous (descriptors owned by one thread may be closed by another); it is never passed.
    #[expect(unsafe_code, reason = "rustix marks unshare unsafe because of CLONE_FILES alone")]
    unsafe { rustix::thread::unshare_unsafe(flags) }.map_err(Into::into)
}
