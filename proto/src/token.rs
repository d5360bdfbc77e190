//! Join tokens: the one-time secret by which a new agent or person is let in.
//!
//! A token reads `<id>.<secret>.<ca-pin>`. The id is public and finds the record; the secret is
//! 128 random bits, of which the controllers store a hash; the pin is the digest of the fleet's
//! root, by which the joiner knows whom it gives the secret to. Who may be admitted, until when
//! and how often is the replicated record's part, not this module's.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;
use zeroize::Zeroizing;

use crate::digest::Digest;

/// Length of the public id.
pub const ID_LEN: usize = 8;
/// Length of the secret in bytes; twice that in hexadecimal digits.
pub const SECRET_LEN: usize = 16;

/// Keeps the hash apart from any other that is taken of the same bytes.
const DOMAIN: &[u8] = b"trireme join token v1\0";

/// Tells why a text is not a token; never repeats the secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// Not three parts.
    #[error("join token has {0} parts instead of three: expected <id>.<secret>.<ca-pin>")]
    Parts(usize),
    /// The id breaks the grammar.
    #[error("join token's id must be {ID_LEN} of a-z and 0-9")]
    Id,
    /// The secret breaks the grammar.
    #[error("join token's secret must be 32 hexadecimal digits: copy the whole token")]
    Secret,
    /// The pin breaks the grammar.
    #[error("join token's CA pin must be 64 hexadecimal digits: copy the whole token")]
    Pin,
}

/// The public part of a token, by which its record is found.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct TokenId(String);

impl TokenId {
    /// Makes an id of random bytes.
    pub fn from_random(random: [u8; ID_LEN]) -> Self {
        const ALPHABET: &[u8; 36] = b"abcdefghijklmnopqrstuvwxyz0123456789";
        Self(random.iter().map(|byte| char::from(ALPHABET[usize::from(*byte) % 36])).collect())
    }

    /// Returns the id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for TokenId {
    type Err = TokenError;
    fn from_str(text: &str) -> Result<Self, TokenError> {
        let valid = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
        if text.len() == ID_LEN && text.bytes().all(valid) {
            Ok(Self(text.to_owned()))
        } else {
            Err(TokenError::Id)
        }
    }
}

impl TryFrom<String> for TokenId {
    type Error = TokenError;
    fn try_from(text: String) -> Result<Self, TokenError> {
        text.parse()
    }
}

impl From<TokenId> for String {
    fn from(id: TokenId) -> Self {
        id.0
    }
}

impl fmt::Display for TokenId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

/// The secret part of a token: wiped when dropped, silent in `Debug`.
#[derive(Clone)]
pub struct TokenSecret(Zeroizing<[u8; SECRET_LEN]>);

impl TokenSecret {
    /// Wraps random bytes.
    pub fn from_random(random: [u8; SECRET_LEN]) -> Self {
        Self(Zeroizing::new(random))
    }

    /// Returns the text that goes into the joiner's request.
    pub fn expose(&self) -> Zeroizing<String> {
        Zeroizing::new(crate::identity::hex(self.0.as_slice()))
    }

    /// Returns what the fleet stores: a hash bound to the token's id.
    pub fn hash(&self, id: &TokenId) -> SecretHash {
        let mut hash = Sha256::new();
        hash.update(DOMAIN);
        hash.update(id.as_str().as_bytes());
        hash.update(self.0.as_slice());
        SecretHash(Digest::from_bytes(hash.finalize().into()))
    }
}

impl FromStr for TokenSecret {
    type Err = TokenError;
    fn from_str(text: &str) -> Result<Self, TokenError> {
        let digits = text.as_bytes();
        if digits.len() != 2 * SECRET_LEN {
            return Err(TokenError::Secret);
        }
        let mut secret = Zeroizing::new([0; SECRET_LEN]);
        for (byte, pair) in secret.iter_mut().zip(digits.chunks_exact(2)) {
            *byte = nibble(pair[0])? << 4 | nibble(pair[1])?;
        }
        Ok(Self(secret))
    }
}

/// Reads one lower-case hexadecimal digit.
const fn nibble(digit: u8) -> Result<u8, TokenError> {
    match digit {
        b'0'..=b'9' => Ok(digit - b'0'),
        b'a'..=b'f' => Ok(digit - b'a' + 10),
        _ => Err(TokenError::Secret),
    }
}

impl fmt::Debug for TokenSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TokenSecret(..)")
    }
}

/// The stored hash of a token's secret; compared in constant time only.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SecretHash(Digest);

impl PartialEq for SecretHash {
    fn eq(&self, other: &Self) -> bool {
        self.0.as_bytes().ct_eq(other.0.as_bytes()).into()
    }
}

impl Eq for SecretHash {}

/// A whole token, as shown once to the one who asked for it.
#[derive(Debug, Clone)]
pub struct Token {
    /// Finds the record.
    pub id: TokenId,
    /// Proves the right to join.
    pub secret: TokenSecret,
    /// Digest of the fleet's root certificate.
    pub pin: Digest,
}

impl Token {
    /// Makes a token of random bytes for the fleet whose root has this digest.
    pub fn generate(id: [u8; ID_LEN], secret: [u8; SECRET_LEN], pin: Digest) -> Self {
        Self { id: TokenId::from_random(id), secret: TokenSecret::from_random(secret), pin }
    }

    /// Returns the text form, secret included.
    pub fn expose(&self) -> Zeroizing<String> {
        Zeroizing::new(format!("{}.{}.{}", self.id, *self.secret.expose(), self.pin))
    }

    /// Returns what the fleet stores of the secret.
    pub fn secret_hash(&self) -> SecretHash {
        self.secret.hash(&self.id)
    }
}

impl FromStr for Token {
    type Err = TokenError;
    fn from_str(text: &str) -> Result<Self, TokenError> {
        let text = text.trim();
        let parts: Vec<&str> = text.split('.').collect();
        let &[id, secret, pin] = parts.as_slice() else {
            return Err(TokenError::Parts(parts.len()));
        };
        let pin = pin.parse().map_err(|_| TokenError::Pin)?;
        Ok(Self { id: id.parse()?, secret: secret.parse()?, pin })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn token() -> Token {
        Token::generate([7; 8], [0xab; 16], Digest::of(b"root"))
    }

    proptest! {
        #[test]
        fn every_token_is_read_as_it_is_written(
            id: [u8; 8], secret: [u8; 16], root: Vec<u8>,
        ) {
            let token = Token::generate(id, secret, Digest::of(&root));
            let read: Token = token.expose().parse().unwrap();
            prop_assert_eq!(&read.id, &token.id);
            prop_assert_eq!(read.pin, token.pin);
            prop_assert_eq!(read.secret_hash(), token.secret_hash());
        }

        #[test]
        fn no_text_makes_the_parser_panic(text in "\\PC{0,120}") {
            let _unused = text.parse::<Token>().is_ok();
        }
    }

    #[test]
    fn says_what_is_wrong_with_a_token() {
        let (id, secret, pin) = ("abcdefgh", "0".repeat(32), "0".repeat(64));
        for (text, error) in [
            (String::new(), TokenError::Parts(1)),
            (format!("{id}.{secret}"), TokenError::Parts(2)),
            (format!("{id}.{secret}.{pin}.x"), TokenError::Parts(4)),
            (format!("abc.{secret}.{pin}"), TokenError::Id),
            (format!("ABCDEFGH.{secret}.{pin}"), TokenError::Id),
            (format!("{id}.{}.{pin}", &secret[1..]), TokenError::Secret),
            (format!("{id}.{}.{pin}", "g".repeat(32)), TokenError::Secret),
            (format!("{id}.{}.{pin}", "é".repeat(16)), TokenError::Secret),
            (format!("{id}.{secret}.{}", &pin[1..]), TokenError::Pin),
        ] {
            assert_eq!(text.parse::<Token>().unwrap_err(), error, "{text}");
        }
    }

    #[test]
    fn neither_debug_nor_errors_show_the_secret() {
        let token = token();
        let secret = token.secret.expose();
        assert!(!format!("{token:?} {:?}", token.secret_hash()).contains(secret.as_str()));
        let error = format!("x.{}.y", *secret).parse::<Token>().unwrap_err();
        assert!(!format!("{error} {error:?}").contains(secret.as_str()));
    }

    #[test]
    fn the_hash_is_bound_to_secret_and_id() {
        let token = token();
        let other_id = TokenId::from_random([8; 8]);
        let other_secret = TokenSecret::from_random([1; 16]);
        assert_eq!(token.secret_hash(), token.secret.hash(&token.id));
        assert_ne!(token.secret_hash(), token.secret.hash(&other_id));
        assert_ne!(token.secret_hash(), other_secret.hash(&token.id));
    }
}
