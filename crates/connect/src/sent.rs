//! Whether an attempt may have had an effect already: set before the first byte of it can leave.

use std::sync::{Arc, Mutex, PoisonError};

/// A mark that the attempt and whoever writes its bytes share. A lock and not a cell, because
/// clients move a body to a task of their own.
#[derive(Clone, Debug, Default)]
pub(crate) struct Sent(Arc<Mutex<bool>>);

impl Sent {
    /// From here on the other side may have it.
    pub(crate) fn set(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = true;
    }

    /// What was sent is known to have had no effect.
    pub(crate) fn clear(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = false;
    }

    /// May the other side have it?
    pub(crate) fn is_set(&self) -> bool {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
