//! The frame checker takes any bytes. The checksum would stop nearly all of them at the door, so
//! each input is tried as it is and again with a checksum that matches.
#![no_main]

use frame::{FrameKind, View};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let mut aligned = frame::Builder::new().into_bytes();
    aligned.extend_from_slice(bytes);
    look(&aligned);
    if let Ok(Some(length)) = frame::check_length(&aligned)
        && length <= aligned.len()
    {
        frame::mend_checksum(&mut aligned[..length]);
        look(&aligned);
    }
});

/// Reads every field of a frame that passed.
fn look(bytes: &[u8]) {
    let Ok(frame) = frame::check(bytes) else { return };
    match frame.view() {
        View::Scan(scan) => {
            let _ = (0..scan.len()).map(|i| scan.at(i)).last();
        }
        View::Samples(samples) => {
            let _ = samples.iter().last();
        }
        View::Tags(tags) => {
            let _ = tags.tags.iter().map(|tag| tag.path.len() + tag.unit.len()).sum::<usize>();
        }
        View::Texts(texts) => {
            let _ = texts.texts.iter().map(|text| text.text.len()).sum::<usize>();
        }
        View::Register(register) => {
            let _ = register.tags.iter().map(|tag| tag.name.len()).sum::<usize>();
        }
        _ => assert_ne!(frame.kind(), FrameKind::Scan),
    }
}
