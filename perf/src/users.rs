//! Whom the load speaks as: users of a file that `gochat seed` wrote, or new ones made by REST.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde::{Deserialize, Serialize};

use crate::config::Target;
use crate::error::LoadError;
use crate::rest::Rest;

/// A user with a token that the server takes.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct User {
    pub id: u64,
    pub token: String,
}

/// Reads JSON lines `{"userId":"1","username":"…","deviceId":"…","accessToken":"…"}`, at most `max` of them.
///
/// # Errors
/// [`LoadError::BadUsersFile`] with the line's number.
pub fn read_users_file(path: &Path, max: usize) -> Result<Vec<User>, LoadError> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Line {
        user_id: String,
        access_token: String,
    }
    let bad = |why: String| LoadError::BadUsersFile { path: path.display().to_string(), why };
    let file = File::open(path).map_err(|error| bad(error.to_string()))?;
    let mut users = Vec::new();
    for (index, line) in BufReader::new(file).lines().enumerate().take(max) {
        let line = line.map_err(|error| bad(error.to_string()))?;
        let at = |why: String| bad(format!("line {}: {why}", index + 1));
        let line: Line = serde_json::from_str(&line).map_err(|error| at(error.to_string()))?;
        let id = line.user_id.parse().map_err(|_| at(format!("userId {:?} is no number", line.user_id)))?;
        users.push(User { id, token: line.access_token });
    }
    Ok(users)
}

/// The names in such a file, at most `max` of them.
///
/// # Errors
/// [`LoadError::BadUsersFile`] with the line's number.
pub(crate) fn read_names(path: &Path, max: usize) -> Result<Vec<String>, LoadError> {
    #[derive(Deserialize)]
    struct Line {
        username: String,
    }
    let bad = |why: String| LoadError::BadUsersFile { path: path.display().to_string(), why };
    let text = std::fs::read_to_string(path).map_err(|error| bad(error.to_string()))?;
    let names = text.lines().take(max).enumerate().map(|(index, line)| {
        let line: Result<Line, _> = serde_json::from_str(line);
        line.map(|line| line.username).map_err(|error| bad(format!("line {}: {error}", index + 1)))
    });
    names.collect()
}

/// Password hashing is slow on purpose and bounded at the server: more callers only queue.
const REGISTER_THREADS: usize = 8;

/// The name and the password of a user that [`register`] made.
pub(crate) fn registered_name(run: &str, index: usize) -> String {
    format!("p-{run}-{index}")
}

pub(crate) fn registered_password(run: &str) -> String {
    format!("password-{run}")
}

/// Registers and logs in `count` users named `p-{run}-{index}`. `progress` is told each finished user.
///
/// # Errors
/// The first [`LoadError::Rest`]; 503 and 429 are waited out as `Retry-After` says.
pub fn register(
    target: &Target,
    count: usize,
    run: &str,
    progress: impl Fn(usize) + Sync,
) -> Result<Vec<User>, LoadError> {
    let waiting: Mutex<VecDeque<usize>> = Mutex::new((0..count).collect());
    let done: Mutex<Vec<(usize, User)>> = Mutex::new(Vec::with_capacity(count));
    let failure: Mutex<Option<LoadError>> = Mutex::new(None);
    let finished = AtomicUsize::new(0);
    let worker = || {
        let mut rest = Rest::new(target.clone());
        loop {
            let next = waiting.lock().ok().and_then(|mut waiting| waiting.pop_front());
            let Some(index) = next else { return };
            match rest.register_and_login(&registered_name(run, index), &registered_password(run)) {
                Ok(user) => {
                    if let Ok(mut done) = done.lock() {
                        done.push((index, user));
                    }
                    progress(finished.fetch_add(1, Ordering::Relaxed) + 1);
                }
                Err(error) => {
                    if let (Ok(mut failure), Ok(mut waiting)) = (failure.lock(), waiting.lock()) {
                        failure.get_or_insert(error);
                        waiting.clear();
                    }
                    return;
                }
            }
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..REGISTER_THREADS.min(count) {
            scope.spawn(worker);
        }
    });
    if let Some(error) = failure.into_inner().ok().flatten() {
        return Err(error);
    }
    let mut users = done.into_inner().unwrap_or_default();
    users.sort_by_key(|(index, _)| *index);
    Ok(users.into_iter().map(|(_, user)| user).collect())
}
