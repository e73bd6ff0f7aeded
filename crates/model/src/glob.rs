//! Globs over tag paths.

/// A pattern: `*` stands for one segment or a part of one, `**` for any number of segments.
///
/// `riverside/**` matches everything below `riverside`; `a/*/c` matches `a/b/c`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Glob {
    segments: Vec<String>,
    /// What every path that matches begins with.
    prefix: String,
    /// Whether that is the whole pattern.
    is_literal: bool,
}

impl Glob {
    /// Reads a pattern. Every text is one; an empty pattern matches nothing.
    #[must_use]
    pub fn new(pattern: &str) -> Glob {
        let mut segments: Vec<String> = pattern.split('/').map(str::to_owned).collect();
        segments.dedup_by(|a, b| a == "**" && b == "**");
        Glob { prefix: prefix(&segments), is_literal: !pattern.contains('*'), segments }
    }

    /// The one path that this matches, where there is no star in it.
    #[must_use]
    pub fn literal(&self) -> Option<&str> {
        self.is_literal.then_some(self.prefix.as_str())
    }

    /// Whether the path matches. Time grows with pattern × path, never exponentially; what does not
    /// begin as it must costs a comparison, since a query looks at every tag.
    #[must_use]
    pub fn matches(&self, path: &str) -> bool {
        if !path.starts_with(&self.prefix) {
            return false;
        }
        if self.is_literal {
            return path.len() == self.prefix.len();
        }
        let path: Vec<&str> = path.split('/').collect();
        wild(
            &self.segments,
            &path,
            |s| s == "**",
            // byte by byte is character by character: no character's bytes begin within another's
            |pattern, segment| wild(pattern.as_bytes(), segment.as_bytes(), |c| *c == b'*', |a, b| a == b),
        )
    }
}

/// The segments before the first star, and that star's segment up to it. `**` may stand for nothing,
/// with its slash.
fn prefix(segments: &[String]) -> String {
    let literal = segments.iter().take_while(|segment| !segment.contains('*')).count();
    let mut prefix = segments[..literal].join("/");
    if let Some(segment) = segments.get(literal).filter(|segment| *segment != "**") {
        if literal > 0 {
            prefix.push('/');
        }
        prefix.push_str(segment.split('*').next().unwrap_or_default());
    }
    prefix
}

/// Greedy wildcard match with one point of return: `star` elements stand for any run.
fn wild<P, T>(pattern: &[P], text: &[T], star: impl Fn(&P) -> bool, same: impl Fn(&P, &T) -> bool) -> bool {
    let (mut p, mut t) = (0, 0);
    let mut back: Option<(usize, usize)> = None;
    while t < text.len() {
        if p < pattern.len() && star(&pattern[p]) {
            back = Some((p, t));
            p += 1;
        } else if p < pattern.len() && same(&pattern[p], &text[t]) {
            p += 1;
            t += 1;
        } else if let Some((star_at, from)) = back {
            back = Some((star_at, from + 1));
            p = star_at + 1;
            t = from + 1;
        } else {
            return false;
        }
    }
    pattern[p..].iter().all(star)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stars_stand_for_what_they_say() {
        for (pattern, path, expected) in [
            ("riverside/**", "riverside/press/line1/press1/temperature", true),
            ("riverside/**", "other/press", false),
            ("**/temperature", "a/b/temperature", true),
            ("a/*/c", "a/b/c", true),
            ("a/*/c", "a/b/b/c", false),
            ("a/press*/c", "a/press12/c", true),
            ("a/*s*1/c", "a/press11/c", true),
            ("**", "anything/at/all", true),
            ("a/**/z", "a/z", true),
            ("", "a", false),
            ("a", "a/b", false),
            ("a/b", "a", false),
            ("a/**", "a", true),
            ("a/**", "ab/c", false),
            ("a/b*", "a/b", true),
            ("a/b*/c", "a/bc/c", true),
            ("*/c", "b/c", true),
            ("a/*ä", "a/ö/ä", false),
            ("a/*ä*", "a/öäü", true),
            ("a/ä", "a/ä", true),
        ] {
            assert_eq!(Glob::new(pattern).matches(path), expected, "{pattern} on {path}");
        }
    }

    #[test]
    fn a_pattern_without_a_star_is_one_path() {
        assert_eq!(Glob::new("a/b").literal(), Some("a/b"));
        assert_eq!(Glob::new("a/b*").literal(), None);
        assert_eq!(Glob::new("**").literal(), None);
    }

    #[test]
    fn a_hostile_pattern_costs_little() {
        let pattern = "*a".repeat(200);
        assert!(!Glob::new(&pattern).matches(&"a".repeat(150)));
    }
}
