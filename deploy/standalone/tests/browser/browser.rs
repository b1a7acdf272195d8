//! Debian's chromium, driven through chromedriver. Each window is a browser of its own with its own profile.

use std::io::{BufRead, BufReader};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use fantoccini::{Client, ClientBuilder};
use hyper_util::client::legacy::connect::HttpConnector;
use serde_json::{Value, json};
use tempfile::TempDir;

const INSTALL: &str =
    "the page is tested in a real browser: run `apt-get install -y chromium chromium-driver`";
const STARTED: &str = "started successfully on port ";
/// How long the page may take to show what a test waits for. Generous: it only bounds a failing run.
const SHOWN_WITHIN_MS: u64 = 30_000;

pub(crate) enum Screen {
    Desktop,
    /// 360 × 740 points, with touch.
    Phone,
}

/// A running chromedriver with the windows it opened.
pub(crate) struct Browsers {
    driver: Child,
    url: String,
    chromium: PathBuf,
    profiles: Vec<TempDir>,
    windows: Vec<Client>,
}

impl Browsers {
    pub(crate) fn start() -> Self {
        let chromium = found_on_path("chromium").expect(INSTALL);
        let mut driver = Command::new(found_on_path("chromedriver").expect(INSTALL))
            .arg("--port=0")
            // A group of its own, so that nothing it started outlives the test.
            .process_group(0)
            .stdout(Stdio::piped())
            .spawn()
            .expect("chromedriver starts");
        let mut lines = BufReader::new(driver.stdout.take().expect("its standard output")).lines();
        let mut said = Vec::new();
        let port = lines
            .by_ref()
            .map(|line| line.expect("a line of text"))
            .inspect(|line| said.push(line.clone()))
            .find_map(|line| line.split_once(STARTED).map(|(_, port)| port.trim_end_matches('.').to_owned()));
        let port = port.unwrap_or_else(|| panic!("chromedriver ended without a port: {said:#?}"));
        std::thread::spawn(move || lines.for_each(drop));
        Self {
            driver,
            url: format!("http://127.0.0.1:{port}"),
            chromium,
            profiles: Vec::new(),
            windows: Vec::new(),
        }
    }

    /// Opens one more browser with an empty profile.
    pub(crate) async fn open(&mut self, screen: Screen) -> Client {
        let profile = tempfile::tempdir().expect("a temporary folder");
        let mut builder = ClientBuilder::new(HttpConnector::new());
        let Value::Object(capabilities) = self.capabilities(profile.path(), &screen) else {
            unreachable!("capabilities are an object");
        };
        let window = builder.capabilities(capabilities).connect(&self.url).await.expect("chromium opens");
        self.profiles.push(profile);
        self.windows.push(window.clone());
        window
    }

    fn capabilities(&self, profile: &Path, screen: &Screen) -> Value {
        let mut options = json!({
            "binary": self.chromium,
            "args": [
                "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
                "--disable-background-networking", "--disable-component-update", "--disable-sync",
                "--disable-dev-shm-usage", "--hide-scrollbars", "--window-size=1180,880",
                format!("--user-data-dir={}", profile.display()),
            ],
        });
        if matches!(screen, Screen::Phone) {
            options["mobileEmulation"] =
                json!({ "deviceMetrics": { "width": 360, "height": 740, "pixelRatio": 2.0, "touch": true } });
        }
        json!({ "timeouts": { "script": SHOWN_WITHIN_MS }, "goog:chromeOptions": options })
    }

    /// A command of the browser's own developer tools, which WebDriver has no word for.
    pub(crate) async fn devtools(&self, window: &Client, command: &str, parameters: Value) {
        let session = window.session_id().await.expect("a session").expect("an open one");
        let url = format!("{}/session/{session}/goog/cdp/execute", self.url);
        let body = json!({ "cmd": command, "params": parameters }).to_string();
        let call = move || ureq::post(url).header("Content-Type", "application/json").send(body);
        let answer = tokio::task::spawn_blocking(call).await.expect("the call ends");
        answer.unwrap_or_else(|error| panic!("{command}: {error}"));
    }

    /// Takes the network away from a window, or gives it back.
    pub(crate) async fn set_offline(&self, window: &Client, offline: bool) {
        let network =
            json!({ "offline": offline, "latency": 0, "downloadThroughput": -1, "uploadThroughput": -1 });
        self.devtools(window, "Network.enable", json!({})).await;
        self.devtools(window, "Network.emulateNetworkConditions", network).await;
    }

    /// Ends the browsers in order; what is left over after a failure is killed when this is dropped.
    pub(crate) async fn close(&mut self) {
        for window in self.windows.drain(..) {
            let _ = window.close().await;
        }
    }
}

impl Drop for Browsers {
    fn drop(&mut self) {
        let group = format!("kill -9 -{}", self.driver.id());
        let _ = Command::new("sh").args(["-c", &group]).status();
        let _ = self.driver.wait();
    }
}

fn found_on_path(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|folder| folder.join(name)).find(|file| file.is_file())
}
