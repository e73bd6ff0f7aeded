use super::*;
use proptest::prelude::*;

fn frame(transaction: u16, unit: u8, pdu: &[u8]) -> Vec<u8> {
    let mut bytes = transaction.to_be_bytes().to_vec();
    bytes.extend([0, 0]);
    bytes.extend((pdu.len() as u16 + 1).to_be_bytes());
    bytes.push(unit);
    bytes.extend(pdu);
    bytes
}

#[test]
fn a_request_is_the_bytes_of_the_standard() {
    let request = ReadRequest { unit: 0x11, function: Function::ReadHoldingRegisters, address: 0x6B, quantity: 3 };
    assert_eq!(request.encode(0x0102), [1, 2, 0, 0, 0, 6, 0x11, 3, 0, 0x6B, 0, 3]);
    assert_eq!(request.answer_bytes(), 6);
    let bits = ReadRequest { function: Function::ReadCoils, quantity: 19, ..request };
    assert_eq!(bits.answer_bytes(), 3);
}

#[test]
fn a_stream_gives_the_same_frames_at_every_cut() {
    let mut stream = frame(1, 1, &[3, 2, 0, 7]);
    stream.extend(frame(2, 9, &[0x83, 2]));
    stream.extend(frame(3, 1, &[4; 253]));
    for first in 0..=stream.len() {
        fuzz_stream(&stream, first);
    }
    let one_by_one: Vec<&[u8]> = stream.chunks(1).collect();
    let (found, error) = frames(&one_by_one);
    assert_eq!((found.len(), error), (3, None));
    assert_eq!(found[2].2, vec![4; 253]);
}

#[test]
fn bad_headers_are_errors() {
    for (bytes, error) in [
        ([0, 1, 0, 1, 0, 6, 1], FrameError::Protocol { protocol: 1 }),
        ([0, 1, 0, 0, 0, 0, 1], FrameError::Length { length: 0 }),
        ([0, 1, 0, 0, 0, 1, 1], FrameError::Length { length: 1 }),
        ([0, 1, 0, 0, 0, 255, 1], FrameError::Length { length: 255 }),
        ([0, 1, 0, 0, 255, 255, 1], FrameError::Length { length: 65_535 }),
    ] {
        assert_eq!(frames(&[&bytes]).1, Some(error));
    }
}

#[test]
fn an_answer_must_match_unit_function_and_length() {
    let request = ReadRequest { unit: 1, function: Function::ReadHoldingRegisters, address: 0, quantity: 2 };
    let check_pdu = |unit, pdu: &[u8]| check(&request, &Adu { transaction: 1, unit, pdu }).map(|_| ());
    assert_eq!(check_pdu(1, &[3, 4, 0, 1, 0, 2]), Ok(()));
    assert_eq!(check_pdu(1, &[0x83, 2]), Ok(()));
    assert_eq!(check_pdu(2, &[3, 4, 0, 1, 0, 2]), Err(Mismatch::Unit { asked: 1, answered: 2 }));
    assert_eq!(check_pdu(1, &[4, 4, 0, 1, 0, 2]), Err(Mismatch::Function { asked: 3, answered: 4 }));
    assert_eq!(check_pdu(1, &[0x84, 2]), Err(Mismatch::Function { asked: 3, answered: 0x84 }));
    assert_eq!(check_pdu(1, &[3, 2, 0, 1]), Err(Mismatch::Length { asked: 4, answered: 2 }));
    assert_eq!(check_pdu(1, &[3, 4, 0, 1, 0]), Err(Mismatch::Length { asked: 4, answered: 3 }));
    assert_eq!(check_pdu(1, &[3, 2, 0, 1, 0, 2]), Err(Mismatch::Length { asked: 4, answered: 4 }));
    assert!(check_pdu(1, &[3]).is_err() && check_pdu(1, &[0x83]).is_err() && check_pdu(1, &[]).is_err());
}

proptest! {
    #[test]
    fn any_bytes_are_survived_at_any_cut(bytes in proptest::collection::vec(any::<u8>(), 0..600), cut in 0usize..600) {
        fuzz_stream(&bytes, cut);
    }

    #[test]
    fn near_frames_are_survived_at_any_cut(
        parts in proptest::collection::vec((any::<u16>(), any::<u8>(), proptest::collection::vec(any::<u8>(), 1..40)), 1..6),
        flip in any::<(usize, u8)>(), cut in 0usize..300,
    ) {
        let mut stream: Vec<u8> = parts.iter().flat_map(|(t, u, pdu)| frame(*t, *u, pdu)).collect();
        let at = flip.0 % stream.len();
        stream[at] ^= flip.1;
        fuzz_stream(&stream, cut);
    }
}
