//! The stream splitter gives the same frames, or the same refusal, however a stream is cut. The
//! first byte says where to cut.
#![no_main]

use frame::{Frame, FrameError, Splitter};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Some((cut, stream)) = bytes.split_first() else { return };
    let step = usize::from(*cut).max(1);
    let whole = frames(std::iter::once(stream));
    let cut = frames(stream.chunks(step));
    assert_eq!(whole, cut);
});

fn frames<'s>(chunks: impl Iterator<Item = &'s [u8]>) -> (Vec<Vec<u8>>, Option<FrameError>) {
    let mut seen = Vec::new();
    let mut splitter = Splitter::new();
    for chunk in chunks {
        let outcome = splitter.push(chunk, |frame: Frame<'_>| -> Result<(), FrameError> {
            seen.push(frame.bytes().to_vec());
            Ok(())
        });
        if let Err(error) = outcome {
            return (seen, Some(error));
        }
    }
    (seen, None)
}
