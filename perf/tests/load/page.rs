//! Goal: a report's page draws its plots in a browser, needs nothing from elsewhere, and takes nothing that stands in a report for markup.
//! Method: chromium (deploy/dev/install.sh test) without a window loads the page, and prints what became of it and what its console said.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::fake::{Fake, Fault};

/// What chromium made of a page.
struct Loaded {
    dom: String,
    /// Errors and words of scripts.
    console: Vec<String>,
}

fn load(page: &Path) -> Loaded {
    let profile = tempfile::tempdir().unwrap();
    let loaded = Command::new("chromium")
        .args(["--headless", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr", "--dump-dom"])
        .arg(format!("--user-data-dir={}", profile.path().display()))
        .arg(format!("file://{}", page.display()))
        .output()
        .expect("chromium starts: deploy/dev/install.sh test brings it");
    let said = String::from_utf8_lossy(&loaded.stderr);
    Loaded {
        dom: String::from_utf8_lossy(&loaded.stdout).into_owned(),
        console: said.lines().filter(|line| line.contains("CONSOLE")).map(str::to_owned).collect(),
    }
}

impl Loaded {
    /// What the page says of itself when it is drawn.
    fn data(&self, name: &str) -> Option<&str> {
        self.dom.split(&format!("data-{name}=\"")).nth(1)?.split('"').next()
    }
}

/// The page of a short chat against a server that stores some messages twice.
fn page_of_a_chat(folder: &Path) -> PathBuf {
    let fake = Fake::start(Fault::StoreTwice);
    // The path stands among the parameters.
    let json = folder.join("<").join("script><b id=injected>.json");
    let page = folder.join("report.html");
    let output = Command::new(env!("CARGO_BIN_EXE_gochat-perf"))
        .args(["chat", "--url", &fake.url(), "--users", "4", "--rate", "200", "--seconds", "2.2"])
        .arg("--json")
        .arg(&json)
        .arg("--html")
        .arg(&page)
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1), "{}", String::from_utf8_lossy(&output.stderr));
    page
}

#[test]
fn a_page_draws_its_plots_and_needs_nothing_else() {
    let dir = tempfile::tempdir().unwrap();
    let page = page_of_a_chat(dir.path());
    let text = std::fs::read_to_string(&page).unwrap();
    for outside in ["src=", "href=", "@import", "url(", "fetch("] {
        assert!(!text.contains(outside), "{outside}");
    }
    let loaded = load(&page);
    assert_eq!(loaded.console, [""; 0]);
    let plots: Vec<&str> = loaded.data("plots").unwrap_or_default().split('|').collect();
    let expect = [
        "Latency distribution [ms]ackdeliverlateness",
        "Throughput [1/s]finished",
        "Latency over time [ms]p50p99max",
        "CPU [cores]serverclientmachinestolen",
        "Memory [MiB]serverclientTCP buffers",
        "Memory's growth",
    ];
    assert_eq!(plots.len(), expect.len(), "{plots:?}");
    for (plot, expect) in plots.iter().zip(expect) {
        assert!(plot.starts_with(expect), "{plot:?} is not {expect:?}");
    }
    assert_eq!(loaded.data("strays"), Some("0"), "lines outside of their frame, or without numbers");
    let lines = loaded.data("drawn").and_then(|drawn| drawn.parse::<u32>().ok());
    assert_eq!(lines, Some(3 + 1 + 3 + 4 + 3 + 2));
    for words in ["A promise was broken.", "Doubled in single_"] {
        assert!(loaded.dom.contains(words), "{words}");
    }
    assert!(!loaded.dom.contains("<b id="), "a path became markup");
}

#[test]
fn a_page_that_cannot_be_drawn_is_seen_as_one() {
    let dir = tempfile::tempdir().unwrap();
    let page = page_of_a_chat(dir.path());
    let text = std::fs::read_to_string(&page).unwrap();
    let spoil = |from: &str, to: &str| {
        assert!(text.contains(from), "{from}");
        std::fs::write(&page, text.replace(from, to)).unwrap();
        load(&page)
    };
    let torn = spoil("\"samples\":[", "\"no_samples\":[");
    assert!(!torn.console.is_empty() && torn.data("drawn").is_none(), "{:?}", torn.console);
    let stray = spoil("(H - T - B);", "(H - T - B) - 500;");
    assert!(stray.data("strays") > Some("0"), "{:?}", stray.data("strays"));
}
