//! Answers that may stand in, marked, while a system is down.
//!
//! Invariants
//! - H1: only good answers (2xx) to calls that cannot be writes (RFC 9110, 9.2.1) are kept.
//! - H2: what is older than the age allowed, or from the future, is not given.
//! - H3: entries and their bytes are bounded; what was used longest ago goes first.
//! - H4: keys are 128 bits of two differently seeded hashes; so one call's answer is not given to
//!   another one by chance, and who does not know the seed cannot bring it about.
//!
//! It is never asked before the system is: its owner asks after a failure, where the flow allows it.

use model::TimestampNs;
use serde::Serialize;
use std::{
    collections::{BTreeMap, HashMap},
    hash::{DefaultHasher, Hasher},
    sync::Arc,
};

/// Answers kept for one request.
pub const CACHE_ENTRIES_MAX: usize = 1_024;
/// Bytes of answers kept for one request: 8 MiB.
pub const CACHE_BYTES_MAX: usize = 8 << 20;
/// Bytes of one answer that is kept: 1 MiB; a longer one is not.
pub const CACHE_ENTRY_BYTES_MAX: usize = 1 << 20;
/// What an entry costs beside its body and type, in bytes.
const ENTRY_OVERHEAD_BYTES: usize = 128;

/// An answer as the system gave it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// HTTP status.
    pub status: u16,
    /// Media type; empty where it said none.
    pub content_type: String,
    /// Body.
    pub body: Vec<u8>,
}

/// A call, as a hash.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct CacheKey([u64; 2]);

/// An answer of before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stale {
    /// How long ago the system gave it, ns.
    pub age_ns: u64,
    /// That answer.
    pub answer: Arc<Answer>,
}

/// What a stale answer says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Mark {
    /// Always true.
    pub stale: bool,
    /// Its age, ms.
    pub age_ms: u64,
}

impl Stale {
    /// The mark that goes with it.
    #[must_use]
    pub fn mark(&self) -> Mark {
        Mark { stale: true, age_ms: self.age_ns / 1_000_000 }
    }
}

struct Entry {
    answer: Arc<Answer>,
    at: TimestampNs,
    used: u64,
}

impl Entry {
    fn bytes(&self) -> usize {
        bytes_of(&self.answer)
    }
}

fn bytes_of(answer: &Answer) -> usize {
    answer.body.len() + answer.content_type.len() + ENTRY_OVERHEAD_BYTES
}

/// The answers kept for one request.
pub struct Cache {
    age_max_ns: u64,
    seed: u64,
    entries: HashMap<CacheKey, Entry>,
    /// Keys by last use.
    by_use: BTreeMap<u64, CacheKey>,
    uses: u64,
    bytes: usize,
}

impl Cache {
    /// An empty one; `age_max_ns` is how old an answer may be, `seed` makes its hashes its own.
    #[must_use]
    pub fn new(age_max_ns: u64, seed: u64) -> Cache {
        Cache { age_max_ns, seed, entries: HashMap::new(), by_use: BTreeMap::new(), uses: 0, bytes: 0 }
    }

    /// The key of a call; `None` where its method can be a write: such answers are never kept.
    #[must_use]
    pub fn key(&self, method: &str, url: &str, body: &[u8]) -> Option<CacheKey> {
        is_safe_method(method).then(|| {
            CacheKey([0, 1].map(|half| {
                let mut hasher = DefaultHasher::new();
                hasher.write_u64(self.seed ^ half);
                for part in [method.as_bytes(), url.as_bytes(), body] {
                    hasher.write_u64(part.len() as u64);
                    hasher.write(part);
                }
                hasher.finish()
            }))
        })
    }

    /// Keeps a good answer (any other changes nothing), and forgets those used longest ago where there is no room.
    pub fn put(&mut self, key: CacheKey, answer: Answer, now: TimestampNs) {
        if !(200..300).contains(&answer.status) {
            return;
        }
        self.remove(key);
        if bytes_of(&answer) > CACHE_ENTRY_BYTES_MAX {
            return;
        }
        self.uses += 1;
        let entry = Entry { answer: Arc::new(answer), at: now, used: self.uses };
        self.bytes += entry.bytes();
        self.by_use.insert(entry.used, key);
        self.entries.insert(key, entry);
        while self.entries.len() > CACHE_ENTRIES_MAX || self.bytes > CACHE_BYTES_MAX {
            let Some((_, oldest)) = self.by_use.first_key_value() else { return };
            self.remove(*oldest);
        }
    }

    /// What was answered before, if it is young enough.
    pub fn get(&mut self, key: CacheKey, now: TimestampNs) -> Option<Stale> {
        let entry = self.entries.get_mut(&key)?;
        let age = u64::try_from(now.0.saturating_sub(entry.at.0)).ok();
        let Some(age_ns) = age.filter(|age| *age <= self.age_max_ns) else {
            self.remove(key);
            return None;
        };
        self.by_use.remove(&entry.used);
        self.uses += 1;
        entry.used = self.uses;
        self.by_use.insert(entry.used, key);
        Some(Stale { age_ns, answer: Arc::clone(&entry.answer) })
    }

    fn remove(&mut self, key: CacheKey) {
        if let Some(entry) = self.entries.remove(&key) {
            self.by_use.remove(&entry.used);
            self.bytes -= entry.bytes();
        }
    }

    /// How many answers it keeps.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether it keeps none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Bytes that it holds.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes
    }
}

/// Whether a method asks for nothing to be changed: the safe ones of RFC 9110, 9.2.1, and `QUERY`.
#[must_use]
pub fn is_safe_method(method: &str) -> bool {
    ["GET", "HEAD", "OPTIONS", "QUERY"].contains(&method)
}
