//! The HTTP API and the dashboard, over two ports that the wiring implements.
//!
//! Purpose: everything that a person or another program asks of Millstream over HTTP: health,
//! metrics, latest values, history, live events, samples in, the flows with their deliveries, alarms
//! and documents, and the page that shows it.
//!
//! Invariants, by module
//! - `backend`: B1–B3, what the port promises, first of all that a 2xx to an ingest means durable.
//! - `business`: U1–U4, the same of the flows: what was taken in is durable, all of it or nothing.
//! - `body`: Y1, Y2, memory is bounded before a body is read.
//! - `cloudevent`: W1, W2, an event is taken with all that was said of it, or refused.
//! - `known`: N1–N3, a name of line protocol means every time what it meant the first time.
//! - `serve`: V1–V3, connections are bounded and a slow peer is closed.
//! - `guard`: G1–G4, no stranger's page reaches the API.
//! - `encode`, `stream`, `event_stream`: E1, S1, S2, Z1–Z3, no answer is one long poll, no reader makes a queue grow.
//! - `routes` is the only list of calls; the router, the OpenAPI document and the check of query
//!   parameters are made from it.
//!
//! It deliberately knows no shard, log or source; no TLS and no token, which stand before it; and
//! it never blocks its thread, which is a shard's.

mod alarms;
mod assets;
mod backend;
mod batches;
mod body;
mod business;
mod cloudevent;
mod counters;
mod deliveries;
mod encode;
mod event_stream;
mod events;
mod failure;
mod flows;
mod guard;
mod history;
mod ingest;
mod io;
mod known;
pub mod limits;
mod line;
mod lists;
mod metrics;
mod named;
mod openapi;
mod pace;
mod problem;
mod query;
mod records;
mod requests;
mod router;
mod routes;
mod serve;
mod state;
mod stream;
mod system;
mod tags;

pub use backend::{
    BUCKETS_NS, Backend, CoreInfo, Cursor, Demo, GapInfo, IngestError, IngestSample, Latest, LogInfo, QueryError,
    ReceiveInfo, RollupRow, RollupsAnswer, RollupsQuery, Sample, SamplesAnswer, SamplesQuery, SourceInfo, StageInfo,
    TagBytes, TagMeta, Word,
};
pub use business::{
    Actor, Alarm, AlarmAction, AlarmLine, AlarmState, AlarmSummary, AlarmsQuery, Attempt, AuditLine, Batch, Breaker,
    DeadFilter, DeadLetter, DeadLettersQuery, DeadState, DeliveriesQuery, Delivery, DeliveryState, Event, EventsFrom,
    EventsGap, EventsPage, EventsQuery, Flow, FlowAnswer, FlowDetail, FlowError, FlowMeasure, FlowState, Flows,
    JournalMeasure, LastError, LatencyBucket, LinesQuery, Measures, Message, MessageKind, NewEvent, NewRecords, Noun,
    Page, Pattern, Period, Priority, Published, Record, RecordsQuery, Refusal, Reply, RequestCall, RequestFailure, Run,
    RunBatch, RunCause, SentRequest, ShelveKind, Shelved, Step, Trace, Written, WrongPlace,
};
pub use limits::Limits;
pub use router::{Service, router};
pub use serve::{Connection, serve};
