//! Refresh tokens: 32 random bytes, given out once and stored only as their SHA-256.
//!
//! A successor is derived from the token it replaces, so that a client whose answer was lost may present the old
//! token again and gets the same successor, without the successor being stored in the clear.
use std::io::{ErrorKind, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};

/// A token in the clear. Has no `Debug`, so that it gets into no log.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct RefreshToken([u8; 32]);

impl RefreshToken {
    /// From the system's random source.
    pub(crate) fn random() -> Self {
        Self(random_bytes())
    }

    /// `None` when the text is not one of our tokens.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let mut bytes = [0; 32];
        let length = URL_SAFE_NO_PAD.decode_slice(text, &mut bytes).ok()?;
        (length == bytes.len()).then_some(Self(bytes))
    }

    /// What the client keeps: base64url, 43 characters.
    pub(crate) fn to_text(&self) -> String {
        URL_SAFE_NO_PAD.encode(self.0)
    }

    /// What the store keeps.
    pub(crate) fn hash(&self) -> Vec<u8> {
        Sha256::digest(self.0).to_vec()
    }
}

/// The secret that successors are derived with.
#[derive(Clone)]
pub(crate) struct RefreshSecret([u8; 32]);

impl RefreshSecret {
    /// Reads the secret, or makes it (mode 0600) when there is none.
    pub(crate) fn load_or_create(path: &Path) -> std::io::Result<Self> {
        if let Some(dir) = path.parent() {
            std::fs::create_dir_all(dir)?;
        }
        let made = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
        match made {
            Ok(mut file) => {
                let secret = random_bytes();
                file.write_all(&secret)?;
                file.sync_all()?;
                Ok(Self(secret))
            }
            Err(e) if e.kind() == ErrorKind::AlreadyExists => {
                let mut secret = [0; 32];
                std::fs::File::open(path)?.read_exact(&mut secret)?;
                Ok(Self(secret))
            }
            Err(e) => Err(e),
        }
    }

    /// The only successor of a token.
    pub(crate) fn successor(&self, token: &RefreshToken) -> RefreshToken {
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.0).expect("HMAC takes a key of any length");
        mac.update(b"gochat refresh successor");
        mac.update(&token.0);
        RefreshToken(mac.finalize().into_bytes().into())
    }
}

/// 43 random characters.
pub(crate) fn random_text() -> String {
    RefreshToken::random().to_text()
}

fn random_bytes() -> [u8; 32] {
    let mut bytes = [0; 32];
    // Without randomness no secret may be given out; there is nothing to fall back to.
    getrandom::fill(&mut bytes).expect("the system gives random bytes");
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_has_one_successor_that_the_secret_decides() {
        let dir = tempfile::tempdir().unwrap();
        let (a, b) = (dir.path().join("sub/a"), dir.path().join("b"));
        let secret = RefreshSecret::load_or_create(&a).unwrap();
        let token = RefreshToken::random();
        let next = secret.successor(&token);
        assert!(next == RefreshSecret::load_or_create(&a).unwrap().successor(&token));
        assert!(next != RefreshSecret::load_or_create(&b).unwrap().successor(&token));
        assert!(next != token && next != secret.successor(&next));
        assert!(RefreshToken::parse(&next.to_text()).unwrap() == next);
        assert_ne!(next.hash(), token.hash());
    }

    #[test]
    fn only_whole_tokens_are_read() {
        for text in ["", "abc", &"A".repeat(44), &"!".repeat(43), &"A".repeat(42)] {
            assert!(RefreshToken::parse(text).is_none(), "{text}");
        }
    }

    #[test]
    fn a_short_secret_file_is_an_error_and_not_a_new_secret() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("short");
        std::fs::write(&path, b"x").unwrap();
        assert!(RefreshSecret::load_or_create(&path).is_err());
    }
}
