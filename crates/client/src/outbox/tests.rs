//! The outbox against a server that writes down what it hears.

use super::*;
use frame::{FrameError, Samples, Splitter, StoredSample};
use proptest::prelude::*;

const PRODUCER: ProducerId = ProducerId(9);

fn push(outbox: &mut Outbox, samples: usize) -> Result<Sequence, OutboxError> {
    let sample = StoredSample { source_time_ns: 1, value: 2, tag: 3, quality: 0 };
    let payload = Samples { samples: vec![sample; samples] };
    outbox.push(|builder, producer, sequence| builder.samples(producer, sequence, &payload).map(drop))
}

/// What one connection of a server has heard: sequences, in order.
#[derive(Default)]
struct Heard {
    splitter: Splitter,
    sequences: Vec<u64>,
}

impl Heard {
    fn write(&mut self, outbox: &mut Outbox, at_most: usize) {
        let bytes = outbox.unsent();
        let bytes = &bytes[..at_most.min(bytes.len())];
        self.splitter
            .push::<FrameError>(bytes, |frame| {
                assert_eq!(frame.producer(), PRODUCER);
                self.sequences.push(frame.sequence().0);
                Ok(())
            })
            .expect("frames go out whole and in order");
        let count = bytes.len();
        outbox.sent(count);
    }
}

#[test]
fn keeps_until_acknowledged_and_then_reuses_its_memory() {
    let mut outbox = Outbox::new(PRODUCER, true, 400, 2_000);
    outbox.start_after(Sequence(41));
    let mut count = 0;
    while push(&mut outbox, 5).is_ok() {
        count += 1;
    }
    assert!(outbox.bytes() >= 2_000 && !outbox.has_room());
    let mut heard = Heard::default();
    while outbox.unsent_bytes() > 0 {
        heard.write(&mut outbox, 100);
    }
    assert_eq!(heard.sequences.first(), Some(&42));
    assert_eq!(heard.sequences.len(), count);
    assert_eq!(push(&mut outbox, 5), Err(OutboxError::Full));
    assert_eq!(outbox.acknowledge(outbox.last()), Ok(true));
    assert_eq!((outbox.bytes(), outbox.acknowledge(Sequence(42))), (0, Ok(false)));
    let free = outbox.free.len();
    assert!(free > 1 && push(&mut outbox, 5).is_ok());
    assert_eq!(outbox.free.len(), free - 1);
}

#[test]
fn an_acknowledgement_of_what_was_not_sent_is_not_believed() {
    let mut outbox = Outbox::new(PRODUCER, true, 10_000, 100_000);
    for _ in 0..3 {
        push(&mut outbox, 1).expect("room");
    }
    let first = outbox.unsent().len() / 3;
    outbox.sent(first + 5);
    assert_eq!(outbox.acknowledge(Sequence(1)), Ok(true));
    let ahead = OutboxError::Ahead { theirs: Sequence(2), ours: Sequence(1) };
    assert_eq!(outbox.acknowledge(Sequence(2)), Err(ahead));
    assert!(matches!(outbox.rewind(Sequence(4)), Err(OutboxError::Ahead { .. })));
}

#[test]
fn without_acknowledgements_a_frame_cut_in_half_is_sent_again() {
    let mut outbox = Outbox::new(PRODUCER, false, 10_000, 100_000);
    for _ in 0..3 {
        push(&mut outbox, 2).expect("room");
    }
    let frame = outbox.unsent().len() / 3;
    let mut heard = Heard::default();
    heard.write(&mut outbox, frame + 7);
    assert_eq!(outbox.rewind(Sequence(0)), Ok(0));
    let mut again = Heard::default();
    while outbox.unsent_bytes() > 0 {
        again.write(&mut outbox, 50);
    }
    assert_eq!((heard.sequences, again.sequences), (vec![1], vec![2, 3]));
    assert_eq!(outbox.bytes(), 0);
}

#[test]
fn a_server_that_lost_its_data_gets_what_is_still_here() {
    let mut outbox = Outbox::new(PRODUCER, true, 10_000, 100_000);
    for _ in 0..6 {
        push(&mut outbox, 1).expect("room");
    }
    let mut heard = Heard::default();
    heard.write(&mut outbox, usize::MAX);
    outbox.acknowledge(Sequence(4)).expect("sent");
    assert_eq!(outbox.rewind(Sequence(2)), Ok(2));
    let mut again = Heard::default();
    again.write(&mut outbox, usize::MAX);
    assert_eq!(again.sequences, [3, 4, 5, 6]);
}

#[derive(Clone, Debug)]
enum Step {
    Push(usize),
    Write(usize),
    /// The server syncs and acknowledges.
    Acknowledge,
    /// The connection breaks; the server keeps what is durable and so many frames more.
    Break(usize),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (1_usize..40).prop_map(Step::Push),
        4 => (1_usize..3_000).prop_map(Step::Write),
        1 => Just(Step::Acknowledge),
        1 => (0_usize..5).prop_map(Step::Break),
    ]
}

proptest! {
    #[test]
    fn every_frame_arrives_once_in_order_whatever_breaks(
        steps in proptest::collection::vec(step(), 1..200),
        block_bytes in 1_usize..2_000,
        bytes_max in 1_usize..10_000,
    ) {
        let mut outbox = Outbox::new(PRODUCER, true, block_bytes, bytes_max);
        let mut stored: Vec<u64> = Vec::new();
        let mut durable = 0;
        let mut heard = Heard::default();
        for step in steps {
            match step {
                Step::Push(samples) => {
                    let room = outbox.has_room();
                    prop_assert_eq!(push(&mut outbox, samples).is_ok(), room);
                }
                Step::Write(bytes) => heard.write(&mut outbox, bytes),
                Step::Acknowledge => {
                    stored.append(&mut heard.sequences);
                    durable = stored.len();
                    outbox.acknowledge(Sequence(durable as u64)).expect("was sent");
                }
                Step::Break(more) => {
                    stored.append(&mut heard.sequences);
                    heard = Heard::default();
                    durable = stored.len().min(durable + more);
                    stored.truncate(durable);
                    prop_assert_eq!(outbox.rewind(Sequence(durable as u64)), Ok(0));
                }
            }
        }
        while outbox.unsent_bytes() > 0 {
            heard.write(&mut outbox, 777);
        }
        stored.append(&mut heard.sequences);
        let expected: Vec<u64> = (1..=outbox.last().0).collect();
        prop_assert_eq!(stored, expected);
        outbox.acknowledge(outbox.last()).expect("was sent");
        prop_assert_eq!((outbox.bytes(), outbox.unsent_bytes()), (0, 0));
    }
}
