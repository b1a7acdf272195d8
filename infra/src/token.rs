//! Access tokens: JWTs signed with HS256, and nothing else.
//!
//! The algorithm is pinned in code, never taken from the token. A key file holds one or two keys: the first
//! signs, both verify, so that a key can be changed without putting anybody out.

use std::fmt;
use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use serde::{Deserialize, Serialize};

/// Shorter secrets could be guessed: RFC 7518 section 3.2 asks for as many bytes as the hash has.
const SECRET_BYTES_MIN: usize = 32;

/// No token of ours comes near this; a longer one is not even decoded.
const TOKEN_BYTES_MAX: usize = 2048;

/// What a token says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claims {
    /// The user's id; a string in the token, as RFC 7519 section 4.1.2 wants it.
    #[serde(with = "decimal")]
    pub sub: u64,
    /// The user's device.
    pub device: String,
    /// When it was issued, in milliseconds since 1970. In the token it is a NumericDate with a fraction
    /// (`1764000000.123`): a revocation and the next login may fall into one second.
    #[serde(rename = "iat", with = "numeric_date")]
    pub iat_ms: u64,
    /// When it ends, in seconds since 1970: from this second on it is expired.
    pub exp: u64,
}

/// Why a token is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// It was good once.
    #[error("the token has expired")]
    Expired,
    /// Not signed by us, or not a token at all.
    #[error("the token is not valid")]
    Invalid,
}

/// Why there are no keys.
#[derive(Debug, thiserror::Error)]
pub enum KeyFileError {
    /// The file can't be read or made.
    #[error("token keys {path}: {source}")]
    Io {
        /// The key file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The file is there but doesn't hold what it should.
    #[error("token keys {path}: {reason}")]
    Content {
        /// The key file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct KeyFile {
    keys: Vec<KeyEntry>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct KeyEntry {
    kid: String,
    /// base64url without padding.
    secret: String,
}

struct Key {
    kid: String,
    encoding: EncodingKey,
    decoding: DecodingKey,
}

/// The keys that sign and verify. Clones share them; any thread may use them.
#[derive(Clone)]
pub struct TokenKeys {
    keys: Arc<[Key]>,
    validation: Arc<Validation>,
}

impl fmt::Debug for TokenKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.keys.iter().map(|key| &key.kid)).finish()
    }
}

impl TokenKeys {
    /// Reads the keys, or makes a file with one random key and mode 0600.
    ///
    /// # Errors
    /// When the file can't be read or made, when others may read it, or when its content is not one or two
    /// keys with different names and at least 32 bytes each.
    pub fn load_or_create(path: &Path) -> Result<TokenKeys, KeyFileError> {
        let io = |source| KeyFileError::Io { path: path.to_owned(), source };
        match fs::metadata(path) {
            Ok(meta) => {
                let mode = meta.permissions().mode() & 0o777;
                if mode & 0o077 != 0 {
                    let reason = format!("mode is {mode:o}, others could read it: chmod 600");
                    return Err(KeyFileError::Content { path: path.to_owned(), reason });
                }
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => create(path).map_err(io)?,
            Err(error) => return Err(io(error)),
        }
        let text = fs::read(path).map_err(io)?;
        parse(&text).map_err(|reason| KeyFileError::Content { path: path.to_owned(), reason })
    }

    /// Signs with the first key.
    pub fn sign(&self, claims: &Claims) -> String {
        let key = &self.keys[0];
        let mut header = Header::new(Algorithm::HS256);
        header.kid = Some(key.kid.clone());
        // HMAC takes a key of any length and the claims are plain data: there is nothing here that can fail.
        jsonwebtoken::encode(&header, claims, &key.encoding).expect("HS256 signs any claims")
    }

    /// Checks algorithm, key, signature and end of a token.
    ///
    /// # Errors
    /// [`TokenError::Expired`] only for a token that we signed; anything else is [`TokenError::Invalid`].
    pub fn verify(&self, token: &str, now_unix_s: u64) -> Result<Claims, TokenError> {
        if token.len() > TOKEN_BYTES_MAX {
            return Err(TokenError::Invalid);
        }
        let header = jsonwebtoken::decode_header(token).map_err(|_| TokenError::Invalid)?;
        let kid = header.kid.as_deref().ok_or(TokenError::Invalid)?;
        let key = self.keys.iter().find(|key| key.kid == kid).ok_or(TokenError::Invalid)?;
        let data = jsonwebtoken::decode::<Claims>(token, &key.decoding, &self.validation)
            .map_err(|_| TokenError::Invalid)?;
        match data.claims.exp > now_unix_s {
            true => Ok(data.claims),
            false => Err(TokenError::Expired),
        }
    }
}

fn parse(text: &[u8]) -> Result<TokenKeys, String> {
    let file: KeyFile = serde_json::from_slice(text).map_err(|error| error.to_string())?;
    if !(1..=2).contains(&file.keys.len()) {
        return Err(format!("one or two keys are needed, not {}", file.keys.len()));
    }
    if file.keys.len() == 2 && file.keys[0].kid == file.keys[1].kid {
        return Err(format!("both keys are named {}", file.keys[0].kid));
    }
    let mut keys = Vec::with_capacity(2);
    for entry in file.keys {
        let secret = URL_SAFE_NO_PAD
            .decode(&entry.secret)
            .map_err(|_| format!("the secret of {} is not base64url", entry.kid))?;
        if secret.len() < SECRET_BYTES_MIN {
            return Err(format!("the secret of {} is shorter than {SECRET_BYTES_MIN} bytes", entry.kid));
        }
        keys.push(Key {
            kid: entry.kid,
            encoding: EncodingKey::from_secret(&secret),
            decoding: DecodingKey::from_secret(&secret),
        });
    }
    let mut validation = Validation::new(Algorithm::HS256);
    // The end is checked against the caller's clock.
    validation.validate_exp = false;
    validation.leeway = 0;
    Ok(TokenKeys { keys: keys.into(), validation: Arc::new(validation) })
}

/// Written beside and linked into place: two processes that start together end up with one file.
fn create(path: &Path) -> io::Result<()> {
    let random = |bytes: &mut [u8]| getrandom::fill(bytes).map_err(io::Error::other);
    let (mut secret, mut kid) = ([0; 32], [0; 6]);
    random(&mut secret)?;
    random(&mut kid)?;
    let entry = KeyEntry { kid: URL_SAFE_NO_PAD.encode(kid), secret: URL_SAFE_NO_PAD.encode(secret) };
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    let mut beside = path.as_os_str().to_owned();
    beside.push(format!(".{}.tmp", std::process::id()));
    let mut file =
        fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&beside)?;
    file.write_all(&serde_json::to_vec_pretty(&KeyFile { keys: vec![entry] })?)?;
    file.sync_all()?;
    let linked = fs::hard_link(&beside, path);
    fs::remove_file(&beside)?;
    match linked {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
        _ => Ok(()),
    }
}

mod decimal {
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub(super) fn serialize<S: Serializer>(value: &u64, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(value)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}

/// Milliseconds as RFC 7519's NumericDate: seconds, with a fraction.
mod numeric_date {
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    /// Up to here a double holds every millisecond exactly enough to be found again by rounding.
    const SECONDS_MAX: f64 = 1e12;

    pub(super) fn serialize<S: Serializer>(ms: &u64, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_f64(*ms as f64 / 1000.0)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
        let seconds = f64::deserialize(deserializer)?;
        match (0.0..SECONDS_MAX).contains(&seconds) {
            true => Ok((seconds * 1000.0).round() as u64),
            false => Err(D::Error::custom("a time in seconds since 1970 is wanted")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: u64 = 1_800_000_000;

    fn keys() -> (tempfile::TempDir, TokenKeys) {
        let dir = tempfile::tempdir().unwrap();
        let keys = TokenKeys::load_or_create(&dir.path().join("keys/token.json")).unwrap();
        (dir, keys)
    }

    fn claims() -> Claims {
        Claims { sub: u64::MAX, device: "phone".into(), iat_ms: NOW * 1000 + 123, exp: NOW + 900 }
    }

    #[test]
    fn a_signed_token_verifies_until_its_last_second() {
        let (_dir, keys) = keys();
        let token = keys.sign(&claims());
        assert_eq!(keys.verify(&token, NOW + 899), Ok(claims()));
        assert_eq!(keys.verify(&token, NOW + 900), Err(TokenError::Expired));
    }

    #[test]
    fn the_time_of_issue_keeps_its_milliseconds() {
        let (_dir, keys) = keys();
        for iat_ms in [0, 1, 999, 1_764_000_000_123, 1_764_000_000_999, 1_764_000_001_000, 99_999_999_999_999]
        {
            let token = keys.sign(&Claims { iat_ms, ..claims() });
            assert_eq!(keys.verify(&token, NOW).unwrap().iat_ms, iat_ms);
        }
        let token = keys.sign(&Claims { iat_ms: 1_764_000_000_123, ..claims() });
        let payload = URL_SAFE_NO_PAD.decode(token.split('.').nth(1).unwrap()).unwrap();
        let payload = String::from_utf8(payload).unwrap();
        assert!(payload.contains("\"iat\":1764000000.123"), "{payload}");
        // As other programs write it: without a fraction.
        let of = |iat: &str| {
            serde_json::from_str::<Claims>(&format!(r#"{{"sub":"1","device":"d","iat":{iat},"exp":1}}"#))
        };
        assert_eq!(of("1764000000").unwrap().iat_ms, 1_764_000_000_000);
        assert!(of("-1").is_err() && of("1e300").is_err() && of("\"1\"").is_err());
    }

    #[test]
    fn a_changed_or_foreign_token_is_invalid() {
        let (_dir, keys) = keys();
        let token = keys.sign(&claims());
        let check = |token: &str| assert_eq!(keys.verify(token, NOW), Err(TokenError::Invalid), "{token}");
        let parts: Vec<&str> = token.split('.').collect();
        let part = |json: &str| URL_SAFE_NO_PAD.encode(json);
        let forged = part(r#"{"sub":"1","device":"phone","iat":1,"exp":99999999999}"#);
        check(&format!("{}.{forged}.{}", parts[0], parts[2]));
        check(&format!("{}.{}.", part(r#"{"alg":"none","typ":"JWT"}"#), parts[1]));
        let kid = &keys.keys[0].kid;
        check(&format!("{}.{}.", part(&format!(r#"{{"alg":"none","kid":"{kid}"}}"#)), parts[1]));
        check(&format!("{}.{}.{}", part(&format!(r#"{{"alg":"HS512","kid":"{kid}"}}"#)), parts[1], parts[2]));
        check(&format!("{}.{}.{}", part(r#"{"alg":"HS256","kid":"other"}"#), parts[1], parts[2]));
        check(&format!("{}.{}.{}", part(r#"{"alg":"HS256"}"#), parts[1], parts[2]));
        check("");
        check("a.b.c");
        check(&"a".repeat(10_000));
        let (_dir2, others) = self::keys();
        check(&others.sign(&claims()));
        // An expired token that we did not sign says nothing about its end.
        assert_eq!(others.verify(&token, NOW + 9000), Err(TokenError::Invalid));
    }

    #[test]
    fn the_file_is_private_kept_and_refused_when_open_to_others() {
        let (dir, keys) = keys();
        let path = dir.path().join("keys/token.json");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1);
        let again = TokenKeys::load_or_create(&path).unwrap();
        assert_eq!(again.verify(&keys.sign(&claims()), NOW), Ok(claims()));
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        let error = TokenKeys::load_or_create(&path).unwrap_err();
        assert!(error.to_string().contains("640"), "{error}");
    }

    #[test]
    fn two_keys_verify_and_the_first_signs() {
        let entry =
            |kid: &str, byte: u8| KeyEntry { kid: kid.into(), secret: URL_SAFE_NO_PAD.encode([byte; 32]) };
        let of = |keys| parse(&serde_json::to_vec(&KeyFile { keys }).unwrap());
        let old = of(vec![entry("old", 1)]).unwrap();
        let both = of(vec![entry("new", 2), entry("old", 1)]).unwrap();
        assert_eq!(both.verify(&old.sign(&claims()), NOW), Ok(claims()));
        assert_eq!(old.verify(&both.sign(&claims()), NOW), Err(TokenError::Invalid));
        assert!(of(vec![]).is_err());
        assert!(of(vec![entry("a", 1), entry("a", 2)]).is_err());
        assert!(of(vec![KeyEntry { kid: "a".into(), secret: "c2hvcnQ".into() }]).is_err());
    }
}
