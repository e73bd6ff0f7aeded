//! Where problems gather while a file is read.

use std::cell::{Cell, RefCell};
use std::collections::HashSet;
use std::ops::Range;

use super::quoted;
use crate::PROBLEMS_MAX;
use crate::problem::{Lines, Problem};

/// Longest text of a problem, in characters: what it quotes may be as long as the file.
const QUOTE_CHARS_MAX: usize = 400;

/// What all of a file's tables share while they are read.
pub(crate) struct Context<'d> {
    lines: Lines<'d>,
    problems: RefCell<Vec<(usize, Problem)>>,
    /// Problems beyond [`PROBLEMS_MAX`].
    unlisted: Cell<usize>,
    /// Lines on which the syntax is broken.
    broken: RefCell<HashSet<u32>>,
}

impl<'d> Context<'d> {
    pub(crate) fn new(text: &'d str) -> Self {
        Self {
            lines: Lines::new(text),
            problems: RefCell::default(),
            unlisted: Cell::new(0),
            broken: RefCell::default(),
        }
    }

    /// Line of a byte offset, from 1.
    pub(crate) fn line(&self, offset: usize) -> u32 {
        self.lines.place(offset).0
    }

    /// The offset in the file of a byte `at` of a text that stands as a string at `span`.
    pub(crate) fn within(&self, span: &Range<usize>, text: &str, at: usize) -> usize {
        quoted::offset(self.lines.text(), span, text, at)
    }

    /// How many problems there are.
    pub(crate) fn count(&self) -> usize {
        self.problems.borrow().len() + self.unlisted.get()
    }

    /// Is the list as long as it may be?
    pub(crate) fn is_full(&self) -> bool {
        self.problems.borrow().len() >= PROBLEMS_MAX
    }

    /// Counts a problem that has no room in the list.
    pub(crate) fn count_only(&self) {
        self.unlisted.set(self.unlisted.get() + 1);
    }

    /// Takes a problem.
    pub(crate) fn report(&self, at: &Range<usize>, key: &str, what: &str, fix: &str) {
        let (line, column) = self.lines.place(at.start);
        if self.broken.borrow().contains(&line) {
            return; // follows from the broken syntax
        }
        self.push(at.start, Problem { line, column, key: key.to_owned(), what: clip(what), fix: clip(fix) });
    }

    /// Takes a problem that says that something is not there. With broken syntax it may be there,
    /// unread, so then the problem is left out.
    pub(crate) fn report_missing(&self, at: &Range<usize>, key: &str, what: &str, fix: &str) {
        if self.broken.borrow().is_empty() {
            self.report(at, key, what, fix);
        }
    }

    /// Takes a problem of the TOML syntax.
    pub(crate) fn syntax(&self, error: &toml::de::Error) {
        let start = error.span().map_or(0, |span| span.start);
        let (line, column) = self.lines.place(start);
        if !self.broken.borrow_mut().insert(line) {
            return; // one a line: the parser's recovery makes more of them than there are
        }
        let duplicate = error.message().contains("duplicate key");
        let fix = if duplicate {
            "remove one of the two, or give them different names"
        } else {
            "see https://toml.io for the syntax"
        };
        let what = format!("this is not TOML: {}", error.message());
        self.push(start, Problem { line, column, key: String::new(), what: clip(&what), fix: fix.to_owned() });
    }

    fn push(&self, offset: usize, problem: Problem) {
        if self.is_full() {
            self.count_only();
        } else {
            self.problems.borrow_mut().push((offset, problem));
        }
    }

    /// The problems in file order.
    pub(crate) fn into_problems(self) -> Vec<Problem> {
        let mut problems = self.problems.into_inner();
        problems.sort_by_key(|(offset, _)| *offset);
        let mut problems: Vec<Problem> = problems.into_iter().map(|(_, problem)| problem).collect();
        let unlisted = self.unlisted.get();
        if let (Some(last), true) = (problems.last(), unlisted > 0) {
            let more = Problem {
                key: String::new(),
                what: format!("{unlisted} more problems are not listed"),
                fix: "correct those above first".to_owned(),
                ..*last
            };
            problems.push(more);
        }
        problems
    }
}

fn clip(text: &str) -> String {
    match text.char_indices().nth(QUOTE_CHARS_MAX) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}
