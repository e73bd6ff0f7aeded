//! A list by tag number that grows without moving what it has.
//!
//! Where one long array doubled, a poll would wait for all of it to be copied; here a poll waits for
//! the pages that it adds. Invariant: every page is full, so an index is a page and a place.

use std::ops::Range;

/// Items by number, in pages of `PAGE`.
pub(crate) struct Pages<T, const PAGE: usize> {
    pages: Vec<Box<[T; PAGE]>>,
    len: usize,
}

impl<T, const PAGE: usize> Default for Pages<T, PAGE> {
    fn default() -> Pages<T, PAGE> {
        Pages { pages: Vec::new(), len: 0 }
    }
}

impl<T, const PAGE: usize> Pages<T, PAGE> {
    /// Has at least so many items from now on.
    pub(crate) fn grow(&mut self, len: usize, with: impl Fn() -> T) {
        while self.pages.len() * PAGE < len {
            let page: Box<[T]> = std::iter::repeat_with(&with).take(PAGE).collect();
            let Ok(page) = page.try_into() else { unreachable!("a page has {PAGE} items") };
            self.pages.push(page);
        }
        self.len = self.len.max(len);
    }

    /// The item of a number.
    #[inline]
    pub(crate) fn get(&self, at: usize) -> Option<&T> {
        if at < self.len { Some(&self.pages[at / PAGE][at % PAGE]) } else { None }
    }

    /// The item of a number, to be changed.
    #[inline]
    pub(crate) fn get_mut(&mut self, at: usize) -> Option<&mut T> {
        if at < self.len { Some(&mut self.pages[at / PAGE][at % PAGE]) } else { None }
    }

    /// The items of a range in as many pieces as it has pages; `None` where it ends beyond them.
    #[inline]
    pub(crate) fn pieces(&self, range: Range<usize>) -> Option<impl Iterator<Item = &[T]>> {
        (range.start <= range.end && range.end <= self.len).then(move || {
            let pages = range.start / PAGE..range.end.div_ceil(PAGE);
            pages.map(move |page| {
                let (from, to) = (range.start.max(page * PAGE), range.end.min((page + 1) * PAGE));
                &self.pages[page][from - page * PAGE..to - page * PAGE]
            })
        })
    }

    /// Bytes of memory that it takes; what its items hold elsewhere not counted.
    pub(crate) fn bytes(&self) -> usize {
        self.pages.len() * PAGE * size_of::<T>() + self.pages.capacity() * size_of::<Box<[T; PAGE]>>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_cover_a_range_and_nothing_beyond_the_end() {
        let mut pages: Pages<usize, 4> = Pages::default();
        pages.grow(10, || 0);
        (0..10).for_each(|at| *pages.get_mut(at).expect("there") = at);
        let found: Vec<usize> = pages.pieces(2..9).expect("within").flatten().copied().collect();
        assert_eq!(found, [2, 3, 4, 5, 6, 7, 8]);
        assert_eq!(pages.pieces(4..4).expect("within").count(), 0);
        assert!(pages.pieces(9..11).is_none() && pages.get(10).is_none());
    }
}
