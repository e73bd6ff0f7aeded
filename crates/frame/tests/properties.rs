//! What must hold of every frame: it reads back as it was written, every damaged byte is noticed or
//! harmless, and a stream gives the same frames however it is split.

use frame::{
    Builder, Entry, Frame, FrameError, FrameKind, HEADER_BYTES, Samples, Scan, Splitter, StoredSample, View, check,
};
use millstream_frame as frame;
use model::{Gap, GapReason, ProducerId, Quality, Sequence, SourceId, TagId, TimestampNs};
use proptest::prelude::*;

const RECEIVED: std::ops::Range<usize> = 32..40;

fn scans() -> impl Strategy<Value = Scan> {
    (any::<i64>(), 0..u32::MAX / 2, prop::collection::vec(any::<u64>(), 1..200), any::<bool>()).prop_map(
        |(source_time_ns, tag_first, values, bad)| {
            let qualities = if bad { vec![Quality::BAD_TIMEOUT.0; values.len()] } else { Vec::new() };
            Scan { source_time_ns, tag_first, values, qualities }
        },
    )
}

fn samples() -> impl Strategy<Value = Samples> {
    let one = (any::<i64>(), any::<u64>(), any::<u32>(), any::<u32>())
        .prop_map(|(source_time_ns, value, tag, quality)| StoredSample { source_time_ns, value, tag, quality });
    prop::collection::vec(one, 1..200).prop_map(|samples| Samples { samples })
}

fn built(scan: &Scan) -> Builder {
    let mut builder = Builder::new();
    builder.scan(ProducerId(7), Sequence(9), scan).expect("small enough");
    builder
}

proptest! {
    #[test]
    fn a_scan_reads_back(scan in scans()) {
        let builder = built(&scan);
        let frame = check(builder.bytes()).expect("own frames pass");
        prop_assert_eq!((frame.producer(), frame.sequence()), (ProducerId(7), Sequence(9)));
        let View::Scan(view) = frame.view() else { panic!("a scan was written") };
        prop_assert_eq!(view.len(), scan.values.len());
        prop_assert_eq!(view.tag_first(), TagId(scan.tag_first));
        prop_assert_eq!(view.source_time(), (scan.source_time_ns != i64::MIN).then_some(TimestampNs(scan.source_time_ns)));
        for (i, value) in scan.values.iter().enumerate() {
            let quality = scan.qualities.get(i).copied().unwrap_or(0);
            prop_assert_eq!(view.at(i), (*value, Quality(quality)));
        }
    }

    #[test]
    fn samples_read_back(samples in samples()) {
        let mut builder = Builder::new();
        builder.samples(ProducerId(1), Sequence(1), &samples).expect("small enough");
        let frame = check(builder.bytes()).expect("own frames pass");
        let View::Samples(view) = frame.view() else { panic!("samples were written") };
        let back: Vec<_> = view.iter().collect();
        let expected: Vec<_> = samples.samples.iter().map(|s| (
            TagId(s.tag),
            (s.source_time_ns != i64::MIN).then_some(TimestampNs(s.source_time_ns)),
            s.value,
            Quality(s.quality),
        )).collect();
        prop_assert_eq!(back, expected);
    }

    #[test]
    fn runs_are_as_long_as_they_can_be(
        samples in prop::collection::vec(
            (prop::bool::weighted(0.1), prop::bool::weighted(0.1), prop_oneof![8 => Just(1_u32), 1 => Just(0), 1 => Just(u32::MAX)]),
            1..60
        )
    ) {
        let mut tag = 0_u32;
        let samples = samples.iter().map(|(late, bad, step)| {
            tag = tag.wrapping_add(*step);
            StoredSample { source_time_ns: i64::from(*late), value: 0, tag, quality: u32::from(*bad) }
        });
        let samples: Vec<StoredSample> = samples.collect();
        let mut builder = Builder::new();
        builder.samples(ProducerId(1), Sequence(1), &Samples { samples: samples.clone() }).expect("small enough");
        let View::Samples(view) = check(builder.bytes()).expect("own frames pass").view() else { panic!("samples") };
        let joins = |i: usize| samples.get(i).is_some_and(|next| {
            let before = &samples[i - 1];
            (Some(next.tag), next.source_time_ns, next.quality)
                == (before.tag.checked_add(1), before.source_time_ns, before.quality)
        });
        for (i, sample) in samples.iter().enumerate() {
            let len = view.run_len(i);
            prop_assert!((i + 1..i + len).all(joins) && !joins(i + len), "{len} from {i}");
            prop_assert_eq!((view.at(i).tag(), view.at(i).quality().0), (sample.tag, sample.quality));
        }
    }

    #[test]
    fn an_entry_reads_back(
        time_ns in any::<i64>(), key in any::<u64>(), kind in any::<u8>(),
        stream in ".{0,40}", id in ".{0,40}", body in prop::collection::vec(any::<u8>(), 0..300)
    ) {
        let entry = Entry { time_ns, key, kind, stream, id, body };
        let mut builder = Builder::new();
        builder.entry(ProducerId::SELF, Sequence(0), &entry).expect("small enough");
        let frame = check(builder.bytes()).expect("own frames pass");
        let View::Entry(view) = frame.view() else { panic!("an entry was written") };
        let back = Entry {
            time_ns: view.time_ns.to_native(), key: view.key.to_native(), kind: view.kind,
            stream: view.stream.as_str().to_owned(), id: view.id.as_str().to_owned(), body: view.body.to_vec(),
        };
        prop_assert_eq!(back, entry);
    }

    #[test]
    fn any_bytes_are_refused_without_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        let mut aligned = rkyv::util::AlignedVec::<64>::new();
        aligned.extend_from_slice(&bytes);
        prop_assert!(check(&aligned).is_err());
    }

    #[test]
    fn a_stream_gives_the_same_frames_however_it_is_split(
        first in scans(), second in samples(), cuts in prop::collection::vec(1_usize..300, 1..60)
    ) {
        let mut builder = built(&first);
        builder.samples(ProducerId(7), Sequence(10), &second).expect("small enough");
        builder.bare(FrameKind::Ack, ProducerId(7), Sequence(3)).expect("small enough");
        let mut splitter = Splitter::new();
        let mut seen: Vec<Vec<u8>> = Vec::new();
        let (mut at, mut cut) = (0, cuts.iter().cycle());
        while at < builder.bytes().len() {
            let to = (at + cut.next().copied().unwrap_or(1)).min(builder.bytes().len());
            splitter.push(&builder.bytes()[at..to], |frame: Frame<'_>| -> Result<(), FrameError> {
                seen.push(frame.bytes().to_vec());
                Ok(())
            }).expect("a clean stream");
            at = to;
        }
        prop_assert_eq!(seen.concat(), builder.bytes());
        prop_assert_eq!(seen.len(), 3);
        prop_assert_eq!(splitter.pending_bytes(), 0);
    }
}

/// Every byte of a frame, flipped in several ways: noticed, or it was the arrival time, which the
/// server writes itself and the log's batch checksum covers (invariant F4).
#[test]
fn every_damaged_byte_is_noticed_or_harmless() {
    let scan = Scan { source_time_ns: 5, tag_first: 3, values: (0..40).collect(), qualities: vec![0; 40] };
    let good = built(&scan);
    let length = good.bytes().len();
    for at in 0..length {
        for flip in [0x01_u8, 0x80, 0xFF, 0x20] {
            let mut damaged = rkyv::util::AlignedVec::<64>::new();
            damaged.extend_from_slice(good.bytes());
            damaged[at] ^= flip;
            match check(&damaged) {
                Err(_) => assert!(!RECEIVED.contains(&at), "byte {at} is harmless and was refused"),
                Ok(frame) => {
                    assert!(RECEIVED.contains(&at), "byte {at} xor {flip:#x} went unnoticed");
                    assert_eq!(frame.bytes()[HEADER_BYTES..], good.bytes()[HEADER_BYTES..]);
                }
            }
        }
    }
}

#[test]
fn a_gap_reads_back() {
    for tags in [None, Some((TagId(4), 2))] {
        for count in [None, Some(17)] {
            let gap = Gap {
                source: SourceId(3),
                tags,
                from: TimestampNs(10),
                to: TimestampNs(20),
                reason: GapReason::QueueOverflow,
                count,
            };
            let mut builder = Builder::new();
            builder.gap(&gap).expect("small");
            builder.stamp(TimestampNs(99));
            let frame = check(builder.bytes()).expect("own frames pass");
            assert_eq!(frame.received(), TimestampNs(99));
            let View::Gap(back) = frame.view() else { panic!("a gap was written") };
            assert_eq!(back, gap);
        }
    }
}

#[test]
fn a_length_is_never_believed_before_its_bytes_are_there() {
    let mut splitter = Splitter::new();
    let mut header = built(&Scan { values: vec![1], ..Scan::default() }).bytes()[..16].to_vec();
    header[4..8].copy_from_slice(&(1_u32 << 20).to_le_bytes());
    splitter.push(&header, |_| Err(FrameError::Header)).expect("a header alone is no frame");
    assert_eq!(splitter.pending_bytes(), 16);
    header[4..8].copy_from_slice(&u32::MAX.to_le_bytes());
    let refused = Splitter::new().push(&header, |_| -> Result<(), FrameError> { Ok(()) });
    assert_eq!(refused, Err(FrameError::Length { found: u32::MAX }));
}

#[test]
fn too_long_a_frame_is_refused_and_leaves_the_buffer_as_it_was() {
    let mut builder = built(&Scan { values: vec![1], ..Scan::default() });
    let before = builder.bytes().to_vec();
    let long = Scan { values: vec![0; 200_000], ..Scan::default() };
    assert!(builder.scan(ProducerId(1), Sequence(1), &long).is_err());
    assert_eq!(builder.bytes(), before);
}
