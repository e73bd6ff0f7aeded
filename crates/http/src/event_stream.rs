//! `/v1/events` as server-sent events (WHATWG HTML, section 9.2): every event, by offset.
//!
//! Events
//! - those of the journal: `id` is the offset, `event` the type, `data` the CloudEvents JSON.
//! - `gap`: `{"from","to"}`, offsets that retention took before this reader came to them.
//! - `failure`: a sentence; the stream ends behind it, and the reader comes back by itself.
//!
//! Invariants
//! - Z1: a reader holds its place as an offset and one page of [`STREAM_EVENTS_PER_PAGE`] events;
//!   a slow one reads on from the log later, it never makes a queue grow.
//! - Z2: no event is left out unsaid: what retention took is a `gap`.
//! - Z3: nothing newer costs no look: the next page is asked for when there is something.

use crate::{
    business::{Event, EventsFrom, EventsGap, EventsPage, EventsQuery, FlowAnswer, FlowError},
    encode::{csv_plain, to_json},
    limits::STREAM_EVENTS_PER_PAGE,
    problem::Problem,
    state::App,
    stream,
};
use axum::{
    body::{Body, Bytes},
    http::header,
    response::{IntoResponse, Response},
};
use serde_json::json;
use std::{collections::VecDeque, convert::Infallible, time::Duration};
use tokio::{sync::watch, time::Instant};

/// Waits after a look that found nothing though it was called, and while the port is busy.
const PAUSE: Duration = Duration::from_millis(100);
/// Events that are written in one poll.
const EVENTS_PER_PIECE: usize = 16;

/// Answers a stream that begins at a place.
///
/// # Errors
/// A [`Problem`] where too many streams are open.
pub(crate) fn follow(app: App, from: EventsFrom, kind: Option<String>) -> Result<Response, Problem> {
    let seat = stream::Seat::take(&app)?;
    let reader = Reader {
        stopping: app.stopping.subscribe(),
        app,
        from,
        kind,
        page: VecDeque::new(),
        called: None,
        awaited: false,
        written: Instant::now(),
        state: State::New,
        _seat: seat,
    };
    let body = Body::from_stream(futures_util::stream::unfold(reader, |mut reader| async move {
        reader.next().await.map(|bytes| (Ok::<Bytes, Infallible>(bytes), reader))
    }));
    let headers = [(header::CONTENT_TYPE, "text/event-stream"), (header::CACHE_CONTROL, "no-store")];
    Ok((headers, body).into_response())
}

#[derive(PartialEq)]
enum State {
    New,
    Open,
    Ended,
}

/// One reader.
struct Reader {
    app: App,
    from: EventsFrom,
    kind: Option<String>,
    page: VecDeque<Event>,
    /// Resolves when there is something newer; kept over heartbeats.
    called: Option<FlowAnswer<()>>,
    /// The look that follows was called for.
    awaited: bool,
    written: Instant,
    state: State,
    stopping: watch::Receiver<bool>,
    _seat: stream::Seat,
}

/// What a reader does next.
enum Turn {
    Write(Bytes),
    Again,
    End,
}

impl Reader {
    /// The next bytes; `None` at the end.
    async fn next(&mut self) -> Option<Bytes> {
        match self.state {
            State::New => {
                self.state = State::Open;
                return Some(Bytes::from_static(b"retry: 2000\n\n"));
            }
            State::Open => {}
            State::Ended => return None,
        }
        loop {
            if !self.page.is_empty() {
                self.written = Instant::now();
                tokio::task::yield_now().await;
                return Some(self.piece());
            }
            let alive = self.written + self.app.limits.heartbeat;
            let mut stopping = self.stopping.clone();
            let turn = tokio::select! {
                biased;
                _ = stopping.wait_for(|stopping| *stopping) => Turn::End,
                () = tokio::time::sleep_until(alive) => Turn::Write(Bytes::from_static(b": alive\n\n")),
                turn = self.turn() => turn,
            };
            match turn {
                Turn::Write(bytes) => {
                    self.written = Instant::now();
                    return Some(bytes);
                }
                Turn::Again => tokio::task::yield_now().await,
                Turn::End => return None,
            }
        }
    }

    /// Waits for something newer where that is to be done, else reads the next page. May be
    /// dropped at any await: what it keeps stays right.
    async fn turn(&mut self) -> Turn {
        if let Some(called) = self.called.as_mut() {
            let outcome = called.await;
            self.called = None;
            self.awaited = true;
            return match outcome {
                Ok(()) => Turn::Again,
                Err(error) => self.failed(error).await,
            };
        }
        let asked = EventsQuery { from: self.from, limit: STREAM_EVENTS_PER_PAGE, kind: self.kind.clone() };
        match self.app.flows.events(asked).await {
            Ok(page) => self.take(page).await,
            Err(error) => self.failed(error).await,
        }
    }

    async fn take(&mut self, page: EventsPage) -> Turn {
        let EventsPage { events, next, gap } = page;
        let stood = self.from == EventsFrom::Offset(next);
        self.from = EventsFrom::Offset(next);
        let nothing = events.is_empty();
        self.page = events.into();
        if let Some(gap) = gap {
            return Turn::Write(gap_bytes(gap));
        }
        if nothing && stood {
            self.called = Some(self.app.flows.wait_events(next));
            if std::mem::take(&mut self.awaited) {
                tokio::time::sleep(PAUSE).await;
            }
        }
        if !nothing {
            self.awaited = false;
        }
        Turn::Again
    }

    async fn failed(&mut self, error: FlowError) -> Turn {
        match error {
            FlowError::Busy => {
                tokio::time::sleep(PAUSE).await;
                Turn::Again
            }
            FlowError::Closed => Turn::End,
            other => {
                tracing::error!(error = %other, "an event stream ends");
                self.state = State::Ended;
                Turn::Write(format!("event: failure\ndata: {}\n\n", json!(other.to_string())).into())
            }
        }
    }

    fn piece(&mut self) -> Bytes {
        let mut out = Vec::with_capacity(1024);
        let count = self.page.len().min(EVENTS_PER_PIECE);
        for event in self.page.drain(..count) {
            let kind: String = event.kind.chars().filter(|c| !c.is_control()).collect();
            csv_plain(format_args!("id: {}\nevent: {kind}\ndata: ", event.offset), &mut out);
            // JSON of ours has no line end in it, so one data line holds it.
            to_json(&event, &mut out);
            out.extend_from_slice(b"\n\n");
        }
        out.into()
    }
}

/// Its id makes a reader that reconnects go on at the oldest that is kept.
fn gap_bytes(gap: EventsGap) -> Bytes {
    let data = json!({ "from": gap.from, "to": gap.to });
    format!("id: {}\nevent: gap\ndata: {data}\n\n", gap.to.saturating_sub(1)).into()
}
