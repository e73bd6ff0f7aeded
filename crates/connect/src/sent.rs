//! Whether an attempt may have had an effect already: set before the first byte of it can leave.

use std::cell::Cell;
use std::rc::Rc;

/// A mark that the attempt and whoever writes its bytes share.
#[derive(Clone, Debug, Default)]
pub(crate) struct Sent(Rc<Cell<bool>>);

impl Sent {
    /// From here on the other side may have it.
    pub(crate) fn set(&self) {
        self.0.set(true);
    }

    /// What was sent is known to have had no effect.
    pub(crate) fn clear(&self) {
        self.0.set(false);
    }

    /// May the other side have it?
    pub(crate) fn is_set(&self) -> bool {
        self.0.get()
    }
}
