//! A connection that gives up on a peer which takes nothing.

use crate::state::App;
use hyper::rt::{Read, ReadBufCursor, Write};
use std::{
    io,
    pin::Pin,
    task::{Context, Poll},
};
use tokio::time::{Instant, Sleep};

/// Passes bytes on, with a pause around each system call ([`crate::backend::Backend::pause`]). A write that makes
/// no progress for the idle timeout fails, so that a reader that went to sleep does not hold its connection and
/// buffers for ever.
pub(crate) struct Patient<T> {
    inner: T,
    app: App,
    /// Armed while a write waits.
    deadline: Option<Pin<Box<Sleep>>>,
}

impl<T> Patient<T> {
    pub(crate) fn new(inner: T, app: App) -> Patient<T> {
        Patient { inner, app, deadline: None }
    }

    /// Arms, or checks, the deadline of a write that is pending; disarms it after progress.
    fn hold<R>(&mut self, outcome: Poll<io::Result<R>>, cx: &mut Context<'_>) -> Poll<io::Result<R>> {
        if outcome.is_ready() {
            self.deadline = None;
            return outcome;
        }
        let until = Instant::now() + self.app.limits.idle_timeout;
        let deadline = self.deadline.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(until)));
        match deadline.as_mut().poll(cx) {
            Poll::Ready(()) => Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "the peer takes nothing"))),
            Poll::Pending => Poll::Pending,
        }
    }
}

impl<T: Read + Unpin> Read for Patient<T> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: ReadBufCursor<'_>) -> Poll<io::Result<()>> {
        self.app.pause();
        let read = Pin::new(&mut self.inner).poll_read(cx, buffer);
        self.app.pause();
        read
    }
}

impl<T: Write + Unpin> Write for Patient<T> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.app.pause();
        let outcome = Pin::new(&mut self.inner).poll_write(cx, bytes);
        self.app.pause();
        self.hold(outcome, cx)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let outcome = Pin::new(&mut self.inner).poll_shutdown(cx);
        self.hold(outcome, cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffers: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.app.pause();
        let outcome = Pin::new(&mut self.inner).poll_write_vectored(cx, buffers);
        self.app.pause();
        self.hold(outcome, cx)
    }
}
