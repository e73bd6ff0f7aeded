//! A spawned task that never outlives its owner.

use std::future::Future;

use tokio::task::JoinHandle;

/// A running task; dropping it ends the task at its next await.
#[derive(Debug)]
pub(crate) struct Task(JoinHandle<()>);

impl Task {
    /// Runs a future on the caller's runtime.
    pub(crate) fn spawn(future: impl Future<Output = ()> + Send + 'static) -> Self {
        Self(tokio::spawn(future))
    }

    /// Ends the task and waits until everything that it held is gone.
    pub(crate) async fn stop(mut self) {
        self.0.abort();
        // Either it was cancelled, or it had ended or panicked before: it is gone in any case.
        let _end = (&mut self.0).await;
    }
}

impl Drop for Task {
    fn drop(&mut self) {
        self.0.abort();
    }
}
