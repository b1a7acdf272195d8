//! A real `gochat` process for a test, and the two clients that tests speak to it with: REST (ureq) and WebSocket (tungstenite).
#![allow(dead_code, unreachable_pub)] // each test binary uses its part

pub mod crowd;

use std::io::{BufRead, BufReader};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tungstenite::client::IntoClientRequest;
use tungstenite::{Message, WebSocket};

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

/// A running server; killed when dropped.
pub struct Server {
    child: Child,
    pub http: SocketAddr,
    pub admin: SocketAddr,
    data: PathBuf,
    args: Vec<String>,
}

impl Server {
    /// Starts on free ports and returns once it says that it is ready.
    pub fn start(data: &Path) -> Server {
        Server::start_with(data, &[])
    }

    /// As [`Server::start`], with further arguments.
    pub fn start_with(data: &Path, args: &[&str]) -> Server {
        Server::start_logging_to(data, args, Stdio::inherit())
    }

    /// As [`Server::start_with`], with a standard error of the test's choice.
    pub fn start_logging_to(data: &Path, args: &[&str], stderr: Stdio) -> Server {
        let args: Vec<String> = args.iter().map(|a| a.to_string()).collect();
        let any: SocketAddr = "127.0.0.1:0".parse().unwrap();
        let (child, http, admin) = spawn(data, &args, any, any, stderr);
        Server { child, http, admin, data: data.to_owned(), args }
    }

    /// `kill -9`, and waits until the process is gone.
    pub fn kill(&mut self) {
        self.child.kill().expect("the server can be killed");
        self.child.wait().expect("the server can be waited for");
    }

    /// Starts again on the same ports and data after [`Server::kill`] or [`Server::terminate`].
    pub fn restart(&mut self) {
        let (child, http, admin) = spawn(&self.data, &self.args, self.http, self.admin, Stdio::inherit());
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
    pub fn wait(&mut self) -> ExitStatus {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.child.try_wait().expect("the server can be waited for") {
                return status;
            }
            assert!(Instant::now() < deadline, "the server did not end");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.http)
    }

    /// One REST call: status and JSON body (null when empty).
    pub fn call(&self, method: &str, path: &str, token: Option<&str>, body: Option<Value>) -> (u16, Value) {
        let mut request = ureq::http::Request::builder().method(method).uri(self.url(path));
        if let Some(token) = token {
            request = request.header("Authorization", format!("Bearer {token}"));
        }
        let agent: ureq::Agent = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .allow_non_standard_methods(true)
            .timeout_global(Some(PATIENCE))
            .build()
            .into();
        let text = body.map(|b| b.to_string()).unwrap_or_default();
        let request = request.header("Content-Type", "application/json").body(text).expect("a request");
        let mut response = agent.run(request).expect("the server answers");
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

    /// Opens the user's WebSocket and reads `hello`.
    pub fn connect(&self, user: &User) -> Client {
        let mut request = format!("ws://{}/ws", self.http).into_client_request().unwrap();
        let bearer = format!("Bearer {}", user.token).parse().unwrap();
        request.headers_mut().insert("Authorization", bearer);
        let stream = TcpStream::connect(self.http).expect("the server listens");
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let (socket, _) = tungstenite::client(request, stream).expect("the upgrade succeeds");
        let mut client = Client { socket };
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
    http: SocketAddr,
    admin: SocketAddr,
    stderr: Stdio,
) -> (Child, SocketAddr, SocketAddr) {
    // With the soft limit of a usual shell, which the server has to raise by itself.
    let mut child = Command::new("sh")
        .args(["-c", "ulimit -Sn 1024; exec \"$0\" \"$@\"", env!("CARGO_BIN_EXE_gochat")])
        .args(["--listen", &http.to_string(), "--admin", &admin.to_string(), "--data"])
        .arg(data)
        .args(args)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(stderr)
        .spawn()
        .expect("gochat starts");
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut admin = None;
    for line in lines.by_ref() {
        let line = line.expect("gochat writes text");
        if let Some(url) = line.strip_prefix("Admin port: ") {
            admin = Some(address(url));
        } else if let Some(url) = line.strip_prefix("GoChat is ready: ") {
            let http = address(url);
            std::thread::spawn(move || lines.for_each(drop)); // a full pipe would block the server
            return (child, http, admin.expect("the admin port is named before the ready line"));
        }
    }
    let status = child.wait();
    panic!("gochat ended before it was ready: {status:?}");
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

/// One open WebSocket.
pub struct Client {
    socket: WebSocket<TcpStream>,
}

impl Client {
    pub fn send(&mut self, kind: &str, data: Value) {
        let frame = json!({"type": kind, "data": data, "timestamp": 0}).to_string();
        self.socket.send(Message::text(frame)).expect("the socket takes a frame");
    }

    /// Sends one chat message.
    pub fn say(&mut self, conversation: &str, content: &str, client_msg_id: &str) {
        self.send(
            "send-message",
            json!({"conversationId": conversation, "content": content, "clientMsgId": client_msg_id}),
        );
    }

    /// The next text frame.
    #[allow(clippy::should_implement_trait)] // a closed socket is a failure here, not an end
    pub fn next(&mut self) -> Value {
        loop {
            match self.socket.read().expect("a frame arrives") {
                Message::Text(text) => return serde_json::from_str(&text).expect("frames are JSON"),
                Message::Close(frame) => panic!("closed: {frame:?}"),
                _ => {}
            }
        }
    }

    /// As [`Client::say`]; false when the socket is gone.
    pub fn try_say(&mut self, conversation: &str, content: &str, client_msg_id: &str) -> bool {
        let data = json!({"conversationId": conversation, "content": content, "clientMsgId": client_msg_id});
        let frame = json!({"type": "send-message", "data": data, "timestamp": 0}).to_string();
        self.socket.send(Message::text(frame)).is_ok()
    }

    /// The next text frame, or nothing when the socket is gone.
    pub fn try_next(&mut self) -> Option<Value> {
        loop {
            match self.socket.read() {
                Ok(Message::Text(text)) => {
                    return Some(serde_json::from_str(&text).expect("frames are JSON"));
                }
                Ok(Message::Close(_)) | Err(_) => return None,
                Ok(_) => {}
            }
        }
    }

    /// The data of the next frame of this type for which `wanted` holds; others are passed over.
    pub fn wait_for(&mut self, kind: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        loop {
            let mut frame = self.next();
            if frame["type"] == kind && wanted(&frame["data"]) {
                return frame["data"].take();
            }
        }
    }

    /// The close code that the server ends this socket with.
    pub fn wait_for_close(&mut self) -> Option<u16> {
        loop {
            match self.socket.read() {
                Ok(Message::Close(frame)) => return frame.map(|f| f.code.into()),
                Ok(_) => {}
                Err(_) => return None,
            }
        }
    }
}
