//! Secrets of channels: files in one directory of each controller, read anew for each message.

use std::fmt;
use std::path::Path;

use trireme_proto::keyfile::{FileError, read_private};

/// A secret, which no log, error or message shows.
pub(crate) struct Secret(String);

impl Secret {
    /// Returns the secret itself, for signing or for the request that carries it.
    pub(crate) fn expose(&self) -> &str {
        &self.0
    }

    #[cfg(test)]
    pub(crate) fn of(text: &str) -> Self {
        Self(text.to_owned())
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

impl Drop for Secret {
    fn drop(&mut self) {
        zeroize::Zeroize::zeroize(&mut self.0);
    }
}

/// Tells why a secret cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SecretError {
    /// The file cannot be read, or others can read it too.
    #[error(transparent)]
    File(#[from] FileError),
    /// It does not hold a secret.
    #[error("secret {0} is empty, or not one word of printable ASCII")]
    Content(String),
}

/// Reads a secret; its file may end with a line break.
pub(crate) fn read(dir: &Path, name: &str) -> Result<Secret, SecretError> {
    let bytes = read_private(&dir.join(name))?;
    let text = std::str::from_utf8(&bytes).unwrap_or_default().trim_end_matches(['\r', '\n']);
    if text.is_empty() || !text.bytes().all(|b| b.is_ascii_graphic()) {
        return Err(SecretError::Content(name.to_owned()));
    }
    Ok(Secret(text.to_owned()))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn secrets_are_their_owners_alone_and_never_shown() {
        let dir = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str, mode: u32| {
            let path = dir.path().join(name);
            std::fs::write(&path, text).unwrap();
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        };
        write("good", "canary-7f3a\n", 0o600);
        write("open", "canary-7f3a\n", 0o644);
        write("empty", "\n", 0o600);
        write("lines", "canary-7f3a\nmore\n", 0o600);
        let secret = read(dir.path(), "good").unwrap();
        assert_eq!(secret.expose(), "canary-7f3a");
        assert!(!format!("{secret:?}").contains("canary"));
        for name in ["open", "empty", "lines", "missing"] {
            let error = read(dir.path(), name).unwrap_err();
            assert!(!format!("{error} {error:?}").contains("canary"), "{name}");
        }
    }
}
