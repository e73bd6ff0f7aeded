//! The delivery engine: order per key, retries, breaker, dead letters, as a pure state machine.
