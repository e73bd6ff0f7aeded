//! The rules of the engine, one by one.

mod bench;
mod breaker;
mod clock;
mod order;
mod outage;
mod probe;
mod properties;
mod recovery;
mod retry;
mod window;
