//! The data folder: its layout, its version, who may look into it, and the lock that keeps a second process out.
use std::fs::{self, DirBuilder, File, OpenOptions, Permissions, TryLockError};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

/// Raised when the layout of the folder changes in a way that older programs would damage.
pub(crate) const LAYOUT_VERSION: u32 = 1;

/// Stands in the folder while a backup is being restored to it.
const RESTORING: &str = "RESTORING";

/// How long a process that was just killed may still hold the lock while the kernel takes it apart.
const LOCK_WAIT: Duration = Duration::from_secs(3);

/// An open data folder; clones share its lock. The lock ends with the process, however that ends.
#[derive(Clone)]
pub(crate) struct DataDir {
    root: PathBuf,
    _lock: Arc<File>,
}

impl DataDir {
    /// Creates the folder when there is none, closes it to others, takes its lock and checks its version.
    pub(crate) fn open(root: &Path) -> Result<Self> {
        let dir = DataDir::lock(root)?;
        ensure!(
            !root.join(RESTORING).exists(),
            "a restore to the data folder {} was not finished; remove the folder and restore again",
            root.display()
        );
        dir.check_version()?;
        Ok(dir)
    }

    /// Makes an empty folder that can't be opened until [`DataDir::end_restore`]: half a backup must not be served.
    pub(crate) fn begin_restore(root: &Path) -> Result<Self> {
        let dir = DataDir::lock(root)?;
        let begin = || -> std::io::Result<()> {
            File::create(root.join(RESTORING))?.sync_all()?;
            sync_dir(root)
        };
        begin().with_context(|| format!("the data folder {} can't be written", root.display()))?;
        Ok(dir)
    }

    /// All of the backup is there and synced.
    pub(crate) fn end_restore(&self) -> Result<()> {
        self.check_version()?;
        let end = || -> std::io::Result<()> {
            sync_dir(&self.root)?;
            fs::remove_file(self.root.join(RESTORING))?;
            sync_dir(&self.root)
        };
        end().with_context(|| format!("the data folder {} can't be written", self.root.display()))
    }

    fn lock(root: &Path) -> Result<Self> {
        make_private(root)?;
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
        Ok(DataDir { root: root.to_owned(), _lock: Arc::new(lock) })
    }

    fn check_version(&self) -> Result<()> {
        let path = self.root.join("VERSION");
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return self.write_version(&path),
            Err(error) => return Err(error).with_context(|| format!("{} can't be read", path.display())),
        };
        let found: u32 = text.trim().parse().with_context(|| {
            format!(
                "{} does not hold a version number but {text:?}; it is damaged, or {} is no data folder",
                path.display(),
                self.root.display()
            )
        })?;
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
            sync_dir(&self.root)
        };
        write().with_context(|| format!("{} can't be written", path.display()))
    }

    /// The folder itself.
    pub(crate) fn root(&self) -> &Path {
        &self.root
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

/// Makes names in a folder safe against power loss.
pub(crate) fn sync_dir(dir: &Path) -> std::io::Result<()> {
    File::open(dir)?.sync_all()
}

/// Makes the folder, or closes one that is ours to others. A folder with other things in it stays as it is: who
/// names such a one may need it open.
fn make_private(root: &Path) -> Result<()> {
    let cannot = |what: &'static str| move || format!("the data folder {} can't be {what}", root.display());
    match fs::metadata(root) {
        Err(error) if error.kind() == ErrorKind::NotFound => {
            return DirBuilder::new()
                .recursive(true)
                .mode(0o700)
                .create(root)
                .with_context(cannot("made; make its parent writable, or choose another with --data"));
        }
        Err(error) => return Err(error).with_context(cannot("looked at; choose another with --data")),
        Ok(meta) if !meta.is_dir() => {
            bail!("the data folder {} is a file; name a folder with --data", root.display())
        }
        Ok(meta) if meta.permissions().mode() & 0o077 == 0 => return Ok(()),
        Ok(_) => {}
    }
    let empty = fs::read_dir(root).with_context(cannot("read; choose another with --data"))?.next().is_none();
    if !empty && !root.join("VERSION").exists() {
        tracing::warn!(folder = %root.display(), "others may look into the data folder: chmod 700");
        return Ok(());
    }
    fs::set_permissions(root, Permissions::from_mode(0o700)).with_context(cannot("closed to others"))?;
    tracing::warn!(folder = %root.display(), "others could look into the data folder; now it is closed to them");
    Ok(())
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

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn the_folder_is_closed_to_others_when_it_is_ours() {
        let temp = tempfile::tempdir().unwrap();
        let root = temp.path().join("a/data");
        drop(DataDir::open(&root).unwrap());
        assert_eq!(mode(&root), 0o700);
        fs::set_permissions(&root, Permissions::from_mode(0o755)).unwrap();
        drop(DataDir::open(&root).unwrap());
        assert_eq!(mode(&root), 0o700);

        let shared = temp.path().join("shared");
        fs::create_dir(&shared).unwrap();
        fs::write(shared.join("other"), "").unwrap();
        fs::set_permissions(&shared, Permissions::from_mode(0o755)).unwrap();
        drop(DataDir::open(&shared).unwrap());
        assert_eq!(mode(&shared), 0o755);
    }

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
