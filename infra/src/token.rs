//! Access tokens: JWTs signed with HS256, and nothing else.
//!
//! The algorithm is pinned in code, never taken from the token. A key file holds one or two keys: the first
//! signs, both verify, so that a key can be changed without putting anybody out.
mod key_file;

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use serde::{Deserialize, Serialize};

pub use key_file::KeyFileError;
use key_file::{KeyFile, sync_dir};

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

/// Why the keys were not rotated.
#[derive(Debug, thiserror::Error)]
pub enum RotateError {
    /// Dropping the older key would end tokens that are good.
    #[error("tokens of the key {kid} may be good for another {} s; wait for that, or drop them with --force: \
             their holders must refresh", .for_ms.div_ceil(1000))]
    InUse {
        /// The older key.
        kid: String,
        /// How long its last token may still be good, in milliseconds.
        for_ms: u64,
    },
    /// The file can't be written; the keys in force are as they were.
    #[error(transparent)]
    File(#[from] KeyFileError),
}

/// What a rotation did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rotated {
    /// Signs from now on.
    pub signs: String,
    /// Signed until now, and still verifies.
    pub verifies: String,
    /// Is gone.
    pub dropped: Option<String>,
}

struct Key {
    kid: String,
    encoding: EncodingKey,
    decoding: DecodingKey,
}

/// The keys in force as their file has them, and the file: that may hold newer ones, when their name could not be synced.
struct Kept {
    path: PathBuf,
    keys: KeyFile,
}

/// The keys that sign and verify. Clones share them; any thread may use them.
#[derive(Clone)]
pub struct TokenKeys {
    /// Locked for no longer than it takes to copy or replace the pointer.
    current: Arc<RwLock<Arc<[Key]>>>,
    validation: Arc<Validation>,
    /// One rotation at a time.
    kept: Arc<Mutex<Kept>>,
}

impl fmt::Debug for TokenKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.keys().iter().map(|key| &key.kid)).finish()
    }
}

impl TokenKeys {
    /// Reads the keys, or makes a file with one random key and mode 0600.
    ///
    /// # Errors
    /// When the file can't be read or made, when others may read it, or when its content is not one or two
    /// keys with different names and at least 32 bytes each.
    pub fn load_or_create(path: &Path) -> Result<TokenKeys, KeyFileError> {
        let keys = KeyFile::load_or_create(path)?;
        let mut validation = Validation::new(Algorithm::HS256);
        // The end is checked against the caller's clock.
        validation.validate_exp = false;
        validation.leeway = 0;
        Ok(TokenKeys {
            current: Arc::new(RwLock::new(keys.keys())),
            validation: Arc::new(validation),
            kept: Arc::new(Mutex::new(Kept { path: path.to_owned(), keys })),
        })
    }

    /// Makes a new key, which signs from now on; the one that signed until now goes on verifying, and an older one is
    /// dropped. `token_life_ms` is how long a token may be good. Blocks until the file is synced. What was changed in
    /// the file since it was read is overwritten.
    ///
    /// # Errors
    /// [`RotateError::InUse`] when tokens of the key that would be dropped may still be good, unless `force`d.
    pub fn rotate(&self, token_life_ms: u64, force: bool, now_ms: u64) -> Result<Rotated, RotateError> {
        self.rotate_with(token_life_ms, force, now_ms, sync_dir)
    }

    fn rotate_with(
        &self,
        token_life_ms: u64,
        force: bool,
        now_ms: u64,
        sync_name: impl FnOnce(&Path) -> io::Result<()>,
    ) -> Result<Rotated, RotateError> {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if !force
            && let Some((kid, retired_at_ms)) = kept.keys.retired(&kept.path)?
            && let for_ms = retired_at_ms.saturating_add(token_life_ms).saturating_sub(now_ms)
            && for_ms > 0
        {
            return Err(RotateError::InUse { kid: kid.to_owned(), for_ms });
        }
        // From what is in force and not from the file: a rotation that failed may have got as far as that.
        let (keys, rotated) = kept
            .keys
            .rotated(now_ms)
            .map_err(|source| KeyFileError::Io { path: kept.path.clone(), source })?;
        // What is not safe on disk does not sign: tokens of a key that a power loss takes back would be void.
        keys.replace(&kept.path, sync_name)?;
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = keys.keys();
        kept.keys = keys;
        Ok(rotated)
    }

    fn keys(&self) -> Arc<[Key]> {
        self.current.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Signs with the first key.
    pub fn sign(&self, claims: &Claims) -> String {
        let keys = self.keys();
        let key = &keys[0];
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
        let keys = self.keys();
        let key = keys.iter().find(|key| key.kid == kid).ok_or(TokenError::Invalid)?;
        let data = jsonwebtoken::decode::<Claims>(token, &key.decoding, &self.validation)
            .map_err(|_| TokenError::Invalid)?;
        match data.claims.exp > now_unix_s {
            true => Ok(data.claims),
            false => Err(TokenError::Expired),
        }
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
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    use base64::Engine as _;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;

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
        let kid = &keys.keys()[0].kid;
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
        let dir = tempfile::tempdir().unwrap();
        let entry = |kid: &str, byte: u8| (kid.to_owned(), URL_SAFE_NO_PAD.encode([byte; 32]));
        let of = |name: &str, keys: &[(String, String)]| {
            let keys: Vec<_> =
                keys.iter().map(|(kid, secret)| serde_json::json!({"kid": kid, "secret": secret})).collect();
            let path = dir.path().join(name);
            fs::write(&path, serde_json::json!({ "keys": keys }).to_string()).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
            TokenKeys::load_or_create(&path)
        };
        let old = of("old", &[entry("old", 1)]).unwrap();
        let both = of("both", &[entry("new", 2), entry("old", 1)]).unwrap();
        assert_eq!(both.verify(&old.sign(&claims()), NOW), Ok(claims()));
        assert_eq!(old.verify(&both.sign(&claims()), NOW), Err(TokenError::Invalid));
        let refused = |keys: &[(String, String)], reason: &str| {
            let error = of("bad", keys).unwrap_err().to_string();
            assert!(error.contains(reason), "{error}");
        };
        refused(&[], "one or two keys");
        refused(&[entry("a", 1), entry("a", 2)], "both keys are named a");
        refused(&[("a".into(), "c2hvcnQ".into())], "shorter than 32");
        refused(&[("a".into(), "not base64!".into())], "not base64url");
        // When a key that was put in by hand stopped signing is not known: not before the file was written.
        assert!(matches!(both.rotate(900_000, false, 0), Err(RotateError::InUse { .. })));
    }

    #[test]
    fn a_rotation_puts_nobody_out_before_his_token_has_ended() {
        let (dir, keys) = keys();
        let path = dir.path().join("keys/token.json");
        let shared = keys.clone();
        let (life_ms, now_ms) = (900_000, NOW * 1000);
        let first = keys.sign(&claims());
        let rotated = keys.rotate(life_ms, false, now_ms).unwrap();
        assert_eq!(rotated.dropped, None);
        let second = keys.sign(&claims());
        for holder in [&keys, &shared, &TokenKeys::load_or_create(&path).unwrap()] {
            assert_eq!(holder.verify(&first, NOW), Ok(claims()));
            assert_eq!(holder.verify(&second, NOW), Ok(claims()));
        }
        match keys.rotate(life_ms, false, now_ms + life_ms - 1) {
            Err(RotateError::InUse { kid, for_ms }) => {
                assert_eq!((kid, for_ms), (rotated.verifies.clone(), 1))
            }
            other => panic!("{other:?}"),
        }
        // Refused, and nothing has changed.
        assert_eq!(shared.verify(&first, NOW), Ok(claims()));
        let again = keys.rotate(life_ms, false, now_ms + life_ms).unwrap();
        assert_eq!((again.verifies, again.dropped), (rotated.signs, Some(rotated.verifies)));
        assert_eq!(shared.verify(&first, NOW), Err(TokenError::Invalid));
        assert_eq!(shared.verify(&second, NOW), Ok(claims()));
        keys.rotate(life_ms, true, now_ms + life_ms).unwrap();
        assert_eq!(shared.verify(&second, NOW), Err(TokenError::Invalid));
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1);
    }

    #[test]
    fn keys_that_can_t_be_kept_are_not_used() {
        let (dir, keys) = keys();
        let token = keys.sign(&claims());
        fs::remove_dir_all(dir.path().join("keys")).unwrap();
        assert!(matches!(keys.rotate(0, false, 0), Err(RotateError::File(_))));
        assert_eq!(keys.verify(&token, NOW), Ok(claims()));
    }

    #[test]
    fn a_rotation_that_fails_leaves_no_secret_behind() {
        let (dir, keys) = keys();
        let (folder, path) = (dir.path().join("keys"), dir.path().join("keys/token.json"));
        let before = fs::read(&path).unwrap();
        // Where it writes first there is never room.
        let beside = folder.join(format!("token.json.{}.tmp", std::process::id()));
        std::os::unix::fs::symlink("/dev/full", &beside).unwrap();
        let error = keys.rotate(0, false, 0).unwrap_err().to_string();
        assert!(error.contains("No space left"), "{error}");
        assert_eq!(fs::read(&path).unwrap(), before);
        assert_eq!(fs::read_dir(&folder).unwrap().count(), 1);
        // And where it has to go, it can't.
        fs::remove_file(&path).unwrap();
        fs::create_dir(&path).unwrap();
        assert!(matches!(keys.rotate(0, false, 0), Err(RotateError::File(_))));
        assert_eq!(fs::read_dir(&folder).unwrap().count(), 1);
        fs::remove_dir(&path).unwrap();
        keys.rotate(0, false, 0).unwrap();
    }

    #[test]
    fn a_rotation_whose_file_is_not_surely_kept_is_done_again_and_puts_nobody_out() {
        let (dir, keys) = keys();
        let path = dir.path().join("keys/token.json");
        let (life_ms, now_ms) = (900_000, NOW * 1000);
        let failed =
            keys.rotate_with(life_ms, false, now_ms, |_| Err(io::Error::other("the disk is broken")));
        assert!(matches!(failed, Err(RotateError::File(_))));
        // Signed long after; whichever of both files a crash leaves, it is good.
        let token = keys.sign(&claims());
        let restarted = TokenKeys::load_or_create(&path).unwrap();
        assert_eq!(restarted.verify(&token, NOW), Ok(claims()));
        keys.rotate(life_ms, false, now_ms + 2 * life_ms).unwrap();
        let restarted = TokenKeys::load_or_create(&path).unwrap();
        for holder in [&keys, &restarted] {
            assert_eq!(holder.verify(&token, NOW), Ok(claims()));
            assert_eq!(restarted.verify(&holder.sign(&claims()), NOW), Ok(claims()));
        }
    }
}
