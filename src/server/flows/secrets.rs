//! Reading secrets where they are used, and nowhere else.

use config::Secret;
use connect::SecretText;
use std::fs;
use std::os::unix::fs::PermissionsExt;

/// Longest secret, in bytes.
const SECRET_BYTES_MAX: u64 = 64 << 10;

/// Reads a secret.
///
/// # Errors
/// A sentence that names the place, never the secret.
pub fn read(secret: &Secret) -> Result<SecretText, String> {
    match secret {
        Secret::Env { name, default } => match (std::env::var(name), default) {
            (Ok(text), _) => Ok(SecretText::new(text)),
            (Err(_), Some(default)) => Ok(SecretText::new(default.clone())),
            (Err(_), None) => {
                Err(format!("the environment variable {name} is not set; it holds a secret of the configuration"))
            }
        },
        Secret::File(path) => {
            let failed = |error: std::io::Error| format!("the secret in {} cannot be read: {error}", path.display());
            let about = fs::metadata(path).map_err(failed)?;
            if about.permissions().mode() & 0o077 != 0 {
                tracing::warn!(file = %path.display(), "others than its owner may read this secret; chmod 600 it");
            }
            if about.len() > SECRET_BYTES_MAX {
                return Err(format!(
                    "the secret in {} has {} bytes; at most {SECRET_BYTES_MAX} are read",
                    path.display(),
                    about.len()
                ));
            }
            let text = fs::read_to_string(path).map_err(failed)?;
            Ok(SecretText::new(text.trim_end_matches(['\n', '\r'])))
        }
    }
}

/// Reads a PEM file that is no secret.
///
/// # Errors
/// A sentence.
pub fn pem(path: &std::path::Path) -> Result<Vec<u8>, String> {
    fs::read(path).map_err(|error| format!("the certificate {} cannot be read: {error}", path.display()))
}
