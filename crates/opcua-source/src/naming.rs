//! Tag paths of browsed nodes.
//!
//! The rule: a browsed variable's path is the source's path, the folder's configured name, and one
//! segment for each browse name from below the folder down to the variable. A segment is the name
//! part of the browse name (without its namespace index, which may move) with every character that a
//! [`TagPath`] forbids, and `/`, replaced by `_`; an empty name, `.` and `..` become underscores of
//! their length, at least one. `Zone1.Temperature` below the folder `zones` is
//! `…/zones/Zone1.Temperature`; `Zone 1` with a component `Temp` is `…/zones/Zone_1/Temp`.
//!
//! Invariants
//! - N1: the same address space gives the same paths, whatever its namespace indices are.
//! - N2: two nodes never get one path: the second gets `~` and its cleaned identifier behind its name.

use config::{NodeIdentifier, NodeRef};
use model::{PathError, TagPath};
use std::collections::HashSet;

/// One path segment of a browse name.
pub(crate) fn segment(name: &str) -> String {
    if name.is_empty() || name == "." || name == ".." {
        return "_".repeat(name.len().max(1));
    }
    name.chars().map(|c| if is_allowed(c) { c } else { '_' }).collect()
}

/// Whether a character may stand in a segment; [`TagPath::new`] has the last word.
fn is_allowed(c: char) -> bool {
    !matches!(c, '/' | '+' | '#' | '*') && !c.is_whitespace() && !c.is_control()
}

/// The identifier alone, e.g. `s=Zone1` or `i=1008`.
fn identifier(node: &NodeRef) -> String {
    match &node.identifier {
        NodeIdentifier::Text(text) => format!("s={text}"),
        NodeIdentifier::Numeric(number) => format!("i={number}"),
        NodeIdentifier::Guid(guid) => format!("g={guid}"),
        NodeIdentifier::Opaque(bytes) => format!("b={bytes}"),
    }
}

/// Gives paths and remembers those given.
#[derive(Debug, Default)]
pub(crate) struct Names {
    given: HashSet<String>,
}

impl Names {
    /// The path of a configured tag: source path and tag name.
    ///
    /// # Errors
    /// What is wrong with the path.
    pub(crate) fn configured(&mut self, source: &str, name: &str) -> Result<TagPath, PathError> {
        let path = TagPath::new(&format!("{source}/{name}"))?;
        self.given.insert(path.as_str().to_owned());
        Ok(path)
    }

    /// Remembers a path that was given before.
    pub(crate) fn keep(&mut self, path: &TagPath) {
        self.given.insert(path.as_str().to_owned());
    }

    /// The path of a browsed node: `base` is source path and folder name, `names` the browse names
    /// below the folder.
    ///
    /// # Errors
    /// The path is longer than [`model::limits::PATH_BYTES_MAX`].
    pub(crate) fn browsed(&mut self, base: &str, names: &[String], node: &NodeRef) -> Result<TagPath, PathError> {
        let mut text = base.to_owned();
        for name in names {
            text.push('/');
            text.push_str(&segment(name));
        }
        if self.given.contains(&text) {
            text.push('~');
            text.push_str(&segment(&identifier(node)));
        }
        let path = TagPath::new(&text)?;
        self.given.insert(text);
        Ok(path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forbidden_characters_become_underscores() {
        for (name, expected) in [
            ("Zone1.Temperature", "Zone1.Temperature"),
            ("Zone 1", "Zone_1"),
            ("a/b+c#d*e", "a_b_c_d_e"),
            ("\u{7}bell\n", "_bell_"),
            ("Öfen°C", "Öfen°C"),
            ("", "_"),
            (".", "_"),
            ("..", "__"),
        ] {
            assert_eq!(segment(name), expected);
            assert!(TagPath::new(&format!("a/{}", segment(name))).is_ok(), "{name:?}");
        }
    }

    #[test]
    fn two_nodes_never_share_a_path() {
        let mut names = Names::default();
        let node = |text: &str| text.parse::<NodeRef>().expect("valid");
        let name = ["Temp 1".to_owned()];
        let first = names.browsed("plant/zones", &name, &node("ns=2;s=A")).expect("valid");
        let second = names.browsed("plant/zones", &["Temp+1".to_owned()], &node("ns=2;s=B 1")).expect("valid");
        assert_eq!(first.as_str(), "plant/zones/Temp_1");
        assert_eq!(second.as_str(), "plant/zones/Temp_1~s=B_1");
        assert!(names.configured("plant", "zones/x").is_ok());
        assert!(names.browsed("plant", &["y".repeat(600)], &node("i=1")).is_err());
    }
}
