//! How a command ends.

use crate::error::LoadError;

/// How a command ended. The numbers are kept: scripts rely on them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    Ok = 0,
    /// The server broke a promise: something was lost, doubled, out of order, left out or made up.
    Broken = 1,
    /// The command line asked for something that cannot be.
    Usage = 2,
    /// The load could not be run: no server, no users, no file.
    CouldNotRun = 3,
    /// All promises were kept, and an `--assert` was not.
    Asserted = 4,
    /// With `--gate`: worse by more than noise.
    Worse = 5,
}

impl Exit {
    /// How a process of this program ended; `None` as its code: it was killed.
    pub(crate) fn of_code(code: Option<i32>) -> Exit {
        let all = [Exit::Ok, Exit::Broken, Exit::Usage, Exit::CouldNotRun, Exit::Asserted, Exit::Worse];
        all.into_iter().find(|exit| code == Some(*exit as i32)).unwrap_or(Exit::CouldNotRun)
    }
}

impl From<&LoadError> for Exit {
    fn from(error: &LoadError) -> Exit {
        match error {
            LoadError::BadUrl { .. } | LoadError::BadConfig(_) => Exit::Usage,
            LoadError::Run { exit, .. } => *exit,
            _ => Exit::CouldNotRun,
        }
    }
}
