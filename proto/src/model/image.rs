//! Images of containers, named by digest: what was pulled once is what runs ever after.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::digest::Digest;

/// Longest name of a repository that engines take, in bytes.
const REPOSITORY_LEN_MAX: usize = 255;

/// An image by digest, `repository@sha256:…`; never a tag, which may move.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Image {
    repository: String,
    digest: Digest,
}

/// Tells why a text names no image for good.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ImageError {
    /// There is no digest.
    #[error("image `{0}` is not named by its digest: write repository@sha256:DIGEST")]
    NoDigest(String),
    /// There is a digest, and a tag that says nothing beside it.
    #[error("image `{0}` has a tag beside its digest: leave the tag out")]
    Tagged(String),
    /// What stands after `@` is no digest.
    #[error("image `{0}` has no whole digest: write sha256: and 64 hexadecimal digits after the @")]
    Digest(String),
    /// What stands before `@` is no repository.
    #[error("image `{0}` has no repository: write it like registry.example/web@sha256:DIGEST")]
    Repository(String),
}

impl Image {
    /// Returns where it is kept, such as `registry.example:5000/team/web`.
    pub fn repository(&self) -> &str {
        &self.repository
    }

    /// Returns the digest of its manifest.
    pub fn digest(&self) -> Digest {
        self.digest
    }
}

impl FromStr for Image {
    type Err = ImageError;
    fn from_str(text: &str) -> Result<Self, ImageError> {
        let shown = || text.to_owned();
        let (repository, digest) =
            text.split_once('@').ok_or_else(|| ImageError::NoDigest(shown()))?;
        let digest = digest
            .strip_prefix("sha256:")
            .and_then(|hex| hex.parse().ok())
            .ok_or_else(|| ImageError::Digest(shown()))?;
        let (host, path) = repository.split_once('/').unwrap_or(("", repository));
        if path.contains(':') {
            return Err(ImageError::Tagged(shown()));
        }
        if !is_host(host) || !is_path(path) || repository.len() > REPOSITORY_LEN_MAX {
            return Err(ImageError::Repository(shown()));
        }
        Ok(Self { repository: repository.to_owned(), digest })
    }
}

/// Returns whether `text` is nothing, a first part of a path, or a host with or without a port.
fn is_host(text: &str) -> bool {
    let (host, port) = text.split_once(':').unwrap_or((text, "1"));
    let letters = |b: u8| b.is_ascii_alphanumeric() || b"._-".contains(&b);
    host.bytes().all(letters) && port.parse::<u16>().is_ok_and(|port| port > 0)
}

fn is_path(text: &str) -> bool {
    let letters = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"._-".contains(&b);
    text.split('/').all(|part| {
        let first = part.bytes().next();
        first.is_some_and(|b| b.is_ascii_lowercase() || b.is_ascii_digit())
            && part.bytes().all(letters)
    })
}

impl fmt::Display for Image {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@sha256:{}", self.repository, self.digest)
    }
}

impl TryFrom<String> for Image {
    type Error = ImageError;
    fn try_from(text: String) -> Result<Self, ImageError> {
        text.parse()
    }
}

impl From<Image> for String {
    fn from(image: Image) -> Self {
        image.to_string()
    }
}

impl schemars::JsonSchema for Image {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Image".into()
    }
    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({ "type": "string", "pattern": "^[^@]+@sha256:[0-9a-fA-F]{64}$" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DIGEST: &str = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08";

    #[test]
    fn an_image_is_written_as_it_is_read() {
        for repository in ["web", "team/web", "registry.example/web", "127.0.0.1:5000/a/b-c_d.e"] {
            let text = format!("{repository}@sha256:{DIGEST}");
            let image: Image = text.parse().unwrap();
            assert_eq!((image.to_string(), image.repository()), (text, repository));
            assert_eq!(image.digest().to_string(), DIGEST);
        }
    }

    #[test]
    fn what_may_mean_another_image_tomorrow_is_refused() {
        let digest = format!("sha256:{DIGEST}");
        for (text, why) in [
            ("web".to_owned(), "is not named by its digest"),
            ("registry.example/web:latest".to_owned(), "is not named by its digest"),
            ("web:1.4.2".to_owned(), "is not named by its digest"),
            (format!("r.example:5000/web:1.4@{digest}"), "has a tag beside its digest"),
            (format!("web:1.4@{digest}"), "has a tag beside its digest"),
            ("web@sha256:9f86".to_owned(), "has no whole digest"),
            (format!("web@{DIGEST}"), "has no whole digest"),
            (format!("@{digest}"), "has no repository"),
            (format!("Team/Web@{digest}"), "has no repository"),
            (format!("a b/web@{digest}"), "has no repository"),
            (format!("/web/@{digest}"), "has no repository"),
        ] {
            let error = text.parse::<Image>().unwrap_err().to_string();
            assert!(error.contains(why), "{text} gave {error}");
        }
    }
}
