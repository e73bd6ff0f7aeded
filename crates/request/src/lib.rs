//! Request/reply as pure state machines: deadline, bulkhead, breaker, stale answers, the safety envelope of device writes.
