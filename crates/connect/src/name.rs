//! Names of files and objects that a delivery makes: one segment of a safe alphabet, so that no
//! field of a message leads out of the folder.

/// Longest name in bytes: what file systems take (255) less what the temporary name adds.
const NAME_BYTES_MAX: usize = 200;

/// Whether a name may be used: ASCII letters, digits, `.`, `_`, `-`, `=`, `+`, `@`, not beginning
/// with a dot or a hyphen.
pub(crate) fn check(name: &str) -> Result<(), String> {
    let safe = |byte: u8| byte.is_ascii_alphanumeric() || b"._-=+@".contains(&byte);
    if name.is_empty() {
        return Err("the name is empty".to_owned());
    }
    if name.len() > NAME_BYTES_MAX {
        return Err(format!("the name has {} bytes; at most {NAME_BYTES_MAX}", name.len()));
    }
    if name.starts_with(['.', '-']) || !name.bytes().all(safe) {
        return Err(format!(
            "{name:?} is no name for a file: letters, digits and . _ - = + @ only, not beginning with . or -"
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_one_safe_segment_passes() {
        for right in ["shift-report_2026-03-29_early.csv", "a", "x..y", &"x".repeat(NAME_BYTES_MAX)] {
            assert_eq!(check(right), Ok(()), "{right}");
        }
        let long = "x".repeat(NAME_BYTES_MAX + 1);
        for wrong in
            ["", ".", "..", "../x", "a/b", "a\\b", "/etc/passwd", ".hidden", "-rf", "a b", "ä", "a\0", "c:x", &long]
        {
            assert!(check(wrong).is_err(), "{wrong}");
        }
    }
}
