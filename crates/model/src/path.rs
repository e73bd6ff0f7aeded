//! Tag paths: `riverside/press/line1/press1/temperature`.

use crate::limits;
use std::{borrow::Borrow, fmt, sync::Arc};

/// A checked tag path: segments parted by `/`, none empty, without `+`, `#`, white space or control
/// characters (the MQTT and Sparkplug rule), at most [`limits::PATH_BYTES_MAX`] bytes. Case is kept.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TagPath(Arc<str>);

/// What is wrong with a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PathError {
    /// Nothing there.
    Empty,
    /// Longer than [`limits::PATH_BYTES_MAX`].
    TooLong {
        /// Its length in bytes.
        bytes: usize,
    },
    /// Two slashes in a row, or one at an end.
    EmptySegment,
    /// A character that paths may not hold.
    Forbidden {
        /// That character.
        character: char,
    },
}

impl fmt::Display for PathError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            PathError::Empty => f.write_str("the path is empty; write segments parted by '/'"),
            PathError::TooLong { bytes } => {
                write!(f, "the path has {bytes} bytes; at most {} are allowed", limits::PATH_BYTES_MAX)
            }
            PathError::EmptySegment => f.write_str("the path has an empty segment; remove the extra '/'"),
            PathError::Forbidden { character } => write!(
                f,
                "the path holds {character:?}; '+', '#', '*', white space and control characters are not allowed"
            ),
        }
    }
}

impl std::error::Error for PathError {}

impl TagPath {
    /// Checks a path.
    ///
    /// # Errors
    /// [`PathError`] says what is wrong with it.
    pub fn new(path: &str) -> Result<TagPath, PathError> {
        if path.is_empty() {
            return Err(PathError::Empty);
        }
        if path.len() > limits::PATH_BYTES_MAX {
            return Err(PathError::TooLong { bytes: path.len() });
        }
        let forbidden = |c: &char| matches!(c, '+' | '#' | '*') || c.is_whitespace() || c.is_control();
        if let Some(character) = path.chars().find(forbidden) {
            return Err(PathError::Forbidden { character });
        }
        if path.split('/').any(str::is_empty) {
            return Err(PathError::EmptySegment);
        }
        Ok(TagPath(path.into()))
    }

    /// The path as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether this path lies strictly below `parent` (`a/b/c` below `a/b`, not `a/bc`).
    #[must_use]
    pub fn is_below(&self, parent: &str) -> bool {
        self.0.strip_prefix(parent).is_some_and(|rest| rest.starts_with('/'))
    }
}

impl fmt::Display for TagPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Borrow<str> for TagPath {
    fn borrow(&self) -> &str {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_good_paths_and_names_what_is_wrong_with_others() {
        assert!(TagPath::new("riverside/press/line1/press1/temperature").is_ok());
        assert_eq!(TagPath::new(""), Err(PathError::Empty));
        assert_eq!(TagPath::new("a//b"), Err(PathError::EmptySegment));
        assert_eq!(TagPath::new("a/b "), Err(PathError::Forbidden { character: ' ' }));
        assert_eq!(TagPath::new(&"a".repeat(600)), Err(PathError::TooLong { bytes: 600 }));
    }

    #[test]
    fn below_means_a_whole_segment() {
        let path = TagPath::new("a/bc").expect("valid");
        assert!(path.is_below("a") && !path.is_below("a/b") && !path.is_below("a/bc"));
    }
}
