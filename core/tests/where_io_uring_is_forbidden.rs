//! Promise: where io_uring is forbidden, as in a container with Docker's default seccomp profile, the engine says so and
//! serves on epoll; asked for io_uring and nothing else, it does not start.
//!
//! Method: a child of this test under a seccomp filter that answers io_uring_setup with EPERM. Perl, which every Debian has,
//! installs the filter, since that takes a system call that safe Rust doesn't offer.

mod rig;

use gochat_core::{Config, Driver, StartError};
use rig::{Server, config, frame};
use std::io::Write;
use std::process::Command;

/// Set in the child.
const CHILD: &str = "GOCHAT_CORE_FORBIDDEN_CHILD";

/// `perl -e … PRCTL COMMAND…`: 38 is PR_SET_NO_NEW_PRIVS, 22 with 2 sets a filter: load the number of the system call; is it
/// 425 (io_uring_setup)? answer EPERM; allow the rest.
const FILTER: &str = r#"
    my $prctl = shift;
    my $filter = pack("SCCL" x 4, 0x20,0,0,0, 0x15,0,1,425, 0x06,0,0,0x00050001, 0x06,0,0,0x7fff0000);
    my $program = pack("Sx6P", 4, $filter);
    syscall($prctl + 0, 38, 1, 0, 0, 0) == 0 or exit 77;
    syscall($prctl + 0, 22, 2, $program, 0, 0) == 0 or exit 77;
    exec @ARGV or exit 77;
"#;

#[test]
fn the_engine_falls_back_to_epoll_and_says_why() {
    if std::env::var_os(CHILD).is_some() {
        return forbidden();
    }
    let prctl = match std::env::consts::ARCH {
        "x86_64" => "157",
        "aarch64" => "167",
        other => return say(&format!("the number of prctl on {other} is not known")),
    };
    let child = Command::new("perl")
        .args(["-e", FILTER, prctl])
        .arg(std::env::current_exe().expect("the test's own binary"))
        .args(["--exact", "--nocapture", "the_engine_falls_back_to_epoll_and_says_why"])
        .env(CHILD, "1")
        .output();
    let child = match child {
        Ok(child) if child.status.code() == Some(77) => return say("seccomp is not available"),
        Ok(child) => child,
        Err(error) => return say(&format!("perl: {error}")),
    };
    let (said, errors) = (String::from_utf8_lossy(&child.stdout), String::from_utf8_lossy(&child.stderr));
    assert!(child.status.success() && said.contains("1 passed"), "{said}{errors}");
}

/// Says something that the test runner does not keep to itself.
fn say(what: &str) {
    let _ = writeln!(std::io::stderr(), "\nNOT TESTED WHERE IO_URING IS FORBIDDEN: {what}\n");
}

fn forbidden() {
    let server = Server::start(Config { driver: Driver::Auto, ..config() }).expect("epoll is left");
    let in_use = server.engine.engine_in_use();
    assert_eq!(in_use.driver, Driver::Epoll);
    assert!(in_use.reason.contains("io_uring is not available"), "{in_use}");
    let mut client = server.join_plain(1, &frame(0x81, b"served"));
    assert_eq!(client.frame(), (0x81, b"served".to_vec()));
    let forced = Server::start(Config { driver: Driver::Uring, ..config() });
    assert!(matches!(forced, Err(StartError::Driver(_))));
}
