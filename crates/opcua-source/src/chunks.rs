//! Service calls in pieces that the server takes (OPC 10000-5, 6.3.11: OperationLimits).
//!
//! Invariants
//! - C1: results come in the order of what was asked, one for one.
//! - C2: a server that finds a call too large is asked again with half of it, down to one; then its
//!   refusal stands.

use opcua::types::{Error, StatusCode};
use std::{future::Future, ops::Range};

/// Pieces of a list, whose size can shrink on the way.
#[derive(Debug)]
pub(crate) struct Chunks {
    total: usize,
    start: usize,
    size: usize,
}

impl Chunks {
    /// Pieces of at most `size` (at least 1) of a list of `total`.
    pub(crate) fn new(total: usize, size: usize) -> Chunks {
        Chunks { total, start: 0, size: size.max(1) }
    }

    /// The piece to ask for now; the same until [`done`](Chunks::done).
    pub(crate) fn piece(&self) -> Option<Range<usize>> {
        (self.start < self.total).then(|| self.start..self.total.min(self.start + self.size))
    }

    /// The piece was answered.
    pub(crate) fn done(&mut self) {
        self.start = self.total.min(self.start + self.size);
    }

    /// The piece was too large. Answers whether a smaller one can be tried.
    pub(crate) fn shrink(&mut self) -> bool {
        let smaller = self.size.min(self.total - self.start) / 2;
        if smaller == 0 {
            return false;
        }
        self.size = smaller;
        true
    }
}

/// Whether a refusal may go away with fewer operations in a call.
pub(crate) fn is_too_large(status: StatusCode) -> bool {
    matches!(
        status,
        StatusCode::BadTooManyOperations
            | StatusCode::BadEncodingLimitsExceeded
            | StatusCode::BadRequestTooLarge
            | StatusCode::BadResponseTooLarge
            | StatusCode::BadTcpMessageTooLarge
    )
}

/// Calls a service for a whole list, in pieces of at most `size`.
///
/// # Errors
/// The first call that the server refused for another reason than its size, or answered with
/// another number of results than was asked for.
pub(crate) async fn in_chunks<T, R, F, Fut>(all: &[T], size: usize, call: F) -> Result<Vec<R>, Error>
where
    T: Clone,
    F: Fn(Vec<T>) -> Fut,
    Fut: Future<Output = Result<Vec<R>, Error>>,
{
    let mut results = Vec::with_capacity(all.len());
    let mut chunks = Chunks::new(all.len(), size);
    while let Some(piece) = chunks.piece() {
        let asked = piece.len();
        match call(all[piece].to_vec()).await {
            Ok(answers) if answers.len() == asked => {
                results.extend(answers);
                chunks.done();
            }
            Ok(answers) => {
                let story = format!("the server answered {} of {asked} operations", answers.len());
                return Err(Error::new(StatusCode::BadUnknownResponse, story));
            }
            Err(error) if is_too_large(error.status()) && chunks.shrink() => {}
            Err(error) => return Err(error),
        }
    }
    Ok(results)
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt;
    use std::cell::RefCell;

    #[test]
    fn pieces_cover_the_list_without_overlap() {
        let mut chunks = Chunks::new(7, 3);
        let mut seen = Vec::new();
        while let Some(piece) = chunks.piece() {
            seen.push(piece);
            chunks.done();
        }
        assert_eq!(seen, vec![0..3, 3..6, 6..7]);
        assert_eq!(Chunks::new(0, 3).piece(), None);
        assert_eq!(Chunks::new(2, 0).piece(), Some(0..1));
    }

    #[test]
    fn a_piece_too_large_is_halved_down_to_one() {
        let mut chunks = Chunks::new(10, 1000);
        assert!(chunks.shrink());
        assert_eq!(chunks.piece(), Some(0..5));
        assert!(chunks.shrink() && chunks.shrink() && !chunks.shrink());
        assert_eq!(chunks.piece(), Some(0..1));
    }

    #[test]
    fn a_server_with_a_small_limit_gets_everything_in_order() {
        let calls = RefCell::new(Vec::new());
        let all: Vec<u32> = (0..100).collect();
        let answer = in_chunks(&all, 50, |piece: Vec<u32>| {
            calls.borrow_mut().push(piece.len());
            std::future::ready(if piece.len() > 7 {
                Err(Error::new(StatusCode::BadTooManyOperations, "at most 7"))
            } else {
                Ok(piece)
            })
        });
        let answer = answer.now_or_never().expect("nothing to wait for").expect("answered");
        assert_eq!(answer, all);
        assert_eq!(calls.borrow()[..5], [50, 25, 12, 6, 6]);
    }

    #[test]
    fn a_wrong_number_of_answers_is_an_error() {
        let answer = in_chunks(&[1, 2], 10, |_| std::future::ready(Ok::<_, Error>(vec![0])));
        let error = answer.now_or_never().expect("nothing to wait for").expect_err("one is missing");
        assert_eq!(error.status(), StatusCode::BadUnknownResponse);
    }
}
