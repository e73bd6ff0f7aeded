//! One connection: one request at a time, moved by the call that uses it.

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker};

use bytes::{Bytes, BytesMut};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use tokio::time::Sleep;

use crate::call::CallError;
use crate::chain::chain;
use crate::http::answer::Answer;
use crate::http::transport::{Transport, Watcher};
use crate::sent::Sent;

/// The end of an attempt's time: one timer for all of it.
pub(super) type Deadline<'a> = Pin<&'a mut Sleep>;

/// Why a request has no answer.
pub(super) enum NotBegun {
    /// The connection was gone before it was touched: here it is, and why.
    Unsent(Box<Request<Full<Bytes>>>, String),
    /// It may have been sent, or there is no time left.
    Failed(CallError),
}

/// An open connection. It moves only while somebody polls one of its methods.
pub(super) struct Connection {
    sender: http1::SendRequest<Full<Bytes>>,
    driver: Driver,
    watcher: Watcher,
}

/// What moves the bytes; not polled again once it has ended.
struct Driver {
    connection: http1::Connection<TokioIo<Transport>, Full<Bytes>>,
    ended: bool,
}

impl Driver {
    fn turn(&mut self, cx: &mut Context<'_>) {
        if !self.ended {
            self.ended = Pin::new(&mut self.connection).poll(cx).is_ready();
        }
    }

    /// Takes turns with what waits for the connection, until that is done; `None` at the deadline.
    async fn until_done<T>(&mut self, deadline: &mut Deadline<'_>, work: impl Future<Output = T>) -> Option<T> {
        let mut work = pin!(work);
        poll_fn(|cx| {
            if let Poll::Ready(done) = work.as_mut().poll(cx) {
                return Poll::Ready(Some(done));
            }
            self.turn(cx);
            match work.as_mut().poll(cx) {
                Poll::Ready(done) => Poll::Ready(Some(done)),
                Poll::Pending => deadline.as_mut().poll(cx).map(|()| None),
            }
        })
        .await
    }
}

impl Connection {
    pub(super) async fn new(transport: Transport, watcher: Watcher) -> Result<Self, CallError> {
        let (sender, connection) =
            http1::handshake(TokioIo::new(transport)).await.map_err(|error| CallError::unreachable(chain(&error)))?;
        Ok(Self { sender, driver: Driver { connection, ended: false }, watcher })
    }

    /// Whether a request may go over it now: the other side has neither closed it nor said
    /// anything unasked since. Nobody is woken for it: a call that waits turns the connection again,
    /// and one that is kept waits for nothing.
    pub(super) fn is_fit(&mut self) -> bool {
        self.driver.turn(&mut Context::from_waker(Waker::noop()));
        !self.driver.ended && self.sender.is_ready()
    }

    /// Sends a request, up to the answer's head.
    pub(super) async fn begin(
        &mut self,
        request: Request<Full<Bytes>>,
        sent: &Sent,
        deadline: &mut Deadline<'_>,
    ) -> Result<Response<Incoming>, NotBegun> {
        self.watcher.replace(sent.clone());
        let answer = self.driver.until_done(deadline, self.sender.try_send_request(request)).await;
        let Some(answer) = answer else { return Err(NotBegun::Failed(CallError::Timeout { sent: sent.is_set() })) };
        answer.map_err(|mut failed| match (sent.is_set(), failed.take_message()) {
            (false, Some(request)) => NotBegun::Unsent(Box::new(request), chain(failed.error())),
            (false, None) => NotBegun::Failed(CallError::unreachable(chain(failed.error()))),
            (true, _) => NotBegun::Failed(CallError::lost(chain(failed.error()))),
        })
    }

    /// Reads an answer's body up to a cap and the deadline.
    pub(super) async fn finish(
        &mut self,
        answer: Response<Incoming>,
        bytes_max: usize,
        deadline: &mut Deadline<'_>,
    ) -> Result<Answer, CallError> {
        let (head, body) = answer.into_parts();
        let mut kept = Kept { bytes_max, first: Bytes::new(), more: BytesMut::new() };
        let complete = match self.driver.until_done(deadline, kept.read(body)).await {
            Some(Ok(complete)) => complete,
            None => false,
            Some(Err(error)) => {
                let what = format!("the answer {} broke off: {}", head.status.as_u16(), chain(&error));
                return Err(CallError::lost(what));
            }
        };
        Ok(Answer { head, body: kept.into_bytes(), complete })
    }
}

/// What is kept of a body.
struct Kept {
    bytes_max: usize,
    /// Most answers are of one piece, which is kept as it is.
    first: Bytes,
    more: BytesMut,
}

impl Kept {
    /// Reads up to the cap; answers whether that is all of it.
    async fn read(&mut self, mut body: Incoming) -> Result<bool, hyper::Error> {
        while let Some(frame) = body.frame().await.transpose()? {
            let Ok(mut chunk) = frame.into_data() else { continue };
            let room = self.bytes_max - self.first.len() - self.more.len();
            let fits = chunk.len() <= room;
            chunk.truncate(room);
            if self.first.is_empty() && self.more.is_empty() {
                self.first = chunk;
            } else {
                self.more.extend_from_slice(&std::mem::take(&mut self.first));
                self.more.extend_from_slice(&chunk);
            }
            if !fits {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn into_bytes(self) -> Bytes {
        if self.more.is_empty() { self.first } else { self.more.freeze() }
    }
}
