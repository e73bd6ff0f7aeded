//! Secrets by reference: the file names where a secret stands, never the secret itself.
//!
//! Does not read the environment or any file; whoever uses a secret does that, at the time of use.

use std::fmt;
use std::path::PathBuf;

/// Where a secret is to be read from when it is needed.
#[derive(Clone, PartialEq, Eq)]
pub enum Secret {
    /// An environment variable: `{ env = "NAME", default = "for tests" }`.
    Env {
        /// The variable's name.
        name: String,
        /// What stands for it when it is not set; meant for demos and tests.
        default: Option<String>,
    },
    /// A file whose content, without a trailing newline, is the secret: `{ file = "PATH" }`.
    File(PathBuf),
}

impl fmt::Debug for Secret {
    /// Names the place, never a value: a default counts as a value.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Env { name, default: None } => write!(f, "Secret(env {name})"),
            Self::Env { name, default: Some(_) } => write!(f, "Secret(env {name}, with a default)"),
            Self::File(path) => write!(f, "Secret(file {})", path.display()),
        }
    }
}
