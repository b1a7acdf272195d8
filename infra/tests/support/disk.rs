//! A disk that is really small: the test starts itself again in a namespace of its own, where it may mount one.
#![allow(dead_code, unreachable_pub)]

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

const DISK: &str = "GOCHAT_TEST_DISK";

/// A file system with nothing else on it.
pub struct Disk {
    root: PathBuf,
}

impl Disk {
    /// Runs the calling test on a disk of `size` (as mount takes it). In the process of its own that this starts, the
    /// disk is the answer; in the test run itself there is nothing more to do, and `None` comes back when that process
    /// has succeeded. Where mounting is not allowed the test says so, loudly, and does nothing.
    pub fn for_test(test: &str, size: &str) -> Option<Disk> {
        if let Some(root) = std::env::var_os(DISK) {
            return Some(Disk { root: root.into() });
        }
        let dir = tempfile::tempdir().unwrap();
        let mount = format!("mount -t tmpfs -o size={size} tmpfs \"${DISK}\"");
        let in_namespace = |script: &str| {
            let mut command = Command::new("unshare");
            command.args(["--user", "--map-root-user", "--mount", "sh", "-c", script]);
            command.env(DISK, dir.path());
            command
        };
        let probe = in_namespace(&mount).stdout(Stdio::null()).stderr(Stdio::null()).status();
        if !probe.is_ok_and(|status| status.success()) {
            // Not by a macro: what those print is shown for failed tests only.
            let text = format!("\nNOT TESTED: {test} needs `unshare --user --mount` and a tmpfs\n");
            std::io::stderr().lock().write_all(text.as_bytes()).unwrap();
            return None;
        }
        let mut command = in_namespace(&format!("{mount} && exec \"$0\" \"$@\""));
        command.arg(std::env::current_exe().unwrap());
        let ended = command.args(["--exact", test, "--nocapture"]).output().unwrap();
        let said = String::from_utf8_lossy(&ended.stderr);
        assert!(ended.status.success(), "{}{said}", String::from_utf8_lossy(&ended.stdout));
        None
    }

    pub fn path(&self) -> &Path {
        &self.root
    }

    /// Removes everything on it.
    pub fn clear(&self) {
        for entry in fs::read_dir(&self.root).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() { fs::remove_dir_all(path).unwrap() } else { fs::remove_file(path).unwrap() }
        }
    }

    /// Takes all the room but so many bytes.
    pub fn fill(&self, leave: u64) {
        self.free();
        let mut file = File::create(self.filler()).unwrap();
        let mut taken = 0;
        while file.write_all(&[7; 4096]).is_ok() {
            taken += 4096u64;
        }
        file.set_len(taken.saturating_sub(leave)).unwrap();
    }

    /// Gives the room back.
    pub fn free(&self) {
        let _ = fs::remove_file(self.filler());
    }

    fn filler(&self) -> PathBuf {
        self.root.join("filler")
    }
}
