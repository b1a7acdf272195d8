//! Promise: SIGTERM at any moment of a start ends the process soon and by itself, and the next start finds all data.
//! Method: files that can't be read for as long as a test wants hold the start up at known places; and starts of new and
//! used folders are stopped at random moments.
mod harness;

use std::fs::{self, File};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use harness::disk::SlowFile;
use harness::{Server, single};

const SIGTERM: i32 = 15;

/// A start of which nobody knows how far it gets.
struct Start {
    child: Child,
    log: tempfile::NamedTempFile,
}

impl Start {
    fn of(data: &Path) -> Start {
        let log = tempfile::NamedTempFile::new().unwrap();
        let child = Command::new(env!("CARGO_BIN_EXE_gochat"))
            .args(["--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--data"])
            .arg(data)
            .stdout(Stdio::null())
            .stderr(File::create(log.path()).unwrap())
            .spawn()
            .unwrap();
        Start { child, log }
    }

    /// SIGTERM, then how it ended and what it said.
    fn stop(mut self) -> (ExitStatus, String) {
        let killed = Command::new("kill").arg(self.child.id().to_string()).status().unwrap();
        assert!(killed.success());
        let mut status = None;
        harness::until("the server ends", || {
            status = self.child.try_wait().unwrap();
            status.is_some()
        });
        (status.unwrap(), fs::read_to_string(self.log.path()).unwrap())
    }
}

impl Drop for Start {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A folder that a server has used: Ann has written three messages in it.
fn used(data: &Path) {
    let mut server = Server::start(data);
    let (ann, bob) = (server.user("ann"), server.user("bob"));
    let mut a = server.connect(&ann);
    for n in 1..=3 {
        let id = format!("u-{n}");
        a.say(&single(&ann, &bob), &id, &id);
        a.wait_for("message-ack", |d| d["status"] == "stored" && d["tempMessageId"] == id);
    }
    assert!(server.terminate().success());
}

fn all_is_there(data: &Path) {
    let server = Server::start(data);
    let (ann, bob) = (server.login("ann"), server.login("bob"));
    let history = server.history(&ann, &single(&ann, &bob));
    let contents: Vec<_> = history.iter().map(|message| message["content"].as_str().unwrap()).collect();
    assert_eq!(contents, ["u-1", "u-2", "u-3"]);
}

#[test]
fn a_start_that_hangs_is_stopped() {
    let temp = tempfile::tempdir().unwrap();
    let data = temp.path().join("data");
    used(&data);
    for file in ["VERSION", "queue/topics.json", "keys.json", "refresh.key"] {
        let mut held = SlowFile::hold(&data.join(file));
        let start = Start::of(&data);
        held.wait_for_reader();
        let (status, said) = start.stop();
        assert_eq!(status.code(), Some(0), "{file}: {said}");
        assert!(said.contains("left in the middle of the start"), "{file}: {said}");
        assert!(!said.contains("ERROR") && !said.contains("panicked"), "{file}: {said}");
        held.release();
    }
    all_is_there(&data);
}

#[test]
fn a_start_is_stopped_at_any_moment() {
    let temp = tempfile::tempdir().unwrap();
    let folder = |n: u32| temp.path().join(n.to_string());
    used(&folder(0));
    let begun = Instant::now();
    all_is_there(&folder(0));
    // A start of this machine, and what comes right after it.
    let longest_ms = begun.elapsed().as_millis() as u64;
    let mut random = fastrand::Rng::with_seed(7);
    for round in 0..24 {
        let data = folder(round % 3);
        let start = Start::of(&data);
        let delay_ms = random.u64(0..longest_ms);
        std::thread::sleep(Duration::from_millis(delay_ms));
        let (status, said) = start.stop();
        let case = format!("round {round}, {delay_ms} of {longest_ms} ms: {status}\n{said}");
        // Before it listens to signals there is nothing that it could leave behind.
        let nothing_done = status.signal() == Some(SIGTERM) && !said.contains("listens");
        assert!(status.code() == Some(0) || nothing_done, "{case}");
        assert!(!said.contains("ERROR") && !said.contains("panicked"), "{case}");
        if status.code() == Some(0) && !said.contains("left in the middle") && data.exists() {
            let names = fs::read_dir(&data).unwrap().map(|entry| entry.unwrap().file_name());
            let left: Vec<_> = names
                .filter(|name| {
                    let name = name.to_string_lossy();
                    name == "control.sock" || name.ends_with(".tmp") || name.ends_with(".new")
                })
                .collect();
            assert!(left.is_empty(), "{case}{left:?}");
        }
    }
    all_is_there(&folder(0));
    for n in 1..3 {
        Server::start(&folder(n)).user("ann");
    }
}
