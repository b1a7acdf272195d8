//! A real `gochat` process for a test, and the two clients that tests speak to it with: REST (ureq) and WebSocket (tungstenite).
#![allow(dead_code, unreachable_pub)] // each test binary uses its part

pub mod client;
pub mod crowd;
pub mod disk;
pub mod witness;

use std::io::{BufRead, BufReader};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tungstenite::HandshakeError;
use tungstenite::client::IntoClientRequest;

pub use client::Client;

/// Long enough for a loaded two-core machine; reaching it is a failure, never a measurement.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Polls until `done`; what never comes is a failure.
pub fn until(what: &str, mut done: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !done() {
        assert!(Instant::now() < deadline, "waited in vain: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Waits for a process to end by itself; one that doesn't is killed, and a failure.
#[track_caller]
pub fn ends(child: &mut Child, what: &str) -> ExitStatus {
    ends_within(child, what, PATIENCE)
}

#[track_caller]
pub fn ends_within(child: &mut Child, what: &str, patience: Duration) -> ExitStatus {
    let deadline = Instant::now() + patience;
    loop {
        if let Some(status) = child.try_wait().expect("a process can be waited for") {
            return status;
        }
        if Instant::now() >= deadline {
            let _ = child.kill();
            panic!("waited in vain: {what} did not end");
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// A running server; killed when dropped.
pub struct Server {
    child: Child,
    pub http: SocketAddr,
    pub admin: SocketAddr,
    data: PathBuf,
    args: Vec<String>,
    /// Variables of the next start.
    pub env: Vec<(String, String)>,
}

impl Server {
    /// Starts on free ports and returns once it says that it is ready.
    pub fn start(data: &Path) -> Server {
        Server::start_with(data, &[])
    }

    /// As [`Server::start`], with further arguments.
    pub fn start_with(data: &Path, args: &[&str]) -> Server {
        Server::start_as(data, args, &[])
    }

    /// As [`Server::start_with`], with a standard error of the test's choice.
    pub fn start_logging_to(data: &Path, args: &[&str], stderr: Stdio) -> Server {
        Server::launch(data, args, &[], stderr)
    }

    /// As [`Server::start_with`], with variables too; they hold for restarts as well, until [`Server::env`] changes.
    pub fn start_as(data: &Path, args: &[&str], env: &[(&str, &str)]) -> Server {
        Server::launch(data, args, env, Stdio::inherit())
    }

    fn launch(data: &Path, args: &[&str], env: &[(&str, &str)], stderr: Stdio) -> Server {
        let args: Vec<String> = args.iter().map(|a| a.to_string()).collect();
        let env: Vec<(String, String)> = env.iter().map(|(k, v)| (k.to_string(), v.to_string())).collect();
        let any: SocketAddr = "127.0.0.1:0".parse().unwrap();
        let (child, http, admin) = spawn(data, &args, &env, any, any, stderr);
        Server { child, http, admin, data: data.to_owned(), args, env }
    }

    /// `kill -9`, and waits until the process is gone.
    pub fn kill(&mut self) {
        self.child.kill().expect("the server can be killed");
        self.child.wait().expect("the server can be waited for");
    }

    /// Starts again on the same ports and data after [`Server::kill`] or [`Server::terminate`].
    pub fn restart(&mut self) {
        let (child, http, admin) =
            spawn(&self.data, &self.args, &self.env, self.http, self.admin, Stdio::inherit());
        assert_eq!((http, admin), (self.http, self.admin));
        self.child = child;
    }

    /// SIGTERM, then waits for the end.
    pub fn terminate(&mut self) -> ExitStatus {
        let killed = Command::new("kill").arg(self.child.id().to_string()).status().expect("kill runs");
        assert!(killed.success());
        self.wait()
    }

    /// Waits for the process to end by itself.
    #[track_caller]
    pub fn wait(&mut self) -> ExitStatus {
        ends(&mut self.child, "the server")
    }

    /// It has not ended by itself.
    pub fn is_alive(&mut self) -> bool {
        self.child.try_wait().expect("the server can be waited for").is_none()
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.http)
    }

    /// One REST call: status and JSON body (null when empty).
    pub fn call(&self, method: &str, path: &str, token: Option<&str>, body: Option<Value>) -> (u16, Value) {
        let bearer = token.map(|token| format!("Bearer {token}"));
        let headers: Vec<(&str, &str)> = bearer.iter().map(|b| ("Authorization", b.as_str())).collect();
        self.call_raw(method, path, &headers, &body.map(|b| b.to_string()).unwrap_or_default())
    }

    /// As [`Server::call`], with any headers and any text as the body.
    pub fn call_raw(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> (u16, Value) {
        let mut request = ureq::http::Request::builder().method(method).uri(self.url(path));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request =
            request.header("Content-Type", "application/json").body(body.to_owned()).expect("a request");
        let mut response = agent()
            .run(request)
            .unwrap_or_else(|error| panic!("waited in vain for an answer to {method} {path}: {error}"));
        let text = response.body_mut().read_to_string().expect("a body");
        let value = if text.is_empty() {
            Value::Null
        } else {
            serde_json::from_str(&text).unwrap_or(Value::String(text))
        };
        (response.status().as_u16(), value)
    }

    /// Registers and logs in.
    pub fn user(&self, name: &str) -> User {
        let (status, body) = self.call(
            "POST",
            "/api/auth/register",
            None,
            Some(json!({"username": name, "email": format!("{name}@example.org"), "password": "correct horse"})),
        );
        assert_eq!(status, 201, "{body}");
        self.login(name)
    }

    /// Logs a registered user in as a new device.
    pub fn login(&self, name: &str) -> User {
        let (status, body) = self.call(
            "POST",
            "/api/auth/login",
            None,
            Some(json!({"username": name, "password": "correct horse"})),
        );
        assert_eq!(status, 200, "{body}");
        let text = |key: &str| body[key].as_str().unwrap_or_else(|| panic!("{key} in {body}")).to_owned();
        User { id: text("userId"), token: text("accessToken"), device: text("deviceId") }
    }

    /// Asks for a WebSocket with these headers: the socket, or the refusal's status and JSON.
    pub fn upgrade(&self, path: &str, headers: &[(&'static str, &str)]) -> Result<Client, (u16, Value)> {
        let mut request = format!("ws://{}{path}", self.http).into_client_request().expect("a request");
        for (name, value) in headers {
            request.headers_mut().insert(*name, value.parse().expect("a header"));
        }
        let stream = TcpStream::connect(self.http).expect("the server listens");
        stream.set_nodelay(true).expect("an option");
        stream.set_read_timeout(Some(PATIENCE)).expect("an option");
        match tungstenite::client(request, stream) {
            Ok((socket, _)) => Ok(Client::new(socket, PATIENCE)),
            Err(HandshakeError::Failure(tungstenite::Error::Http(refusal))) => {
                let body = refusal.body().as_deref().unwrap_or_default();
                Err((refusal.status().as_u16(), serde_json::from_slice(body).unwrap_or_default()))
            }
            Err(error) => panic!("the upgrade was not answered: {error}"),
        }
    }

    /// All messages of a conversation that the user may see, from the first one on, by REST pages; none while there is no
    /// such conversation.
    pub fn history(&self, user: &User, conversation: &str) -> Vec<Value> {
        let mut all: Vec<Value> = Vec::new();
        loop {
            let after = all.last().map_or(0, |last| last["seqId"].as_u64().expect("a seq"));
            let path = format!("/api/conversations/{conversation}/messages?after_seq={after}&limit=100");
            let (status, page) = self.call("GET", &path, Some(&user.token), None);
            if status == 404 {
                return all;
            }
            assert_eq!(status, 200, "{page}");
            all.extend(page["messages"].as_array().expect("messages").iter().cloned());
            if page["hasMore"] == json!(false) {
                return all;
            }
        }
    }

    /// Makes a group of the owner and these members; its id and its conversation's.
    pub fn group(&self, owner: &User, members: &[&User]) -> (String, String) {
        let ids: Vec<&str> = members.iter().map(|member| member.id.as_str()).collect();
        let make = json!({"name": "a group", "memberIds": ids});
        let (status, made) = self.call("POST", "/api/groups", Some(&owner.token), Some(make));
        assert_eq!(status, 201, "{made}");
        let text = |name: &str| made[name].as_str().expect("an id").to_owned();
        (text("groupId"), text("conversationId"))
    }

    /// The value of one line of /metrics; 0 when there is none yet.
    pub fn metric(&self, name: &str) -> f64 {
        let mut answer = agent().get(format!("http://{}/metrics", self.admin)).call().expect("metrics");
        let text = answer.body_mut().read_to_string().expect("text");
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.map_or(0.0, |value| value.trim().parse().expect("a number"))
    }

    /// Opens the user's WebSocket and reads `hello`.
    pub fn connect(&self, user: &User) -> Client {
        let bearer = format!("Bearer {}", user.token);
        let mut client = self.upgrade("/ws", &[("Authorization", &bearer)]).expect("the upgrade succeeds");
        let hello = client.next();
        assert_eq!(hello["type"], "hello", "{hello}");
        client
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn spawn(
    data: &Path,
    args: &[String],
    env: &[(String, String)],
    http: SocketAddr,
    admin: SocketAddr,
    stderr: Stdio,
) -> (Child, SocketAddr, SocketAddr) {
    // With the soft limit of a usual shell, which the server has to raise by itself; and so that a limit on the
    // size of files is an error of a write and no deadly signal. DESCRIPTORS in `env` is a hard limit of them.
    let mut child = Command::new("sh")
        .args(["-c", "trap '' XFSZ; ulimit -Sn 1024; [ -z \"$DESCRIPTORS\" ] || ulimit -n $DESCRIPTORS; exec \"$0\" \"$@\"", env!("CARGO_BIN_EXE_gochat")])
        .envs(env.iter().map(|(k, v)| (k, v)))
        .args(["--listen", &http.to_string(), "--admin", &admin.to_string(), "--data"])
        .arg(data)
        .args(args)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(stderr)
        .spawn()
        .expect("gochat starts");
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let (tell, told) = channel();
    // To the end, though nobody may listen: a full pipe would block the server.
    std::thread::spawn(move || lines.for_each(|line| drop(tell.send(line.expect("gochat writes text")))));
    let deadline = Instant::now() + PATIENCE;
    let mut admin = None;
    let mut said = Vec::new();
    loop {
        match told.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
            Ok(line) => {
                if let Some(url) = line.strip_prefix("Admin port: ") {
                    admin = Some(address(url));
                } else if let Some(url) = line.strip_prefix("GoChat is ready: ") {
                    return (
                        child,
                        address(url),
                        admin.expect("the admin port is named before the ready line"),
                    );
                }
                said.push(line);
            }
            Err(RecvTimeoutError::Disconnected) => {
                panic!("gochat ended before it was ready: {:?}; it said {said:?}", child.wait())
            }
            Err(RecvTimeoutError::Timeout) => {
                let _ = child.kill();
                panic!("waited in vain for gochat to be ready; it said {said:?}");
            }
        }
    }
}

/// Every status is an answer, and none takes longer than [`PATIENCE`].
fn agent() -> ureq::Agent {
    ureq::Agent::config_builder()
        .http_status_as_error(false)
        .allow_non_standard_methods(true)
        .timeout_global(Some(PATIENCE))
        .build()
        .into()
}

fn address(url: &str) -> SocketAddr {
    let rest = url.strip_prefix("http://").expect("a URL");
    rest.split('/').next().unwrap().parse().expect("an address")
}

/// A logged-in device of a user.
#[derive(Clone, Debug)]
pub struct User {
    pub id: String,
    pub token: String,
    pub device: String,
}

/// The conversation of two users.
pub fn single(a: &User, b: &User) -> String {
    let (a, b): (u64, u64) = (a.id.parse().unwrap(), b.id.parse().unwrap());
    format!("single_{}_{}", a.min(b), a.max(b))
}
