//! What is recorded of every device write and every change by a person.
//!
//! A write has two lines: `intended`, durable before anything is sent, and one that says what came of
//! it. An `intended` without a second line is a write that a crash left open.

use crate::value::time;
use model::TimestampNs;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// What came of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum AuditOutcome {
    /// About to be done.
    Intended,
    /// Done; nothing was read back.
    Done,
    /// Done, and read back as written.
    Verified,
    /// Done, and another value was read back.
    Mismatch,
    /// Refused here; nothing was sent.
    Refused,
    /// The other side refused or failed; nothing was changed as far as it says.
    Failed,
    /// Sent, and no answer: it may or may not have taken effect.
    Unknown,
}

/// One line of the audit record (IEC 62443-4-2 CR 2.8: time, source, category, result).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Audit {
    /// When.
    #[serde(with = "time")]
    pub time: TimestampNs,
    /// Who: a person's or token's name, or `revert` for a value that went back by itself.
    pub who: String,
    /// Name of the request or flow; its id where it has one.
    pub request: String,
    /// What was written to or changed: path of a tag, name of a flow.
    pub target: String,
    /// What was there.
    pub before: Option<Value>,
    /// What was wanted.
    pub wanted: Option<Value>,
    /// What is there now, as far as it was read back.
    pub after: Option<Value>,
    /// What came of it.
    pub outcome: AuditOutcome,
    /// In words; empty where there is no more to say.
    pub detail: String,
}
