//! Disks that a test can fill and break.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

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

impl Drop for Ballast {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
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
