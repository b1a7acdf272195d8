//! Goal: a report's page draws its plots in a browser, needs nothing from elsewhere, and takes nothing that stands in a report for markup.
//! Method: chromium (deploy/dev/install.sh test) without a window loads the page and prints what became of it.

use std::process::Command;

use crate::fake::{Fake, Fault};

#[test]
fn a_page_draws_its_plots_and_needs_nothing_else() {
    let fake = Fake::start(Fault::StoreTwice);
    let dir = tempfile::tempdir().unwrap();
    // The path stands among the parameters.
    let json = dir.path().join("<").join("script><b id=injected>.json");
    let page = dir.path().join("report.html");
    let output = Command::new(env!("CARGO_BIN_EXE_gochat-perf"))
        .args(["chat", "--url", &fake.url(), "--users", "4", "--rate", "200", "--seconds", "2.2"])
        .arg("--json")
        .arg(&json)
        .arg("--html")
        .arg(&page)
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1), "{}", String::from_utf8_lossy(&output.stderr));
    let text = std::fs::read_to_string(&page).unwrap();
    for outside in ["src=", "href=", "@import", "url(", "fetch("] {
        assert!(!text.contains(outside), "{outside}");
    }
    let loaded = Command::new("chromium")
        .args(["--headless", "--no-sandbox", "--disable-gpu", "--dump-dom"])
        .arg(format!("--user-data-dir={}", dir.path().join("profile").display()))
        .arg(format!("file://{}", page.display()))
        .output()
        .expect("chromium starts: deploy/dev/install.sh test brings it");
    let dom = String::from_utf8_lossy(&loaded.stdout);
    let drawn =
        dom.split("data-drawn=\"").nth(1).and_then(|rest| rest.split('"').next()?.parse::<u32>().ok());
    assert!(drawn >= Some(9), "lines drawn: {drawn:?} {}", String::from_utf8_lossy(&loaded.stderr));
    for words in
        ["A promise was broken.", "Doubled in single_", "Latency distribution", "Throughput", "Memory"]
    {
        assert!(dom.contains(words), "{words}");
    }
    assert!(!dom.contains("<b id="), "a path became markup");
}
