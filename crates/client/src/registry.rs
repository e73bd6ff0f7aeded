//! Names that a producer registered, with their numbers: asked again on every new connection.

use crate::options::TagRequest;
use model::{TagId, TextId};

/// Names in one request. The server takes up to 16,384, but in one go: so many keep it from telemetry
/// for about a millisecond.
pub(crate) const NAMES_MAX: usize = 1_024;
/// Bytes of names in one request, so that it fits a frame.
pub(crate) const NAME_BYTES_MAX: usize = 512 << 10;

/// What was registered, in order, and the numbers that the first connection got.
#[derive(Default)]
pub(crate) struct Registry {
    pub(crate) tags: Vec<(TagRequest, TagId)>,
    pub(crate) texts: Vec<(String, TextId)>,
}

/// Cuts a list into parts that fit one request each. `bytes`: how much text an item holds.
pub(crate) fn parts<T>(items: &[T], bytes: impl Fn(&T) -> usize) -> Vec<&[T]> {
    let (mut parts, mut start, mut size) = (Vec::new(), 0, 0);
    for (i, item) in items.iter().enumerate() {
        let more = bytes(item);
        if i > start && (i - start >= NAMES_MAX || size + more > NAME_BYTES_MAX) {
            parts.push(&items[start..i]);
            (start, size) = (i, 0);
        }
        size += more;
    }
    if start < items.len() {
        parts.push(&items[start..]);
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_cover_all_and_fit() {
        let names = vec![100_usize; 20_000];
        let cut = parts(&names, |n| *n);
        assert_eq!(cut.iter().map(|p| p.len()).sum::<usize>(), 20_000);
        assert!(cut.iter().all(|p| p.len() <= NAMES_MAX && p.len() * 100 <= NAME_BYTES_MAX));
        assert_eq!(parts(&[NAME_BYTES_MAX * 2, 1], |n| *n).len(), 2);
        assert!(parts(&[0_usize; 0], |n| *n).is_empty());
    }
}
