//! Promise: SIGTERM loses nothing: clients are told to go (1001), what was accepted is stored, and the process ends by itself.
mod harness;

use std::io::{PipeReader, PipeWriter, Write};
use std::os::unix::net::UnixStream;
use std::process::{Command, Stdio};

use harness::disk::SlowFile;
use harness::{Server, single};

#[test]
fn a_stop_says_goodbye_and_keeps_what_was_accepted() {
    let data = tempfile::tempdir().unwrap();
    let mut server = Server::start(data.path());
    let (ann, bob) = (server.user("ann"), server.user("bob"));
    let conversation = single(&ann, &bob);
    let (mut a, mut b) = (server.connect(&ann), server.connect(&bob));
    for n in 1..=50 {
        a.say(&conversation, &format!("number {n}"), &format!("s-{n}"));
    }
    a.wait_for("message-ack", |d| d["tempMessageId"] == "s-50");
    let status = server.terminate();
    assert!(status.success(), "{status}");
    assert_eq!(a.wait_for_close(), Some(1001));
    assert_eq!(b.wait_for_close(), Some(1001));

    server.restart();
    let mut a = server.connect(&ann);
    a.say(&conversation, "after", "s-51");
    assert_eq!(
        a.wait_for("message-ack", |d| d["status"] == "stored" && d["tempMessageId"] == "s-51")["seqId"],
        51
    );
}

/// A server whose log nobody reads is told to stop, and does. `silence` does away with the reader.
fn stops_without_a_reader(silence: impl FnOnce(PipeReader, PipeWriter) -> Option<PipeReader>) {
    let data = tempfile::tempdir().unwrap();
    let (reader, writer) = std::io::pipe().unwrap();
    let ours = writer.try_clone().unwrap();
    let mut server = Server::start_logging_to(data.path(), &[], writer.into());
    let _kept_unread = silence(reader, ours);
    let ann = server.user("ann");
    let mut a = server.connect(&ann);
    let status = server.terminate();
    assert_eq!(status.code(), Some(0), "{status}");
    assert_eq!(a.wait_for_close(), Some(1001));
}

#[test]
fn a_stop_needs_no_reader_of_the_log() {
    stops_without_a_reader(|reader, _writer| {
        drop(reader);
        None
    });
}

#[test]
fn a_stop_needs_no_room_for_the_log() {
    stops_without_a_reader(|reader, mut writer| {
        rustix::io::ioctl_fionbio(&writer, true).unwrap();
        while writer.write(&[b'x'; 512]).is_ok() {}
        // To the very last byte; and the server shares this setting.
        while writer.write(b"x").is_ok() {}
        rustix::io::ioctl_fionbio(&writer, false).unwrap();
        Some(reader)
    });
}

#[test]
fn a_stop_waits_for_no_idle_operator() {
    let data = tempfile::tempdir().unwrap();
    // A stage that exceeds its deadline makes the status 1, whatever the time it had.
    let mut server = Server::start(data.path());
    let ann = server.user("ann");
    let mut a = server.connect(&ann);
    let idle = UnixStream::connect(data.path().join("control.sock")).unwrap();
    let status = server.terminate();
    assert_eq!(status.code(), Some(0), "{status}");
    assert_eq!(a.wait_for_close(), Some(1001));
    drop(idle);
}

/// A server that makes a backup is told to stop, and cuts it off. The sentence that the operator is told.
fn cuts_a_backup_off(operator_stays: bool) -> String {
    let temp = tempfile::tempdir().unwrap();
    let (data, dir) = (temp.path().join("data"), temp.path().join("backup"));
    let mut server = Server::start_as(&data, &[], &[("GOCHAT__CONTROL_DEADLINE_MS", "50")]);
    let ann = server.user("ann");
    let mut a = server.connect(&ann);
    let mut keys = SlowFile::hold(&data.join("keys.json"));
    let mut command = Command::new(env!("CARGO_BIN_EXE_gochat"));
    command.arg("backup").arg(&dir).arg("--data").arg(&data).stderr(Stdio::piped());
    let mut operator = command.spawn().unwrap();
    keys.wait_for_reader();
    if !operator_stays {
        operator.kill().unwrap();
        operator.wait().unwrap();
    }
    assert!(dir.exists());
    let status = server.terminate();
    assert_eq!(status.code(), Some(0), "{status}");
    assert!(!dir.exists(), "a part of a backup stays");
    assert_eq!(a.wait_for_close(), Some(1001));
    keys.release();
    server.restart();
    server.login("ann");
    String::from_utf8(operator.wait_with_output().unwrap().stderr).unwrap()
}

#[test]
fn a_stop_cuts_commands_off_after_their_time_and_says_so() {
    let said = cuts_a_backup_off(true);
    // By the backup itself or by the socket, whichever comes first.
    assert!(said.contains("the server stop"), "{said}");
}

#[test]
fn a_stop_ends_a_backup_that_nobody_waits_for() {
    assert_eq!(cuts_a_backup_off(false), "");
}
