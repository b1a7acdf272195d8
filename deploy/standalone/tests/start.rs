//! Promise: a server that can't start ends with a status that says so, and says once what is wrong and what to do.
//! Method: the real binary meets each obstacle of a table; where it needs a data folder, one that a server has used.
mod harness;

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use harness::Server;

fn gochat(args: &[&str], env: &[(&str, &str)]) -> Output {
    let mut child = Command::new(env!("CARGO_BIN_EXE_gochat"))
        .args(args)
        .envs(env.iter().copied())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("gochat runs");
    // A server that starts against the promise would run for ever.
    let deadline = Instant::now() + Duration::from_secs(60);
    while child.try_wait().expect("gochat can be waited for").is_none() {
        if Instant::now() > deadline {
            child.kill().expect("gochat can be killed");
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    child.wait_with_output().expect("gochat writes")
}

/// Refused with a last line that holds all these words, each part of which is said once.
fn refused(case: &str, output: &Output, words: &[&str]) {
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{case}: {stderr}");
    assert!(output.stdout.is_empty(), "{case}: {}", String::from_utf8_lossy(&output.stdout));
    let said = stderr.lines().rfind(|line| line.starts_with("gochat: ")).unwrap_or_default();
    let said = stderr[stderr.find(said).unwrap_or(0)..].trim_end();
    for word in words {
        assert_eq!(said.matches(word).count(), 1, "{case}: {word:?} is not said once in {stderr:?}");
    }
    for noise in ["Error {", "status:", "metadata", "panicked", "Some("] {
        assert!(!stderr.contains(noise), "{case}: {noise:?} in {stderr:?}");
    }
}

/// Starts on free ports in this folder.
fn start(data: &Path, more: &[&str]) -> Output {
    let mut args =
        vec!["--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--data", data.to_str().unwrap()];
    args.extend(more);
    gochat(&args, &[])
}

#[test]
fn a_taken_port_is_named_with_its_flag() {
    let temp = tempfile::tempdir().unwrap();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let data = temp.path().join("data");
    let of = |listen: &str, admin: &str| {
        gochat(&["--listen", listen, "--admin", admin, "--data", data.to_str().unwrap()], &[])
    };
    refused("listen", &of(&address, "127.0.0.1:0"), &["the gateway can't listen on", "--listen"]);
    refused("admin", &of("127.0.0.1:0", &address), &["the admin port", "--admin", "in use"]);
}

#[test]
fn a_data_folder_that_is_none_is_refused() {
    let temp = tempfile::tempdir().unwrap();
    let file = temp.path().join("file");
    fs::write(&file, "").unwrap();
    refused("a file", &start(&file, &[]), &["is a file", "--data"]);
    refused("below a file", &start(&file.join("data"), &[]), &["the data folder", "--data"]);
    let server = Server::start(&temp.path().join("used"));
    refused("in use", &start(&temp.path().join("used"), &[]), &["in use by another gochat process"]);
    drop(server);
}

#[test]
fn a_configuration_that_is_wrong_is_named_by_key_and_source() {
    let temp = tempfile::tempdir().unwrap();
    let data = temp.path().join("data");
    let with = |text: &str| {
        let file = temp.path().join("gochat.toml");
        fs::write(&file, text).unwrap();
        start(&data, &["--config", file.to_str().unwrap()])
    };
    refused("no file", &start(&data, &["--config", "/nowhere/x.toml"]), &["/nowhere/x.toml", "No such file"]);
    refused("no TOML", &with("listen = "), &["gochat.toml", "line 1"]);
    refused("unknown", &with("[gateway]\nshardz = 1"), &["`gateway.shardz`", "gochat.toml", "shards"]);
    refused("type", &with("[gateway]\nshards = \"many\""), &["`gateway.shards`", "gochat.toml"]);
    refused("gateway", &with("[gateway.edge]\ntick_ms = 0"), &["gateway.edge.tick_ms", "must be"]);
    refused("logic", &with("[logic.routes]\ncache_ms = 5000"), &["logic.routes.cache_ms", "must be"]);
    refused("task", &with("[task]\nbackoff_min_ms = 0"), &["task.backoff_min_ms"]);
    for (key, text, flag) in [
        ("gateway.listen", "[gateway]\nlisten = \"127.0.0.1:1\"", "--listen"),
        ("queue.dir", "[queue]\ndir = \"/tmp/q\"", "--data"),
        ("logic.auth.refresh_secret_file", "[logic.auth]\nrefresh_secret_file = \"x\"", "--data"),
        ("repo.sqlite.file", "[repo.sqlite]\nfile = \"x\"", "--data"),
    ] {
        refused(key, &with(text), &[&format!("`{key}`"), "gochat.toml", flag]);
    }
    let env = |name, value| gochat(&["--data", data.to_str().unwrap()], &[(name, value)]);
    refused("one underscore", &env("GOCHAT_LISTEN", "x"), &["GOCHAT_LISTEN ", "GOCHAT__LISTEN"]);
    refused("fixed", &env("GOCHAT__QUEUE__DIR", "x"), &["`queue.dir`", "GOCHAT__QUEUE__DIR"]);
    assert!(!data.exists(), "nothing is made before the configuration is right");
}

#[test]
fn damage_is_named_with_what_to_do() {
    let temp = tempfile::tempdir().unwrap();
    let used = temp.path().join("used");
    let mut server = Server::start(&used);
    let (ann, bob) = (server.user("ann"), server.user("bob"));
    let mut a = server.connect(&ann);
    for n in 1..=3 {
        let id = format!("d-{n}");
        a.say(&harness::single(&ann, &bob), "hello", &id);
        a.wait_for("message-ack", |d| d["status"] == "stored" && d["tempMessageId"] == id);
    }
    assert!(server.terminate().success());

    let damaged = |file: &str, change: &dyn Fn(&mut Vec<u8>)| {
        let copy = temp.path().join("copy");
        let _ = fs::remove_dir_all(&copy);
        let copied = Command::new("cp").arg("-a").arg(&used).arg(&copy).status().unwrap();
        assert!(copied.success());
        let path = copy.join(file);
        if file == "gochat.db" {
            // Where a clean stop left one, it holds the damaged page too, and would mend it.
            let _ = fs::remove_file(copy.join("gochat.db-wal"));
        }
        let mut bytes = fs::read(&path).unwrap();
        change(&mut bytes);
        fs::write(&path, bytes).unwrap();
        start(&copy, &[])
    };
    let garbage: &dyn Fn(&mut Vec<u8>) = &|bytes| *bytes = b"garbage".to_vec();
    refused("keys", &damaged("keys.json", garbage), &["keys.json", "gochat restore", "log in again"]);
    refused("secret", &damaged("refresh.key", garbage), &["refresh.key", "gochat restore"]);
    refused("ids", &damaged("ids", garbage), &["/ids", "gochat restore"]);
    refused("store", &damaged("gochat.db", &|b| b[..100].fill(7)), &["gochat.db", "gochat restore"]);
    refused("version", &damaged("VERSION", garbage), &["VERSION", "garbage"]);
    refused("newer", &damaged("VERSION", &|b| *b = b"99".to_vec()), &["newer gochat", "layout 99"]);
    refused(
        "topics",
        &damaged("queue/topics.json", garbage),
        &["topics.json", "is damaged", "gochat restore"],
    );
    let segment = fs::read_dir(used.join("queue")).unwrap().flatten().map(|e| e.path()).find_map(|path| {
        let log =
            fs::read_dir(&path).ok()?.flatten().find(|e| e.path().extension().is_some_and(|x| x == "log"))?;
        (path.file_name()? == "work").then(|| log.path().strip_prefix(&used).unwrap().to_owned())
    });
    let segment = segment.expect("the queue has a segment");
    // Its header; what is cut at the end would be a write that was never completed.
    let header: &dyn Fn(&mut Vec<u8>) = &|bytes| bytes[..8].fill(7);
    refused("queue", &damaged(segment.to_str().unwrap(), header), &["is damaged", "gochat restore"]);
}

#[test]
fn what_is_written_is_for_its_owner_alone() {
    let temp = tempfile::tempdir().unwrap();
    let data = temp.path().join("data");
    let mut server = Server::start(&data);
    let ann = server.user("ann");
    drop(server.connect(&ann));
    assert!(server.terminate().success());
    let mut folders = vec![data];
    let mut files = 0;
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            let meta = fs::symlink_metadata(&path).unwrap();
            assert_eq!(meta.permissions().mode() & 0o077, 0, "{}", path.display());
            files += 1;
            if meta.is_dir() {
                folders.push(path);
            }
        }
    }
    assert!(files > 5, "{files}");
}

#[test]
fn a_seed_that_can_not_be_written_or_used_makes_nobody() {
    let temp = tempfile::tempdir().unwrap();
    let data = temp.path().join("data");
    let out = temp.path().join("users.jsonl");
    let seed = |args: &[&str], out: &Path| {
        let (data, out) = (data.to_str().unwrap(), out.to_str().unwrap());
        let mut all = vec!["seed", "--users", "2", "--data", data, "--out", out];
        all.extend(args);
        gochat(&all, &[])
    };
    refused("out", &seed(&[], &temp.path().join("no/users")), &["can't be written", "No such file"]);
    refused("prefix", &seed(&["--prefix", "a b"], &out), &["--prefix", "A user name has"]);
    refused("password", &seed(&["--password", "short"], &out), &["--password", "A password has"]);
    assert!(!data.exists(), "nothing was made");
    let made = seed(&[], &out);
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    refused("again", &seed(&[], &out), &["load-", "choose another --prefix"]);
    // Flags of the server mean nothing to a command, and are not taken as if they did.
    for flags in [["seed", "--listen", "127.0.0.1:1"], ["--listen", "127.0.0.1:1", "seed"]] {
        let output = gochat(&flags, &[]);
        assert_eq!(output.status.code(), Some(2));
        assert!(String::from_utf8_lossy(&output.stderr).contains("--listen"));
    }
}

#[test]
fn the_printed_configuration_gives_itself_again() {
    let temp = tempfile::tempdir().unwrap();
    let file = temp.path().join("gochat.toml");
    let first = gochat(&["config", "--listen", "127.0.0.1:7"], &[("GOCHAT__GATEWAY__SHARDS", "3")]);
    assert!(first.status.success(), "{}", String::from_utf8_lossy(&first.stderr));
    let text = String::from_utf8(first.stdout).unwrap();
    assert!(text.contains("listen = \"127.0.0.1:7\"") && text.contains("shards = 3"), "{text}");
    fs::write(&file, &text).unwrap();
    let again = gochat(&["config", "--config", file.to_str().unwrap()], &[]);
    assert_eq!(String::from_utf8(again.stdout).unwrap(), text);
}

#[test]
fn the_log_says_what_runs_and_where() {
    let temp = tempfile::tempdir().unwrap();
    let data = temp.path().join("data");
    let log_of = |args: &[&str]| {
        let log = temp.path().join("log");
        let server = Server::start_logging_to(&data, args, fs::File::create(&log).unwrap().into());
        harness::until("the log has its lines", || {
            fs::read_to_string(&log).unwrap().lines().any(|line| line.contains("took_ms"))
        });
        (fs::read_to_string(&log).unwrap(), server.http.to_string(), server.admin.to_string())
    };
    let said = gochat(&["--version"], &[]).stdout;
    let version = String::from_utf8(said).unwrap().trim_end().strip_prefix("gochat ").unwrap().to_owned();
    assert!(version.starts_with(env!("CARGO_PKG_VERSION")), "{version}");

    let json = temp.path().join("json.toml");
    fs::write(&json, "[log]\nformat = \"json\"\n").unwrap();
    let (log, http, admin) = log_of(&["--config", json.to_str().unwrap()]);
    let lines: Vec<serde_json::Value> =
        log.lines().map(|line| serde_json::from_str(line).expect("a line is JSON")).collect();
    let line = |message: &str| lines.iter().find(|line| line["message"] == message).expect(message);
    assert_eq!(line("starting")["version"], version);
    assert_eq!(line("starting")["data"], data.to_str().unwrap());
    let ready = line("ready");
    assert_eq!([&ready["version"], &ready["clients"], &ready["admin"]], [&version, &http, &admin]);
    assert!(!ready["engine"].as_str().unwrap().is_empty() && ready["took_ms"].is_u64(), "{ready}");

    let (log, http, admin) = log_of(&[]);
    let has = |words: &[&str]| log.lines().any(|line| words.iter().all(|word| line.contains(word)));
    assert!(has(&["starting", &version, data.to_str().unwrap()]), "{log}");
    assert!(has(&["ready", &version, &http, &admin, "engine="]), "{log}");
}

#[test]
fn a_log_of_json_is_json_to_its_last_line() {
    let temp = tempfile::tempdir().unwrap();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let data = temp.path().join("data");
    let args = ["--listen", &address, "--admin", "127.0.0.1:0", "--data", data.to_str().unwrap()];
    let output = gochat(&args, &[("GOCHAT__LOG__FORMAT", "json"), ("GOCHAT__LOG__FILTER", "off")]);
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8(output.stderr).unwrap();
    let line: serde_json::Value = serde_json::from_str(&said).expect("one line, and that is JSON");
    assert_eq!(line["level"], "ERROR");
    assert!(line["timestamp"].as_str().unwrap().starts_with("20"), "{line}");
    assert!(line["message"].as_str().unwrap().contains("--listen"), "{line}");
}
