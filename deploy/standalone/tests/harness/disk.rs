//! Disks that a test can fill and break.

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::fs::OFlags;

use tempfile::TempDir;

/// A small file system of its own for a data folder, in memory; unmounted when dropped.
pub struct SmallDisk {
    at: TempDir,
}

impl SmallDisk {
    /// `None`, and loud about it, where this user may not mount.
    pub fn mount(megabytes: u32) -> Option<SmallDisk> {
        let at = tempfile::tempdir().expect("a temporary folder");
        let size = format!("size={megabytes}m,mode=0755");
        let mounted =
            Command::new("mount").args(["-t", "tmpfs", "-o", &size, "gochat-test"]).arg(at.path()).output();
        match mounted {
            Ok(output) if output.status.success() => Some(SmallDisk { at }),
            other => {
                // Not by eprintln, which a passing test keeps to itself.
                let _ = writeln!(
                    std::io::stderr(),
                    "\n*** NO FULL DISK IS TRIED: a small file system can't be mounted here ({other:?}).\n\
                     *** It needs root. Only limits on the size of files stand in for it.\n"
                );
                None
            }
        }
    }

    pub fn path(&self) -> &Path {
        self.at.path()
    }

    /// Takes all space that is left.
    pub fn fill(&self) -> Ballast {
        let path = self.at.path().join("ballast");
        let mut file = File::create(&path).expect("the ballast can be made");
        let block = vec![1; 64 << 10];
        // Ever smaller pieces, so that nothing is left.
        let mut piece = block.len();
        while piece > 0 {
            match file.write(&block[..piece]) {
                Ok(_) => {}
                Err(error) if error.kind() == std::io::ErrorKind::StorageFull => piece /= 2,
                Err(error) => panic!("filling the disk: {error}"),
            }
        }
        Ballast { path }
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Lazily: a killed server may take a moment to let go.
        let _ = Command::new("umount").arg("-l").arg(self.at.path()).status();
    }
}

/// What fills a disk; the space comes back when this is dropped.
pub struct Ballast {
    path: PathBuf,
}

impl Ballast {
    /// Gives so much of the space back.
    pub fn make_room(&self, bytes: u64) {
        let file = OpenOptions::new().write(true).open(&self.path).expect("the ballast can be opened");
        let length = file.metadata().expect("it has a length").len();
        file.set_len(length - bytes).expect("the ballast can be cut");
    }
}

impl Drop for Ballast {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
    }
}

/// A private file that is as slow as a test wants: whoever opens it waits until [`SlowFile::release`].
pub struct SlowFile {
    path: PathBuf,
    text: Vec<u8>,
    writer: Option<File>,
}

impl SlowFile {
    pub fn hold(path: &Path) -> SlowFile {
        let text = fs::read(path).expect("the file is there");
        fs::remove_file(path).expect("the file can be removed");
        // Of a pipe with a name nothing can be read before somebody writes into it.
        let made = Command::new("mkfifo").args(["-m", "600"]).arg(path).status();
        assert!(made.expect("mkfifo runs").success());
        SlowFile { path: path.to_owned(), text, writer: None }
    }

    /// Returns once somebody has opened it to read.
    pub fn wait_for_reader(&mut self) {
        super::until("somebody reads the slow file", || {
            let opened =
                OpenOptions::new().write(true).custom_flags(OFlags::NONBLOCK.bits() as i32).open(&self.path);
            self.writer = opened.ok();
            self.writer.is_some()
        });
    }

    /// Who waits gets what was in the file, and the file is one again.
    pub fn release(mut self) {
        fs::remove_file(&self.path).expect("the pipe can be removed");
        let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&self.path);
        file.and_then(|mut file| file.write_all(&self.text)).expect("the file can be put back");
        if let Some(mut writer) = self.writer.take() {
            // The reader may be gone.
            let _ = writer.write_all(&self.text);
        }
    }
}

/// Writes of a running process beyond the first `bytes` of any file fail (EFBIG) until this is dropped.
pub struct FileLimit {
    pid: u32,
}

impl FileLimit {
    pub fn set(pid: u32, bytes: u64) -> FileLimit {
        prlimit(pid, &format!("--fsize={bytes}:unlimited"));
        FileLimit { pid }
    }
}

impl Drop for FileLimit {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            prlimit(self.pid, "--fsize=unlimited:unlimited");
        }
    }
}

fn prlimit(pid: u32, limit: &str) {
    let status = Command::new("prlimit").args(["--pid", &pid.to_string(), limit]).status();
    assert!(status.expect("prlimit runs").success(), "prlimit {limit}");
}
