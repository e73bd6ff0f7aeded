//! One value that several tasks use, behind a mutex that is never held over an await.
//!
//! Invariant: a panic while the value was held does not stop the plant; the value stays usable.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// A handle to a value shared by the plant's tasks.
#[derive(Debug)]
pub(crate) struct Shared<T>(Arc<Mutex<T>>);

impl<T> Shared<T> {
    /// Puts a value where several tasks can use it.
    pub(crate) fn new(value: T) -> Self {
        Self(Arc::new(Mutex::new(value)))
    }

    /// The value, for as long as the guard lives; never keep the guard over an await.
    pub(crate) fn lock(&self) -> MutexGuard<'_, T> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T> Clone for Shared<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}
