//! What a dkms.conf says whichever kernel it is read for, so that a look at many kernels reads it once.
//!
//! Proven, not guessed: the evaluation for one kernel is followed ([`Trace`]). Where nothing but the values of some
//! directives came from the kernel's name, it takes the same way for every other kernel with a plain name.

use std::collections::BTreeSet;
use std::rc::Rc;

use super::native::Trace;
use super::{EvalInput, Evaluator, Scope, Values};
use crate::error::Result;
use crate::model::KernelId;

/// The variables that hold words of the kernel.
const OF_THE_KERNEL: [&str; 3] = ["kernelver", "arch", "kernel_source_dir"];

/// What holds for every kernel with a plain name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Common {
    /// The values of the directives that are the same for each.
    pub(super) values: Values,
    /// The directives that may have other values for another kernel; none of them is among the values.
    pub(super) varying: BTreeSet<&'static str>,
}

/// Whether a kernel's name means nothing to bash wherever it stands: only such kernels have something in common.
pub(super) fn is_plain(kernel: &KernelId) -> bool {
    let plain = |word: &str| word.bytes().all(|c| c.is_ascii_alphanumeric() || b"._+-".contains(&c));
    plain(kernel.release.as_str()) && plain(kernel.arch.as_str())
}

impl Evaluator {
    /// What holds for every kernel with a plain name, found out with one of them; none where the kernel may decide
    /// more than the values of some directives, or where only bash can answer.
    ///
    /// # Errors
    /// As [`Evaluator::evaluate_without_bash`].
    pub(super) fn common(&self, input: &EvalInput<'_>) -> Result<Option<Common>> {
        if !is_plain(input.kernel) {
            return Ok(None);
        }
        let trace = Rc::new(Trace::of(&OF_THE_KERNEL));
        let scope = Scope { trace: Rc::clone(&trace), ..Scope::new(input) };
        let Some(mut values) = self.run(scope, input, None)?.filter(|_| !trace.decided()) else { return Ok(None) };
        let names = super::directive::DIRECTIVES.iter().copied();
        let varying: BTreeSet<_> = names.filter(|name| trace.follows(name)).collect();
        values.0.retain(|name, _| !varying.contains(name.as_str()));
        Ok(Some(Common { values, varying }))
    }
}

#[cfg(test)]
#[path = "common_tests.rs"]
mod tests;
