//! What an evaluation makes of the kernel that it is for.
//!
//! Some variables hold words of the kernel. A plain assignment that puts them beside other text (`MAKE="make -C
//! $kernel_source_dir"`) only makes another variable such a one; any other look at them, and any at the machine's files,
//! may decide anything. Where there was none, every other kernel takes the evaluation the same way, and what does not
//! hold words of the kernel comes out the same.

use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;

/// The variables that hold words of the kernel, and whether anything may have been decided by them.
#[derive(Debug, Default)]
pub(in crate::conf) struct Trace {
    /// A name stays here: what it is set to later on, or in another scope, is taken for a kernel's too.
    names: RefCell<BTreeSet<String>>,
    decided: Cell<bool>,
}

impl Trace {
    /// One that follows these variables.
    pub(in crate::conf) fn of(names: &[&str]) -> Self {
        let names = names.iter().map(|name| (*name).to_owned()).collect();
        Self { names: RefCell::new(names), decided: Cell::new(false) }
    }

    /// Whether a variable holds words of the kernel.
    pub(in crate::conf) fn follows(&self, name: &str) -> bool {
        self.names.borrow().contains(name)
    }

    /// Whether the kernel may have decided anything but the values of the variables that are followed.
    pub(in crate::conf) fn decided(&self) -> bool {
        self.decided.get()
    }

    /// A variable was read.
    pub(super) fn read(&self, name: &str) {
        if self.follows(name) {
            self.decide();
        }
    }

    /// Something was asked for that may be another thing for another kernel.
    pub(super) fn decide(&self) {
        self.decided.set(true);
    }

    /// Evaluates what a plain assignment gives a variable: that is followed from here on if it holds words of the kernel.
    pub(super) fn hand_on<T>(&self, name: &str, evaluate: impl FnOnce() -> T) -> T {
        let before = self.decided.replace(false);
        let value = evaluate();
        if self.decided.replace(before) {
            self.names.borrow_mut().insert(name.to_owned());
        }
        value
    }
}
