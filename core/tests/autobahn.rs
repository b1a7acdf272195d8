//! Promise: WebSocket as RFC 6455 says, judged by the Autobahn test suite: cases 1 to 7, 9 and 10 (12 and 13 are of
//! compression, which is not offered), none failed, on both drivers.
//!
//! Method: the suite's fuzzing client against the echo server of core/examples. deploy/dev/install.sh test puts the suite
//! where this test looks for it; it runs under Python 2.7 only, and where there is none the test says so and passes.

#[allow(dead_code, unreachable_pub, reason = "its main is not called here")]
#[path = "../examples/echo.rs"]
mod echo;

use gochat_core::{Config, Driver, Engine, StartError};
use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// Cases of the groups that are run, in version 25.10.1.
const CASES: usize = 301;

/// Wrong UTF-8 in the middle of one frame is found when the frame is whole, not before: allowed, not strict.
const NOT_STRICT: [&str; 2] = ["6.4.3", "6.4.4"];

/// Says something that the test runner does not keep to itself.
fn say(what: &str) {
    let _ = writeln!(std::io::stderr(), "\nAUTOBAHN: {what}\n");
}

/// The folder that install.sh made; in it `python` holds the interpreter's path.
fn suite() -> Result<(PathBuf, String), String> {
    let cache = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
    let cache = cache.or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".cache")));
    let suite = cache.ok_or("HOME is not set")?.join("gochat/autobahntestsuite-25.10.1");
    let python = fs::read_to_string(suite.join("python")).map_err(|error| {
        format!("{} is not readable ({error}); deploy/dev/install.sh test makes it", suite.display())
    })?;
    Ok((suite, python.trim().to_owned()))
}

struct Run {
    _engine: Engine<echo::Echo>,
    driver: &'static str,
    out: PathBuf,
    client: Child,
}

/// Starts a server and the suite against it; `None` where io_uring is forbidden.
fn start(driver: Driver, suite: &Path, python: &str) -> Option<Run> {
    let config = Config { driver, pin_threads: false, ..echo::config() };
    let engine = match Engine::start(config, |_| echo::Echo::default()) {
        Ok(engine) => engine,
        Err(StartError::Driver(error)) if driver == Driver::Uring => {
            say(&format!("NOT RUN on io_uring: {error}"));
            return None;
        }
        Err(error) => panic!("{error}"),
    };
    let name = engine.engine_in_use().name();
    let out = Path::new(env!("CARGO_TARGET_TMPDIR")).join("autobahn").join(name);
    let _ = fs::remove_dir_all(&out);
    fs::create_dir_all(&out).expect("a folder");
    let spec = format!(
        r#"{{"outdir":{out:?},"servers":[{{"agent":"{name}","url":"ws://{}"}}],
            "cases":["1.*","2.*","3.*","4.*","5.*","6.*","7.*","9.*","10.*"],
            "exclude-cases":[],"exclude-agent-cases":{{}}}}"#,
        engine.local_addr()
    );
    fs::write(out.join("spec.json"), spec).expect("a specification");
    let log = fs::File::create(out.join("log")).expect("a log");
    let client = Command::new(python)
        .arg(suite.join("bin/wstest"))
        .args(["-m", "fuzzingclient", "-s"])
        .arg(out.join("spec.json"))
        .env("PYTHONPATH", suite)
        .current_dir(&out)
        .stdout(log.try_clone().expect("a descriptor"))
        .stderr(log)
        .stdin(Stdio::null())
        .spawn()
        .unwrap_or_else(|error| panic!("{python}: {error}; remove {} and install it again", suite.display()));
    Some(Run { _engine: engine, driver: name, out, client })
}

/// Cases of an index by what the suite thinks of them, their closing handshakes included.
fn judge(index: &str) -> BTreeMap<String, Vec<String>> {
    let mut judged: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let mut case = "";
    // The suite writes one `"key": value` a line, and a case's number before its members.
    for line in index.lines() {
        let mut words = line.split('"').skip(1).step_by(2);
        match (words.next(), words.next()) {
            (Some("behavior" | "behaviorClose"), Some(verdict)) => {
                let cases = judged.entry(verdict.to_owned()).or_default();
                if cases.last().is_none_or(|last| last != case) {
                    cases.push(case.to_owned());
                }
            }
            (Some(key), None) if key.contains('.') => case = key,
            _ => {}
        }
    }
    judged
}

fn check(mut run: Run) {
    let ended = run.client.wait().expect("the fuzzing client");
    let said = fs::read_to_string(run.out.join("log")).unwrap_or_default();
    assert!(ended.success(), "{}: {said}", run.driver);
    let index = fs::read_to_string(run.out.join("index.json")).expect("an index");
    let mut judged = judge(&index);
    let fine = judged.remove("OK").unwrap_or_default().len();
    let informational = judged.remove("INFORMATIONAL").unwrap_or_default();
    let not_strict = judged.remove("NON-STRICT").unwrap_or_default();
    say(&format!(
        "{}: {fine} fine, not strict: {not_strict:?}, informational: {informational:?}",
        run.driver
    ));
    assert!(judged.is_empty(), "{}: {judged:?}; see {}", run.driver, run.out.display());
    assert!(not_strict.iter().all(|case| NOT_STRICT.contains(&case.as_str())), "{not_strict:?}");
    assert_eq!(index.matches("\"behavior\":").count(), CASES, "{}", run.driver);
}

#[test]
fn the_suite_finds_no_failure() {
    let (suite, python) = match suite() {
        Ok(found) => found,
        Err(error) => return say(&format!("NOT RUN: {error}")),
    };
    // Both at once: most of the time is waiting.
    let runs = [Driver::Uring, Driver::Epoll].map(|driver| start(driver, &suite, &python));
    runs.into_iter().flatten().for_each(check);
}

#[test]
fn a_failure_is_seen() {
    let index = "{\n \"agent\": {\n  \"1.1.1\": {\n   \"behavior\": \"OK\",\n   \"behaviorClose\": \"OK\"\n  },\n  \
                 \"7.1.5\": {\n   \"behavior\": \"OK\",\n   \"behaviorClose\": \"FAILED\",\n   \"reportfile\": \"a.json\"\n  },\n  \
                 \"2.1\": {\n   \"behavior\": \"UNIMPLEMENTED\"\n  }\n }\n}";
    let expect = [("FAILED", vec!["7.1.5"]), ("OK", vec!["1.1.1", "7.1.5"]), ("UNIMPLEMENTED", vec!["2.1"])];
    let judged = judge(index);
    let judged: Vec<_> =
        judged.iter().map(|(how, cases)| (&**how, cases.iter().map(|case| &**case).collect())).collect();
    assert_eq!(judged, expect);
}
