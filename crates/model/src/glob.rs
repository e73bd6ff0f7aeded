//! Globs over tag paths.

/// A pattern: `*` stands for one segment or a part of one, `**` for any number of segments.
///
/// `riverside/**` matches everything below `riverside`; `a/*/c` matches `a/b/c`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Glob {
    segments: Vec<String>,
}

impl Glob {
    /// Reads a pattern. Every text is one; an empty pattern matches nothing.
    #[must_use]
    pub fn new(pattern: &str) -> Glob {
        let mut segments: Vec<String> = pattern.split('/').map(str::to_owned).collect();
        segments.dedup_by(|a, b| a == "**" && b == "**");
        Glob { segments }
    }

    /// Whether the path matches. Time grows with pattern × path, never exponentially.
    #[must_use]
    pub fn matches(&self, path: &str) -> bool {
        let path: Vec<&str> = path.split('/').collect();
        wild(
            &self.segments,
            &path,
            |s| s == "**",
            |pattern, segment| {
                let pattern: Vec<char> = pattern.chars().collect();
                let segment: Vec<char> = segment.chars().collect();
                wild(&pattern, &segment, |c| *c == '*', |a, b| a == b)
            },
        )
    }
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
        ] {
            assert_eq!(Glob::new(pattern).matches(path), expected, "{pattern} on {path}");
        }
    }

    #[test]
    fn a_hostile_pattern_costs_little() {
        let pattern = "*a".repeat(200);
        assert!(!Glob::new(&pattern).matches(&"a".repeat(150)));
    }
}
