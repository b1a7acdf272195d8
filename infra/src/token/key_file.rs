//! The file that the signing keys are kept in: mode 0600, replaced whole.
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::UNIX_EPOCH;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{DecodingKey, EncodingKey};
use serde::{Deserialize, Serialize};

use super::{Key, Rotated};

/// Shorter secrets could be guessed: RFC 7518 section 3.2 asks for as many bytes as the hash has.
const SECRET_BYTES_MIN: usize = 32;

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

/// One or two keys; the first signs, both verify.
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct KeyFile {
    keys: Vec<KeyEntry>,
}

#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct KeyEntry {
    kid: String,
    /// base64url without padding.
    #[serde(with = "base64url")]
    secret: Vec<u8>,
    /// When it stopped signing, in milliseconds since 1970.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    retired_at_ms: Option<u64>,
}

impl KeyFile {
    /// Reads the keys, or makes a file with one random key.
    pub(super) fn load_or_create(path: &Path) -> Result<KeyFile, KeyFileError> {
        match KeyFile::load(path) {
            Err(KeyFileError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
                create(path).map_err(|source| KeyFileError::Io { path: path.to_owned(), source })?;
                KeyFile::load(path)
            }
            done => done,
        }
    }

    pub(super) fn load(path: &Path) -> Result<KeyFile, KeyFileError> {
        let io = |source| KeyFileError::Io { path: path.to_owned(), source };
        let content = |reason| KeyFileError::Content { path: path.to_owned(), reason };
        let mode = fs::metadata(path).map_err(io)?.permissions().mode() & 0o777;
        if mode & 0o077 != 0 {
            return Err(content(format!("mode is {mode:o}, others could read it: chmod 600")));
        }
        let text = fs::read(path).map_err(io)?;
        let file: KeyFile = serde_json::from_slice(&text).map_err(|error| content(error.to_string()))?;
        file.check().map_err(content)?;
        Ok(file)
    }

    fn check(&self) -> Result<(), String> {
        if !(1..=2).contains(&self.keys.len()) {
            return Err(format!("one or two keys are needed, not {}", self.keys.len()));
        }
        if self.keys.len() == 2 && self.keys[0].kid == self.keys[1].kid {
            return Err(format!("both keys are named {}", self.keys[0].kid));
        }
        match self.keys.iter().find(|key| key.secret.len() < SECRET_BYTES_MIN) {
            Some(short) => {
                Err(format!("the secret of {} is shorter than {SECRET_BYTES_MIN} bytes", short.kid))
            }
            None => Ok(()),
        }
    }

    pub(super) fn keys(&self) -> Arc<[Key]> {
        let key = |entry: &KeyEntry| Key {
            kid: entry.kid.clone(),
            encoding: EncodingKey::from_secret(&entry.secret),
            decoding: DecodingKey::from_secret(&entry.secret),
        };
        self.keys.iter().map(key).collect()
    }

    /// The key that only verifies, and when it stopped signing. Of one that was put in by hand that is not known: at
    /// the latest when the file was written.
    pub(super) fn retired(&self, path: &Path) -> Result<Option<(&str, u64)>, KeyFileError> {
        let Some(second) = self.keys.get(1) else { return Ok(None) };
        let written_ms = || {
            let modified = fs::metadata(path)?.modified()?;
            Ok(modified.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64))
        };
        let retired_at_ms = match second.retired_at_ms {
            Some(at_ms) => at_ms,
            None => written_ms().map_err(|source| KeyFileError::Io { path: path.to_owned(), source })?,
        };
        Ok(Some((&second.kid, retired_at_ms)))
    }

    /// The same with a new key first: the one that signed until now is kept, an older one dropped.
    pub(super) fn rotated(&self, now_ms: u64) -> io::Result<(KeyFile, Rotated)> {
        let new = KeyEntry::random()?;
        let signed = KeyEntry { retired_at_ms: Some(now_ms), ..self.keys[0].clone() };
        let rotated = Rotated {
            signs: new.kid.clone(),
            verifies: signed.kid.clone(),
            dropped: self.keys.get(1).map(|older| older.kid.clone()),
        };
        Ok((KeyFile { keys: vec![new, signed] }, rotated))
    }

    /// Takes the place of the file. It is synced when this returns; `sync_name` is what makes its name safe, given the
    /// folder. On an error the file is the old one; or the new one, when that was the last step and failed.
    pub(super) fn replace(
        &self,
        path: &Path,
        sync_name: impl FnOnce(&Path) -> io::Result<()>,
    ) -> Result<(), KeyFileError> {
        let io = |source| KeyFileError::Io { path: path.to_owned(), source };
        let beside = self.write_beside(path).map_err(io)?;
        if let Err(error) = fs::rename(&beside, path) {
            // The first error is the one to tell.
            let _ = fs::remove_file(&beside);
            return Err(io(error));
        }
        sync_name(folder_of(path)).map_err(io)
    }

    /// What is left of a failed write would hold a secret: nothing is.
    fn write_beside(&self, path: &Path) -> io::Result<PathBuf> {
        let mut beside = path.as_os_str().to_owned();
        beside.push(format!(".{}.tmp", std::process::id()));
        let beside = PathBuf::from(beside);
        let text = serde_json::to_vec_pretty(self)?;
        let mut file =
            OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&beside)?;
        if let Err(error) = file.write_all(&text).and_then(|()| file.sync_all()) {
            let _ = fs::remove_file(&beside);
            return Err(error);
        }
        Ok(beside)
    }
}

impl KeyEntry {
    fn random() -> io::Result<KeyEntry> {
        let random = |bytes: &mut [u8]| getrandom::fill(bytes).map_err(io::Error::other);
        let (mut secret, mut kid) = (vec![0; SECRET_BYTES_MIN], [0; 6]);
        random(&mut secret)?;
        random(&mut kid)?;
        Ok(KeyEntry { kid: URL_SAFE_NO_PAD.encode(kid), secret, retired_at_ms: None })
    }
}

/// Written beside and linked into place: two processes that start together end up with one file.
fn create(path: &Path) -> io::Result<()> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    let beside = KeyFile { keys: vec![KeyEntry::random()?] }.write_beside(path)?;
    let linked = fs::hard_link(&beside, path);
    fs::remove_file(&beside)?;
    match linked {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
        _ => sync_dir(folder_of(path)),
    }
}

fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if folder != Path::new("") => folder,
        _ => Path::new("."),
    }
}

pub(super) fn sync_dir(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

mod base64url {
    use base64::Engine as _;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub(super) fn serialize<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&URL_SAFE_NO_PAD.encode(bytes))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
        // What was given is a secret, and so no part of the error.
        let text = String::deserialize(deserializer)?;
        URL_SAFE_NO_PAD.decode(text).map_err(|_| D::Error::custom("a secret is not base64url"))
    }
}
