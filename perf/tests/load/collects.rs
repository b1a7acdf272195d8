//! Goal: a figure in a file of figures is the median of as many good runs of one thing on one machine as were asked for, or it is not there.
//! Method: five reports, made of a real one, are spoiled in one way each.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::{Value, json};

use crate::fake::{Fake, Fault};
use crate::schema;

fn perf(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_gochat-perf")).args(args).output().unwrap()
}

/// Five reports whose rates are 98 to 102/s, and a place for the file of figures.
struct Bench {
    dir: tempfile::TempDir,
    reports: Vec<PathBuf>,
    file: PathBuf,
}

impl Bench {
    fn set() -> Bench {
        let dir = tempfile::tempdir().unwrap();
        let model = dir.path().join("model.json");
        let fake = Fake::start(Fault::None);
        let (url, json) = (fake.url(), model.to_str().unwrap());
        let words =
            ["chat", "--url", &url, "--users", "2", "--rate", "100", "--seconds", "0.1", "--json", json];
        assert_eq!(perf(&words).status.code(), Some(0));
        let mut model = read(&model);
        let file = dir.path().join("figures.json");
        let write = |(run, rate): (usize, f64)| {
            let path = dir.path().join(format!("run-{run}.json"));
            model["figures"]["rate"]["value"] = rate.into();
            model["figures"]["p50"]["value"] = (rate * 1000.0).into();
            std::fs::write(&path, model.to_string()).unwrap();
            path
        };
        let reports = [100.0, 101.0, 99.0, 102.0, 98.0].into_iter().enumerate().map(write).collect();
        Bench { dir, reports, file }
    }

    fn collect(&self, target: &str, figures: &[&str], more: &[&str]) -> Output {
        let mut words = vec!["collect", "--target", target, "--json", self.file.to_str().unwrap()];
        figures.iter().for_each(|figure| words.extend(["--figure", figure]));
        words.extend(more);
        words.extend(self.reports.iter().map(|path| path.to_str().unwrap()));
        perf(&words)
    }

    fn file(&self) -> Value {
        let file = read(&self.file);
        schema::check_figures(&file);
        file
    }

    fn change(&self, report: usize, how: impl FnOnce(&mut Value)) {
        let mut changed = read(&self.reports[report]);
        how(&mut changed);
        std::fs::write(&self.reports[report], changed.to_string()).unwrap();
    }
}

fn read(path: &Path) -> Value {
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

#[track_caller]
fn expect(output: &Output, code: i32, says: &str) {
    let text =
        format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert_eq!(output.status.code(), Some(code), "{text}");
    assert!(text.contains(says), "{text}");
}

#[test]
fn a_figure_is_the_median_over_the_reports() {
    let bench = Bench::set();
    expect(
        &bench.collect("ours", &["chat_rate=rate", "chat_p50_ms=p50:ms"], &[]),
        0,
        "chat_rate [1/s]: ours 100.0",
    );
    let file = bench.file();
    let rate =
        json!({"median": 100.0, "low": 98.0, "high": 102.0, "values": [100.0, 101.0, 99.0, 102.0, 98.0]});
    assert_eq!(file["figures"]["chat_rate"]["targets"]["ours"], rate);
    assert_eq!(
        (&file["figures"]["chat_rate"]["unit"], &file["figures"]["chat_p50_ms"]["unit"]),
        (&"1/s".into(), &"ms".into())
    );
    assert_eq!(file["figures"]["chat_p50_ms"]["targets"]["ours"]["median"], 100.0, "told in ms");
    assert!(file["host"]["kernel"].is_string() && file["host"]["server"].is_null());
}

#[test]
fn other_figures_and_targets_stay() {
    let bench = Bench::set();
    expect(&bench.collect("ours", &["a=rate", "b=rate"], &[]), 0, "");
    expect(&bench.collect("theirs", &["a=p50"], &[]), 3, "it has a in \"1/s\"");
    bench.change(0, |report| report["figures"]["rate"]["value"] = 200.0.into());
    expect(&bench.collect("theirs", &["a=rate"], &[]), 0, "");
    expect(&bench.collect("ours", &["b=rate"], &[]), 0, "");
    let figures = &bench.file()["figures"];
    let median = |figure: &str, target: &str| figures[figure]["targets"][target]["median"].as_f64();
    assert_eq!((median("a", "ours"), median("a", "theirs")), (Some(100.0), Some(101.0)));
    assert_eq!((median("b", "ours"), median("b", "theirs")), (Some(101.0), None), "measured anew");
}

/// Five reports with one spoiled: no file of figures, and the reason.
#[track_caller]
fn spoiled(how: impl FnOnce(&mut Value), says: &str) {
    let bench = Bench::set();
    bench.change(3, how);
    expect(&bench.collect("ours", &["chat_rate=rate"], &[]), 3, says);
    assert!(!bench.file.exists());
}

#[test]
fn runs_that_failed_or_are_of_something_else_give_no_figure() {
    spoiled(|report| report["exit"] = 1.into(), "ended with exit code 1");
    spoiled(|report| report["exit"] = 4.into(), "ended with exit code 4");
    spoiled(
        |report| drop(report["figures"].as_object_mut().unwrap().remove("rate")),
        "run-3.json: no figure \"rate\"",
    );
    spoiled(|report| report["scenario"] = "storm".into(), "it is of storm");
    spoiled(|report| report["parameters"]["rate"] = 7.into(), "rate is 100.0, and 7");
    spoiled(|report| report["fingerprint"]["commit"] = "other".into(), "its commit is not that of");
    spoiled(
        |report| report["fingerprint"]["server"][0]["binary_bytes"] = 1.into(),
        "its server is not that of",
    );
    spoiled(|report| *report = json!({}), "run-3.json");
}

#[test]
fn too_few_reports_are_refused_unless_that_was_asked_for() {
    let mut bench = Bench::set();
    let last = bench.reports.pop().unwrap();
    expect(&bench.collect("ours", &["a=rate"], &[]), 2, "4 reports of the 5");
    bench.reports.push(bench.reports[0].clone());
    expect(&bench.collect("ours", &["a=rate"], &[]), 2, "is named twice");
    bench.reports = vec![last];
    expect(&bench.collect("ours", &["a=rate"], &["--reports-min", "1"]), 0, "a [1/s]: ours 98.0");
    assert_eq!(
        bench.file()["figures"]["a"]["targets"]["ours"]["low"],
        Value::Null,
        "one value has no interval"
    );
    expect(&bench.collect("ours", &["a"], &[]), 2, "is not NAME=FIGURE");
    expect(&bench.collect("ours", &["a=rate:ms"], &["--reports-min", "1"]), 3, "not to be told in ms");
}

#[test]
fn figures_of_another_machine_or_commit_are_not_put_beside() {
    let bench = Bench::set();
    expect(&bench.collect("ours", &["a=rate"], &[]), 0, "");
    let before = bench.file();
    for (part, value) in [("commit", json!("older")), ("cpu", json!("another")), ("cores", json!(99))] {
        let mut file = before.clone();
        file["host"][part] = value;
        std::fs::write(&bench.file, file.to_string()).unwrap();
        expect(&bench.collect("ours", &["b=rate"], &[]), 3, &format!("its {part} is"));
        assert_eq!(bench.file(), file, "left as it was");
    }
}

#[test]
fn a_table_tells_ratios_to_the_first_target() {
    let bench = Bench::set();
    expect(&bench.collect("theirs", &["a=rate", "b=rate"], &[]), 0, "");
    for report in 0..5 {
        bench.change(report, |report| {
            let rate = &mut report["figures"]["rate"]["value"];
            *rate = (rate.as_f64().unwrap() * 2.0).into();
        });
    }
    expect(&bench.collect("zours", &["a=rate"], &[]), 0, "");
    let table = |more: &[&str]| perf(&[&["table", bench.file.to_str().unwrap()], more].concat());
    let text = String::from_utf8(table(&["--first", "zours"]).stdout).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines[0], "| figure | unit | zours | theirs |");
    assert!(
        lines[2].starts_with("| `a` | 1/s | 200.0 [196.0, 204.0] | 100.0 [98.0, 102.0]<br>× 0.50 [0.4"),
        "{text}"
    );
    assert_eq!(lines[3], "| `b` | 1/s | not measured | 100.0 [98.0, 102.0] |");
    assert!(text.contains("gochat-perf") && text.contains("commit"), "{text}");
    assert!(String::from_utf8(table(&[]).stdout).unwrap().starts_with("| figure | unit | theirs | zours |"));
    expect(&table(&["--first", "nobody"]), 3, "no target \"nobody\": it has theirs, zours");
    expect(
        &perf(&["table", bench.dir.path().join("run-0.json").to_str().unwrap()]),
        3,
        "not a file of figures",
    );
}

#[test]
fn a_target_that_could_not_be_measured_is_told_with_the_reason() {
    let bench = Bench::set();
    let file = bench.file.to_str().unwrap();
    let missing =
        |target: &str, why: &str| perf(&["collect", "--target", target, "--json", file, "--missing", why]);
    expect(&missing("theirs", "no npm"), 3, "figures.json");
    expect(&bench.collect("ours", &["a=rate"], &[]), 0, "");
    expect(&bench.collect("theirs", &["a=rate"], &["--made-of", "theirs 1.4.5"]), 0, "");
    assert_eq!(bench.file()["versions"], json!({"theirs": "theirs 1.4.5"}));

    expect(&missing("theirs", "no npm"), 0, "theirs is missing: no npm");
    let after = bench.file();
    assert_eq!(after["missing"], json!({"theirs": "no npm"}));
    assert_eq!(after["versions"], Value::Null);
    assert!(after["figures"]["a"]["targets"].get("theirs").is_none(), "what was measured before is gone");
    expect(&perf(&["table", file]), 0, "Not measured: theirs: no npm");

    expect(&bench.collect("theirs", &["a=rate"], &["--made-of", "theirs 2"]), 0, "");
    assert_eq!(bench.file()["missing"], Value::Null, "it was measured in the end");
    expect(&perf(&["table", file]), 0, "theirs: theirs 2");
}

#[test]
fn what_is_missing_has_no_figures() {
    let bench = Bench::set();
    expect(&bench.collect("ours", &["a=rate"], &["--missing", "no npm"]), 2, "cannot be used with");
    expect(&perf(&["collect", "--target", "ours", "--json", "figures.json"]), 2, "--figure");
}

#[test]
fn a_page_is_filled_where_it_asks_for_it_and_else_left_alone() {
    let bench = Bench::set();
    expect(&bench.collect("ours", &["a=rate"], &[]), 0, "");
    let page = bench.dir.path().join("page.md");
    let fill = || perf(&["fill", page.to_str().unwrap(), bench.file.to_str().unwrap()]);
    let before = "<!-- figures.json: figures -->\n| figure | ours |\n| --- | --- |\n| `a` | old |\n";
    std::fs::write(&page, before).unwrap();
    expect(&fill(), 0, "");
    let filled = std::fs::read_to_string(&page).unwrap();
    assert_eq!(filled, before.replace("old", "100.0 [98.0, 102.0]"));
    let elsewhere = before.replace("figures.json", "other.json");
    std::fs::write(&page, &elsewhere).unwrap();
    expect(&fill(), 3, "no line <!-- figures.json: figures -->");
    assert_eq!(std::fs::read_to_string(&page).unwrap(), elsewhere);
}

#[test]
fn one_figure_can_be_looked_at_alone() {
    let bench = Bench::set();
    let reports: Vec<&str> = bench.reports.iter().map(|path| path.to_str().unwrap()).collect();
    let median = |figure: &str, reports: &[&str]| perf(&[&["median", figure], reports].concat());
    expect(&median("rate", &reports), 0, "100\n");
    expect(&median("rate", &reports[..4]), 0, "100.5\n");
    expect(&median("nonsense", &reports), 3, "no figure \"nonsense\"");
}
