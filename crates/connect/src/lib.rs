//! Targets: where deliveries and requests go. HTTP, MQTT 5, NATS JetStream, folders and S3 object
//! stores, each behind [`Target`].
//!
//! Purpose: make one attempt, within its deadline, and say what is known of its effect. Who sends
//! what, when, how often, and what becomes of it is decided above (`delivery`, `request`).
//!
//! Invariants
//! - E1: an attempt ends at its deadline, whatever the other side does; nothing that it says makes
//!   us panic, and what is kept of it is bounded.
//! - E2: "nothing was sent" is said only where it is certain; everything after the first byte may
//!   have been written is in doubt ([`CallError::Lost`], [`CallError::Timeout`]).
//! - E3: no target tries again by itself: one call is one attempt. (A token that was refused is
//!   fetched once more: the refused attempt had no effect.)
//! - E4: a secret is in no text that this crate makes: [`SecretText`], headers marked sensitive,
//!   addresses shown without credentials.
//! - E5: an attempt goes to the place that the configuration names and nowhere else: no redirect,
//!   no proxy from the environment, no other origin by way of a field in a template.
//! - E6: a target that is down costs nobody else anything: every target has its own connections,
//!   and calls that wait for one are bounded by their deadlines.
//!
//! All futures run on one thread with a tokio runtime (a shard's lower lanes). What may block (files)
//! goes through [`Blocking`].
//!
//! It does not order, retry, count or store anything, evaluates no expression, reads no
//! configuration, no environment, no secret's file.

#![forbid(unsafe_code)]

mod call;
mod chain;
mod classify;
mod excerpt;
mod folder;
mod http;
mod link;
mod mqtt;
mod name;
mod nats;
mod retry_after;
mod secret;
mod sent;
mod store;
mod tls;

pub use call::{Call, CallError, Exchange, Refusal, Reply, Target};
pub use classify::{Conflict, classify};
pub use excerpt::{EXCERPT_BYTES_MAX, excerpt};
pub use folder::{Blocking, FolderSettings, FolderTarget};
pub use http::{Auth, HttpSettings, HttpTarget, OAuth2, SIGNATURE_HEADER, SIGNATURE_TIMESTAMP_HEADER, signature};
pub use mqtt::{MqttSettings, MqttTarget};
pub use nats::{NatsAuth, NatsSettings, NatsTarget};
pub use secret::SecretText;
pub use store::{StoreSettings, StoreTarget};
pub use tls::{Identity, Tls, install_tls_provider};
