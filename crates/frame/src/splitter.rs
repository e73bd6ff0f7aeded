//! Cutting a byte stream into frames.

use crate::check::{Frame, FrameError, check, check_length};
use crate::header::ALIGN;
use rkyv::util::AlignedVec;

/// This many bytes of a frame tell its length.
const LENGTH_KNOWN: usize = 8;

/// Finds frames in a stream that arrives in chunks of any size.
///
/// A frame that lies whole and aligned in a chunk is checked and lent in place; one that is split
/// or misaligned is put together in the splitter's own buffer, which never grows beyond one frame
/// and takes no more memory than bytes have really arrived.
#[derive(Default)]
pub struct Splitter {
    partial: AlignedVec<64>,
}

impl Splitter {
    /// At the start of a stream.
    #[must_use]
    pub fn new() -> Splitter {
        Splitter::default()
    }

    /// Bytes of an unfinished frame.
    #[must_use]
    pub fn pending_bytes(&self) -> usize {
        self.partial.len()
    }

    /// Takes the next chunk and hands over each frame that it completes, in order.
    ///
    /// # Errors
    /// The stream is not one of frames, or `on` refused one: the connection must be closed. Frames
    /// before the error were handed over.
    pub fn push<E: From<FrameError>>(
        &mut self,
        mut chunk: &[u8],
        mut on: impl FnMut(Frame<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        while !chunk.is_empty() {
            if self.partial.is_empty() && chunk.as_ptr().addr().is_multiple_of(ALIGN) {
                match check_length(chunk)? {
                    Some(length) if length <= chunk.len() => {
                        on(check(chunk)?)?;
                        chunk = &chunk[length..];
                        continue;
                    }
                    _ => {}
                }
            }
            chunk = self.gather(chunk)?;
            if let Some(length) = check_length(&self.partial)?
                && length == self.partial.len()
            {
                on(check(&self.partial)?)?;
                self.partial.clear();
            }
        }
        Ok(())
    }

    /// Moves bytes of one frame into the own buffer; answers the rest of the chunk.
    fn gather<'c>(&mut self, chunk: &'c [u8]) -> Result<&'c [u8], FrameError> {
        let wanted = check_length(&self.partial)?.unwrap_or(LENGTH_KNOWN);
        let take = (wanted - self.partial.len()).min(chunk.len());
        self.partial.extend_from_slice(&chunk[..take]);
        Ok(&chunk[take..])
    }
}
