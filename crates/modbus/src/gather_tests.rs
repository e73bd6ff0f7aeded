use super::*;
use proptest::prelude::*;
use std::collections::BTreeMap;

const MOST: Most = Most { coils: 8, registers: 5 };

fn words(address: u16, words: &[u16]) -> Write {
    match words {
        [word] => Write::Register { address, word: *word },
        _ => Write::Registers { address, words: words.to_vec() },
    }
}

/// What a device holds after writes, and how often each of its places was written: registers by
/// address and bit, coils by address.
fn held<'w>(writes: impl Iterator<Item = (usize, &'w Write)>) -> BTreeMap<(usize, bool, u16, u8), (bool, u32)> {
    let mut held = BTreeMap::new();
    for (unit, write) in writes {
        let mut put = |bits: bool, at: u16, bit: u8, on: bool| {
            let slot = held.entry((unit, bits, at, bit)).or_insert((on, 0));
            *slot = (on, slot.1 + 1);
        };
        match write {
            Write::Coil { address, on } => put(true, *address, 0, *on),
            Write::Coils { address, on } => (*address..).zip(on).for_each(|(at, on)| put(true, at, 0, *on)),
            Write::Register { address, word } => {
                (0..16).for_each(|bit| put(false, *address, bit, word >> bit & 1 == 1))
            }
            Write::Registers { address, words } => (*address..).zip(words).for_each(|(at, word)| {
                (0..16).for_each(|bit| put(false, at, bit, word >> bit & 1 == 1));
            }),
            Write::Mask { address, and, or } => (0..16).filter(|bit| and >> bit & 1 == 0).for_each(|bit| {
                put(false, *address, bit, or >> bit & 1 == 1);
            }),
        }
    }
    held
}

#[test]
fn what_lies_in_a_row_goes_out_as_one() {
    let writes = vec![
        (0, words(11, &[2])),
        (0, words(10, &[1])),
        (0, words(12, &[3, 4])),
        (0, words(20, &[9])),
        (1, words(14, &[5])),
        (0, Write::Coil { address: 14, on: true }),
        (0, Write::Coil { address: 15, on: false }),
    ];
    let parts = gather(writes, |_| MOST).expect("nothing clashes");
    let made: Vec<(usize, Write, Vec<usize>)> =
        parts.iter().map(|part| (part.unit, part.write.clone(), part.places().collect())).collect();
    assert_eq!(
        made,
        [
            (0, words(10, &[1, 2, 3, 4]), vec![1, 0, 2]),
            (0, words(20, &[9]), vec![3]),
            (0, Write::Coils { address: 14, on: vec![true, false] }, vec![5, 6]),
            (1, words(14, &[5]), vec![4]),
        ]
    );
    assert_eq!(parts[1].apart(), None);
    let apart: Vec<Write> = parts[0].apart().expect("three").into_iter().map(|part| part.write).collect();
    assert_eq!(apart, [words(10, &[1]), words(11, &[2]), words(12, &[3, 4])]);
}

#[test]
fn bits_of_one_register_are_one_mask_and_never_join_words() {
    let bit = |bit: u16, on: bool| Write::Mask { address: 5, and: !(1 << bit), or: u16::from(on) << bit };
    let parts = gather(vec![(0, bit(0, true)), (0, words(6, &[1])), (0, bit(3, false)), (0, words(4, &[1]))], |_| MOST);
    let writes: Vec<Write> = parts.expect("no clash").into_iter().map(|part| part.write).collect();
    assert_eq!(writes, [words(4, &[1]), Write::Mask { address: 5, and: 0xFFF6, or: 1 }, words(6, &[1])]);
    assert_eq!(gather(vec![(0, bit(0, true)), (0, bit(3, true)), (0, bit(0, false))], |_| MOST), Err((1, 2)));
    assert_eq!(gather(vec![(0, bit(0, true)), (0, words(4, &[1, 2]))], |_| MOST), Err((1, 0)));
}

fn any_write() -> impl Strategy<Value = (usize, Write)> {
    let write = prop_oneof![
        (0_u16..40, any::<bool>()).prop_map(|(address, on)| Write::Coil { address, on }),
        (0_u16..40, proptest::collection::vec(any::<u16>(), 1..7)).prop_map(|(at, list)| words(at, &list)),
        (0_u16..40, 0_u16..16, any::<bool>()).prop_map(|(address, bit, on)| Write::Mask {
            address,
            and: !(1 << bit),
            or: u16::from(on) << bit
        }),
    ];
    (0_usize..2, write)
}

proptest! {
    /// G1 to G3: where nothing clashes, the device holds the same after the parts as after the writes,
    /// each place is written once, and no part is too long; and a clash is told truly.
    #[test]
    fn parts_do_what_the_writes_do(writes in proptest::collection::vec(any_write(), 0..24)) {
        let clash = |a: &(usize, Write), b: &(usize, Write)| a.0 == b.0 && a.1.overlaps(&b.1);
        match gather(writes.clone(), |_| MOST) {
            Err((one, other)) => prop_assert!(one != other && clash(&writes[one], &writes[other])),
            Ok(parts) => {
                let after = held(parts.iter().map(|part| (part.unit, &part.write)));
                prop_assert!(after.values().all(|(_, times)| *times == 1));
                prop_assert_eq!(&after, &held(writes.iter().map(|(unit, write)| (*unit, write))));
                let mut places: Vec<usize> = parts.iter().flat_map(Part::places).collect();
                places.sort_unstable();
                prop_assert!(places.into_iter().eq(0..writes.len()));
                for part in parts.iter().filter(|part| part.each.len() > 1) {
                    let extent = part.write.extent();
                    let most = if extent.is_bits { MOST.coils } else { MOST.registers };
                    prop_assert!(extent.count as usize <= most);
                    prop_assert_eq!(part.apart().map(|apart| apart.len()), Some(part.each.len()));
                }
            }
        }
    }
}
