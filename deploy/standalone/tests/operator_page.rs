//! Promise: the commands of docs/operations.md work as they stand there, and print what stands there.
//! Method: a server runs with the arguments and the configuration of the page; every `sh` block is run by a shell, in
//! order, with the page's paths and port replaced by those of this server. The comparison itself is tried on output that
//! is wrong.
mod harness;

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;

use harness::{Server, single};

const PAGE: &str = include_str!("../../../docs/operations.md");

/// The fenced blocks of a language.
fn blocks(page: &str, language: &str) -> Vec<String> {
    let fence = format!("\n```{language}\n");
    let inside = page.split(fence.as_str()).skip(1);
    inside.map(|rest| rest.split("\n```").next().unwrap().to_owned()).collect()
}

/// Whether a line of the page (with `…` for anything) is in a line of the output.
fn stands_in(expected: &str, output: &str) -> bool {
    output.lines().any(|line| {
        let mut rest = Some(line);
        for part in expected.split('…') {
            rest = rest.and_then(|rest| rest.split_once(part)).map(|(_, rest)| rest);
        }
        rest.is_some()
    })
}

/// Runs a block as a shell would; what the page says that it prints must be there.
fn run(block: &str, path: &str) {
    let (expected, commands): (Vec<&str>, Vec<&str>) = block.lines().partition(|line| line.starts_with("#>"));
    let output = Command::new("sh")
        .args(["-euc", &commands.join("\n")])
        .env("PATH", path)
        .output()
        .expect("a shell runs");
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{block}\n{said}{}", String::from_utf8_lossy(&output.stderr));
    for line in expected {
        assert!(
            stands_in(line["#>".len()..].trim(), &said),
            "{line}\nis not what is printed by\n{block}\n{said}"
        );
    }
}

/// The first words in backticks of the page's table rows.
fn rows(page: &str) -> impl Iterator<Item = &str> {
    page.lines().filter(|line| line.starts_with("| `")).flat_map(|line| {
        let cell = line.trim_start_matches('|').split('|').next().unwrap();
        cell.split('`').skip(1).step_by(2)
    })
}

fn text_of(server: &Server, path: &str) -> String {
    let mut answer = ureq::get(format!("http://{}{path}", server.admin)).call().expect("an answer");
    answer.body_mut().read_to_string().expect("text")
}

/// A dead letter with the number 0, and a user to ban.
fn make_something_to_look_at(server: &Server) {
    let (ann, bob) = (server.user("ann"), server.user("bob"));
    let mut a = server.connect(&ann);
    a.say(&single(&ann, &bob), "too long for the pipeline", "a-1");
    a.wait_for("message-ack", |d| d["status"] == "rejected");
}

#[test]
fn every_command_of_the_page_works() {
    let temp = tempfile::tempdir().unwrap();
    let root = temp.path();
    let (bin, data, config) = (root.join("bin"), root.join("data"), root.join("gochat.toml"));
    fs::create_dir(&bin).unwrap();
    symlink(env!("CARGO_BIN_EXE_gochat"), bin.join("gochat")).unwrap();
    let path = format!("{}:{}", bin.display(), std::env::var("PATH").unwrap());
    let local = |text: &str| {
        text.replace("/var/lib/gochat", data.to_str().unwrap())
            .replace("/var/backups/gochat", root.join("backups").to_str().unwrap())
            .replace("/etc/gochat.toml", config.to_str().unwrap())
    };
    let [toml] = &blocks(PAGE, "toml")[..] else { panic!("one configuration is on the page") };
    fs::write(&config, local(toml)).unwrap();
    let [unit] = &blocks(PAGE, "ini")[..] else { panic!("one unit is on the page") };
    let exec = unit.lines().find_map(|line| line.strip_prefix("ExecStart=/usr/local/bin/gochat ")).unwrap();
    let exec = local(exec);
    let mut server = Server::start_as(
        &data,
        &exec.split(' ').collect::<Vec<_>>(),
        // What the gateway lets through is too long for the pipeline.
        &[("GOCHAT__LOGIC__LIMITS__CONTENT_MAX_BYTES", "8")],
    );
    make_something_to_look_at(&server);
    let blocks = blocks(PAGE, "sh");
    assert!(blocks.len() >= 8, "{blocks:?}");
    for block in blocks {
        let block = local(&block).replace("127.0.0.1:8081", &server.admin.to_string());
        let stopped = block.starts_with("# while the server is stopped");
        if stopped {
            assert!(server.terminate().success());
        }
        run(&block, &path);
        if stopped {
            server.restart();
        }
    }
    // What was restored and exchanged is served.
    server.login("bob");
    assert!(Path::new(&format!("{}.old", data.display())).exists());
}

#[test]
fn the_page_has_every_condition_and_no_metric_that_is_none() {
    let data = tempfile::tempdir().unwrap();
    let server = Server::start(data.path());
    let page: Vec<&str> = rows(PAGE).collect();
    let report: serde_json::Value = serde_json::from_str(&text_of(&server, "/readyz")).unwrap();
    for condition in report["conditions"].as_object().unwrap().keys() {
        assert!(page.contains(&condition.as_str()), "docs/operations.md has no row for {condition}");
    }
    let metrics = text_of(&server, "/metrics");
    let known = |name: &str| metrics.contains(&format!("# TYPE {} ", name.trim_end_matches("_total")));
    let named: Vec<_> = page.iter().filter(|name| name.contains('_')).collect();
    assert!(named.len() > 8, "{named:?}");
    for name in named {
        assert!(known(name), "/metrics has no {name}");
    }
    assert!(!known("gateway_no_such_total"));
}

#[test]
fn a_wrong_line_is_found() {
    let output = "3 files with 70 bytes written\nbob is banned\n";
    for right in ["… files with … bytes", "bob is banned", "files", "…"] {
        assert!(stands_in(right, output), "{right}");
    }
    for wrong in ["ann is banned", "… bytes with … files", "written bob", "4 files"] {
        assert!(!stands_in(wrong, output), "{wrong}");
    }
}
