//! The data folder: its layout, its version, and the lock that keeps a second process out.
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

/// Raised when the layout of the folder changes in a way that older programs would damage.
const LAYOUT_VERSION: u32 = 1;

/// How long a process that was just killed may still hold the lock while the kernel takes it apart.
const LOCK_WAIT: Duration = Duration::from_secs(3);

/// An open data folder. The lock ends with the process, however that ends.
pub(crate) struct DataDir {
    root: PathBuf,
    _lock: File,
}

impl DataDir {
    /// Creates the folder when there is none, takes its lock and checks its version.
    pub(crate) fn open(root: &Path) -> Result<Self> {
        fs::create_dir_all(root)
            .with_context(|| format!("the data folder {} can't be created", root.display()))?;
        let lock_path = root.join("LOCK");
        let lock = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&lock_path)
            .with_context(|| format!("{} can't be opened", lock_path.display()))?;
        match lock_soon(&lock) {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => bail!(
                "the data folder {} is in use by another gochat process; stop that one or choose another with --data",
                root.display()
            ),
            Err(TryLockError::Error(error)) => {
                return Err(error).with_context(|| format!("{} can't be locked", lock_path.display()));
            }
        }
        let dir = DataDir { root: root.to_owned(), _lock: lock };
        dir.check_version()?;
        Ok(dir)
    }

    fn check_version(&self) -> Result<()> {
        let path = self.root.join("VERSION");
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return self.write_version(&path),
            Err(error) => return Err(error).with_context(|| format!("{} can't be read", path.display())),
        };
        let found: u32 = text
            .trim()
            .parse()
            .with_context(|| format!("{} does not hold a version number: {text:?}", path.display()))?;
        if found > LAYOUT_VERSION {
            bail!(
                "the data folder {} was written by a newer gochat (layout {found}, this one knows {LAYOUT_VERSION}); \
                 run that version or restore a backup of this one",
                self.root.display()
            );
        }
        Ok(())
    }

    fn write_version(&self, path: &Path) -> Result<()> {
        let write = || -> std::io::Result<()> {
            let temporary = path.with_extension("new");
            let mut file = File::create(&temporary)?;
            writeln!(file, "{LAYOUT_VERSION}")?;
            file.sync_all()?;
            fs::rename(&temporary, path)?;
            File::open(&self.root)?.sync_all()
        };
        write().with_context(|| format!("{} can't be written", path.display()))
    }

    pub(crate) fn queue(&self) -> PathBuf {
        self.root.join("queue")
    }

    pub(crate) fn store(&self) -> PathBuf {
        self.root.join("gochat.db")
    }

    pub(crate) fn keys(&self) -> PathBuf {
        self.root.join("keys.json")
    }

    pub(crate) fn refresh_secret(&self) -> PathBuf {
        self.root.join("refresh.key")
    }

    pub(crate) fn ids(&self) -> PathBuf {
        self.root.join("ids")
    }
}

/// Waits for a lock that is about to be free: a supervisor may start the next process before the last one is gone.
fn lock_soon(lock: &File) -> Result<(), TryLockError> {
    let deadline = Instant::now() + LOCK_WAIT;
    loop {
        match lock.try_lock() {
            Err(TryLockError::WouldBlock) if Instant::now() < deadline => {
                std::thread::sleep(Duration::from_millis(20));
            }
            done => return done,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_process_and_a_newer_layout_are_refused_with_a_sentence() {
        let temp = tempfile::tempdir().unwrap();
        let root = temp.path().join("data");
        let first = DataDir::open(&root).unwrap();
        let refused = DataDir::open(&root).err().expect("the lock is held").to_string();
        assert!(refused.contains("in use by another gochat process"), "{refused}");

        drop(first);
        DataDir::open(&root).unwrap();
        fs::write(root.join("VERSION"), "2\n").unwrap();
        let refused = DataDir::open(&root).err().expect("the layout is newer").to_string();
        assert!(refused.contains("newer gochat (layout 2"), "{refused}");
    }
}
