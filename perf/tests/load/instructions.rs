//! Goal: a part that takes more instructions than recorded is told and ends the command with its exit code, and a count that means
//! nothing is never taken for a good one.
//! Method: the command with a valgrind and a counting program made of a few lines of shell, whose counts are given.

use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;
use tempfile::TempDir;

const STUBS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/load/stubs");
const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

/// A counting program in a folder of its own, and the file that is recorded there.
struct Counted(TempDir);

impl Counted {
    fn new(figures: &str) -> Counted {
        let dir = tempfile::tempdir().unwrap();
        // A link, as a script that was just written may still be open in a process that another test starts.
        symlink(format!("{STUBS}/program.sh"), dir.path().join("program")).unwrap();
        let counted = Counted(dir);
        counted.takes(figures);
        counted
    }

    /// As [`Counted::new`], with this recorded.
    fn recorded(figures: &str) -> Counted {
        let counted = Counted::new(figures);
        counted.ends(&["--record", COMMIT], 0);
        counted
    }

    fn takes(&self, figures: &str) {
        std::fs::write(self.0.path().join("figures"), figures).unwrap();
    }

    fn program(&self) -> PathBuf {
        self.0.path().join("program")
    }

    fn file(&self) -> PathBuf {
        self.0.path().join("recorded.json")
    }

    /// Changes the recorded file.
    fn edit(&self, change: impl FnOnce(&mut Value)) {
        let mut recorded: Value = serde_json::from_slice(&std::fs::read(self.file()).unwrap()).unwrap();
        change(&mut recorded);
        std::fs::write(self.file(), recorded.to_string()).unwrap();
    }

    /// What is printed by a command that ends with `code`.
    #[track_caller]
    fn ends(&self, more: &[&str], code: i32) -> String {
        self.ends_with(&Path::new(STUBS).join("valgrind.sh"), more, code)
    }

    #[track_caller]
    fn ends_with(&self, valgrind: &Path, more: &[&str], code: i32) -> String {
        let mut command = Command::new(env!("CARGO_BIN_EXE_gochat-perf"));
        command.arg("instructions").arg("--program").arg(self.program()).arg("--recorded").arg(self.file());
        let output = command.arg("--valgrind").arg(valgrind).args(more).output().unwrap();
        let text = [output.stdout, output.stderr].concat();
        let text = String::from_utf8(text).unwrap();
        assert_eq!(output.status.code(), Some(code), "{text}");
        text
    }
}

/// Words of a line, so that tests don't depend on columns.
fn line(text: &str, part: &str) -> String {
    let found =
        text.lines().find(|line| line.starts_with(part)).unwrap_or_else(|| panic!("no {part}: {text}"));
    found.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[test]
fn what_is_recorded_is_what_one_operation_takes() {
    let counted = Counted::recorded("head 3000\nframe 250\n");
    let recorded: Value = serde_json::from_slice(&std::fs::read(counted.file()).unwrap()).unwrap();
    assert_eq!(
        (&recorded["instructions"]["head"], &recorded["instructions"]["frame"]),
        (&3000.0.into(), &250.0.into())
    );
    assert_eq!(recorded["commit"], COMMIT);
    assert_eq!(recorded["circumstances"]["valgrind"], "valgrind-0.0-stub");
    assert!(recorded["circumstances"]["rustc"].as_str().unwrap().starts_with("rustc "), "{recorded}");
    assert_eq!(line(&counted.ends(&[], 0), "head"), "head 3000.0 → 3000.0 +0.00 %");
}

#[test]
fn more_than_the_tolerance_fails_and_less_is_told() {
    let counted = Counted::recorded("head 3000\nframe 250\n");
    counted.takes("head 3050\nframe 250\n");
    counted.ends(&[], 0);
    counted.takes("head 3000\nframe 256\n");
    let text = counted.ends(&[], 5);
    assert_eq!(line(&text, "frame"), "frame 250.0 → 256.0 +2.40 % MORE");
    counted.ends(&["--tolerance-percent", "3"], 0);
    counted.takes("head 2000\nframe 250\n");
    let text = counted.ends(&[], 0);
    assert_eq!(line(&text, "head"), "head 3000.0 → 2000.0 -33.33 % fewer");
    assert!(text.contains("make bench-record"), "{text}");
    counted.takes("head 2000\nframe 300\n");
    counted.ends(&[], 5);
}

#[test]
fn parts_that_came_or_went_do_not_pass() {
    let counted = Counted::recorded("head 3000\nframe 250\n");
    counted.takes("head 3000\n");
    let text = counted.ends(&[], 3);
    assert!(text.contains("not the same parts (frame)") && text.contains("make bench-record"), "{text}");
    counted.takes("head 3000\nframe 250\nhub 9\n");
    assert!(counted.ends(&[], 3).contains("not the same parts (hub)"));
}

#[test]
fn other_circumstances_are_told_and_the_recorded_program_is_counted_instead() {
    let counted = Counted::recorded("head 3000\n");
    counted.edit(|recorded| recorded["circumstances"]["rustc"] = "rustc 1.0.0".into());
    counted.takes("head 3300\n");
    let text = counted.ends(&[], 5);
    assert!(text.contains("NOT COUNTED AS RECORDED: rustc was \"rustc 1.0.0\" and is "), "{text}");
    let then = Counted::new("head 3301\n");
    let program = then.program();
    let text = counted.ends(&["--recorded-program", program.to_str().unwrap()], 0);
    assert_eq!(line(&text, "head"), "head 3301.0 → 3300.0 -0.03 %");
    then.takes("head 3100\n");
    counted.ends(&["--recorded-program", program.to_str().unwrap()], 5);
}

#[test]
fn a_broken_file_is_told() {
    let counted = Counted::new("head 3000\n");
    assert!(counted.ends(&[], 3).contains("recorded.json: No such file"));
    let check = |change: fn(&mut Value), expect: &str| {
        counted.ends(&["--record", COMMIT], 0);
        counted.edit(change);
        let text = counted.ends(&[], 3);
        assert!(text.contains("recorded figures") && text.contains(expect), "{expect}: {text}");
    };
    check(|recorded| recorded["format"] = 2.into(), "it has format 2");
    check(|recorded| recorded["commit"] = "main".into(), "no whole commit id");
    check(|recorded| recorded["instructions"]["head"] = 0.into(), "head can't take 0 instructions");
    check(|recorded| recorded["instructions"] = serde_json::json!({}), "no figures");
    check(|recorded| recorded["surprise"] = 1.into(), "surprise");
    check(|recorded| *recorded = "torn".into(), "invalid type");
}

#[test]
fn what_cannot_be_counted_is_told() {
    let counted = Counted::recorded("head 3000\n");
    let text = counted.ends_with(Path::new("/nonexistent/valgrind"), &[], 3);
    assert!(text.contains("apt-get install valgrind"), "{text}");
    counted.takes("");
    assert!(counted.ends(&[], 3).contains("names no parts"));
    counted.takes("head 0\n");
    assert!(counted.ends(&[], 3).contains("head takes no more for 1100 times than for 100"));
    counted.takes("head\nhead x\n");
    std::fs::remove_file(counted.0.path().join("figures")).unwrap();
    assert!(counted.ends(&[], 3).contains("program: exit status"));
    for wrong in [["--record", "main"], ["--tolerance-percent", "-1"], ["--tolerance-percent", "much"]] {
        counted.ends(&wrong, 2);
    }
}

/// deploy/bench/check.sh, in a checkout that has nothing else.
#[track_caller]
fn check_ends(recorded: Option<&str>, words: &[&str], code: i32) -> String {
    let dir = tempfile::tempdir().unwrap();
    let bench = dir.path().join("deploy/bench");
    std::fs::create_dir_all(&bench).unwrap();
    std::fs::copy(concat!(env!("CARGO_MANIFEST_DIR"), "/../deploy/bench/check.sh"), bench.join("check.sh"))
        .unwrap();
    if let Some(recorded) = recorded {
        std::fs::write(bench.join("recorded.json"), recorded).unwrap();
    }
    let output = Command::new("sh")
        .arg(bench.join("check.sh"))
        .args(words)
        .env("XDG_CACHE_HOME", dir.path())
        .env("GIT_CEILING_DIRECTORIES", dir.path())
        .output()
        .unwrap();
    let text = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(code), "{text}");
    text
}

#[test]
fn a_recorded_commit_that_is_not_here_is_told_before_anything_is_built() {
    let recorded = format!("{{\n  \"format\": 1,\n  \"commit\": \"{COMMIT}\",\n");
    let text = check_ends(Some(&recorded), &["runs"], 3);
    assert!(text.contains(COMMIT) && text.contains("git fetch --unshallow"), "{text}");
    for broken in [None, Some("{}"), Some("{\n  \"commit\": \"main\",\n")] {
        assert!(check_ends(broken, &["all"], 3).contains("names no commit: make bench-record"));
    }
    check_ends(Some(&recorded), &["everything"], 2);
}

#[test]
fn the_file_in_the_repository_can_be_read() {
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/../deploy/bench/recorded.json");
    let counted = Counted::new("no_such_part 1\n");
    std::fs::copy(file, counted.file()).unwrap();
    // It names the parts that this program has not.
    let text = counted.ends(&[], 3);
    assert!(line(&text, "hub_fan_out_1000").contains("NO SUCH PART"), "{text}");
    let text = std::fs::read_to_string(file).unwrap();
    assert!(
        text.lines().any(|line| line.starts_with("  \"commit\": \"")),
        "check.sh looks for this line: {text}"
    );
}
