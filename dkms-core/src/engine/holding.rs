//! Notes that a person takes something away, so that nobody puts it back (design.md, state `held`).

use super::{Engine, Order, now_in_seconds};
use crate::error::Result;
use crate::event::Sink;
use crate::model::{KernelId, PackageId};
use crate::tree::holds;

/// A hold while what it is for is taken away. It begins with the locks in hand under which those who put packages back ask
/// for holds, so that what waits for a lock, or is stopped there, holds nothing.
#[must_use = "what was not taken away must not stay held"]
pub(super) struct Holding<'a> {
    engine: &'a Engine,
    package: &'a PackageId,
    /// None: on all.
    kernel: Option<&'a KernelId>,
    order: &'a Order,
    /// Whether it is a new one. None: nobody took it away by hand.
    begun: Option<Result<bool>>,
}

impl<'a> Holding<'a> {
    pub(super) fn begin(
        engine: &'a Engine,
        package: &'a PackageId,
        kernel: Option<&'a KernelId>,
        order: &'a Order,
    ) -> Self {
        let mut holding = Self { engine, package, kernel, order, begun: None };
        // A disk that is full is no reason to keep a package: what goes makes room.
        holding.begun = order.by_hand.then(|| holding.hold());
        holding
    }

    fn hold(&self) -> Result<bool> {
        holds::hold(&self.engine.layout, self.package, self.kernel, self.order.uid, now_in_seconds())
    }

    /// `taken`: something was taken away, be it not all. Nothing stays held otherwise.
    pub(super) fn end(self, taken: bool, sink: &mut dyn Sink) {
        let Self { engine: Engine { layout, .. }, package, kernel, .. } = self;
        let noted = match &self.begun {
            Some(Err(_)) if taken => self.hold().map(drop),
            Some(Ok(true)) if !taken => holds::retain(layout, |h| h.package != *package || h.kernel.as_ref() != kernel),
            // One for all kernels says what those for one say.
            Some(Ok(_)) if taken && kernel.is_none() => {
                holds::retain(layout, |h| h.package != *package || h.kernel.is_none())
            }
            _ => Ok(()),
        };
        if let Err(error) = noted {
            let what = if taken { "may be put back by itself" } else { "is held until it is installed by hand" };
            sink.warn(format!("{package} {what}: {error}"));
        }
    }
}
