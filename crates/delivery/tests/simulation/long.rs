//! A million items behind an outage.

use crate::target::{MS, S};
use delivery::{Action, BACKLOG_AGE_NS, Consumer, DeliveryId, End, Item, Offset, Outcome, Policy};
use model::TimestampNs;
use std::collections::VecDeque;

const ITEMS: u64 = 1_000_000;
const OUTAGE: i64 = 3_600 * S;
const KEYS: u64 = 997;
const RATE: u32 = 2_000;

fn item(n: u64) -> Item {
    // published evenly over the outage
    Item { offset: Offset(n), key: n % KEYS, time: TimestampNs(n as i64 * (OUTAGE / ITEMS as i64)), bytes: 100 }
}

/// A consumer whose items came over one hour, with calls of 2 ms.
struct Line {
    consumer: Consumer,
    next: u64,
    calls: VecDeque<(i64, DeliveryId)>,
    ends: Vec<(DeliveryId, i64)>,
    last_of_key: Vec<u64>,
    is_up_from: i64,
    starts_while_down: u64,
    aged_starts: Vec<u32>,
    polls: u64,
}

impl Line {
    fn new(policy: Policy, is_up_from: i64) -> Line {
        Line {
            consumer: Consumer::new(policy, 1),
            next: 1,
            calls: VecDeque::new(),
            ends: Vec::new(),
            last_of_key: vec![0; KEYS as usize],
            is_up_from,
            starts_while_down: 0,
            aged_starts: vec![0; 3 * OUTAGE as usize / S as usize],
            polls: 0,
        }
    }

    fn run_at(&mut self, now: i64) {
        let mut out = Vec::new();
        while self.calls.front().is_some_and(|(at, _)| *at <= now) {
            let Some((_, id)) = self.calls.pop_front() else { break };
            let down = Outcome::Unavailable { retry_after_ns: None };
            let outcome = if now >= self.is_up_from { Outcome::Delivered } else { down };
            self.consumer.on_outcome(id, outcome, TimestampNs(now), &mut out);
        }
        while self.next <= ITEMS && item(self.next).time.0 <= now && self.consumer.room() > 0 {
            self.consumer.offer(item(self.next), TimestampNs(now)).expect("there is room");
            self.next += 1;
        }
        assert!(self.consumer.len() <= 4_096);
        self.consumer.poll(TimestampNs(now), &mut out);
        self.polls += 1;
        for action in out {
            match action {
                Action::Start { id, .. } => {
                    self.starts_while_down += u64::from(now < self.is_up_from);
                    if now - item(id.offset.0).time.0 > BACKLOG_AGE_NS {
                        self.aged_starts[(now / S) as usize] += 1;
                    }
                    let takes = if now >= self.is_up_from && self.is_up_from == 0 { 0 } else { 2 * MS };
                    self.calls.push_back((now + takes, id));
                }
                Action::Settled(settled) => {
                    assert_eq!(settled.end, End::Delivered, "an outage makes no dead letter");
                    let last = &mut self.last_of_key[(settled.id.offset.0 % KEYS) as usize];
                    assert!(settled.id.offset.0 > *last, "in order per key");
                    *last = settled.id.offset.0;
                    self.ends.push((settled.id, now));
                }
                Action::Attempted(attempted) => assert_eq!(attempted.counted, 0),
            }
        }
    }

    fn next_at(&self, now: i64) -> Option<i64> {
        let published = (self.next <= ITEMS && self.consumer.room() > 0).then(|| item(self.next).time.0.max(now));
        let due = self.consumer.deadline(TimestampNs(now)).map(|due| due.0);
        self.calls.front().map(|(at, _)| *at).into_iter().chain(published).chain(due).min()
    }
}

#[test]
fn a_backlog_of_an_hour_drains_in_order_and_holds_nobody_else_up() {
    let policy = Policy { rate_per_s: Some(RATE), ..Policy::default() };
    let mut down = Line::new(policy.clone(), OUTAGE);
    let mut beside = Line::new(policy, 0);
    let (mut now, mut rounds) = (0, 0_u64);
    while let Some(next) = down.next_at(now).into_iter().chain(beside.next_at(now)).min() {
        now = next;
        down.run_at(now);
        beside.run_at(now);
        rounds += 1;
        assert!(rounds < 10 * ITEMS, "the driver goes round and round at {now}");
    }
    let last = down.ends.last().expect("something ended").1;
    println!(
        "drained {} items in {} s after the outage, {} starts while it lasted; {} polls",
        down.ends.len(),
        (last - OUTAGE) / S,
        down.starts_while_down,
        down.polls
    );
    assert_eq!(down.ends.len() as u64, ITEMS);
    assert_eq!(down.consumer.low(), Offset(ITEMS));
    // five that open the breaker and those that were under way with them, then trials, ever rarer
    assert!(down.starts_while_down < 50, "{}", down.starts_while_down);
    let burst = RATE / 10 + 1;
    assert!(down.aged_starts.iter().all(|starts| *starts <= RATE + burst), "{:?}", down.aged_starts.iter().max());
    // at the rate, but for the wait of the breaker's last trial and the tail of newer ones
    assert!(last - OUTAGE < (ITEMS / u64::from(RATE) + 320) as i64 * S);
    assert_eq!(beside.ends.len() as u64, ITEMS);
    assert!(beside.ends.iter().all(|(id, at)| *at == item(id.offset.0).time.0), "what is up has no delay");
}
