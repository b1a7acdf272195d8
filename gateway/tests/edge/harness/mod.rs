//! A gateway on the embedded queue, with a logic made of canned answers behind it and tungstenite in front.
#![allow(dead_code, unreachable_pub, reason = "each test file uses its part")]

pub mod fake;

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    sync::Arc,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use bytes::Bytes;
use gochat_gateway::{DrainReport, Gateway, GatewayConfig, GatewayDeps};
use gochat_infra::{
    admin::Readiness,
    mq::{EmbeddedConfig, Outgoing, Queue, Target, TopicConfig},
    rpc,
    telemetry::Metrics,
    token::{Claims, TokenKeys},
};
use gochat_proto::{
    common::v1::{Message, MessageType},
    queue::v1::{Delivery, Downstream, UserEvent, downstream::Body},
    topics,
};
use prost::Message as _;
use serde_json::Value;
use tungstenite::{
    ClientRequestBuilder, Message as Frame, WebSocket,
    http::{Response, StatusCode},
    protocol::{CloseFrame, frame::coding::CloseCode},
};

use self::fake::Fake;

pub const INSTANCE: &str = "0123456789abcdef";
pub const SLOT: u32 = 3;
/// Longer than anything here takes; a test that waits so long has failed.
const PATIENCE: Duration = Duration::from_secs(20);

pub struct Gate {
    pub fake: Arc<Fake>,
    pub queue: Queue,
    pub keys: TokenKeys,
    pub metrics: Metrics,
    pub readiness: Readiness,
    pub addr: SocketAddr,
    gateway: Option<Gateway>,
    pub runtime: tokio::runtime::Runtime,
    _dir: tempfile::TempDir,
}

impl Gate {
    pub fn start() -> Gate {
        Gate::with(|_| {})
    }

    /// Two shards, and whatever the test changes.
    pub fn with(change: impl FnOnce(&mut GatewayConfig)) -> Gate {
        Gate::with_queue(change, |_| {})
    }

    pub fn with_queue(
        change: impl FnOnce(&mut GatewayConfig),
        change_queue: impl FnOnce(&mut EmbeddedConfig),
    ) -> Gate {
        Gate::start_with(change, change_queue, Arc::default()).ready()
    }

    /// A gateway that has been started and may not take connections yet.
    pub fn start_with(
        change: impl FnOnce(&mut GatewayConfig),
        change_queue: impl FnOnce(&mut EmbeddedConfig),
        fake: Arc<Fake>,
    ) -> Gate {
        let dir = tempfile::tempdir().expect("a folder");
        let keys = TokenKeys::load_or_create(&dir.path().join("keys.json")).expect("keys");
        let mut queue = EmbeddedConfig {
            dir: dir.path().join("queue"),
            topics: vec![
                TopicConfig::durable(topics::UPSTREAM, 4),
                TopicConfig::memory(topics::DOWNSTREAM, 16),
                TopicConfig::memory(topics::EVENTS_USER, 1),
            ],
            ..EmbeddedConfig::default()
        };
        change_queue(&mut queue);
        let queue = Queue::open_embedded(queue).expect("a queue");
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .expect("a runtime");
        let mut config =
            GatewayConfig { listen: ([127, 0, 0, 1], 0).into(), shards: 2, ..GatewayConfig::default() };
        config.edge.pin_threads = false;
        config.edge.drain_grace_ms = 0;
        config.edge.drain_spread_ms = 10;
        change(&mut config);
        let (metrics, readiness) = (Metrics::new(), Readiness::new());
        let deps = GatewayDeps {
            logic: rpc::Client::local(fake::routes(&fake)),
            queue: queue.clone(),
            keys: keys.clone(),
            instance_id: INSTANCE.into(),
            slot: SLOT,
            metrics: metrics.clone(),
            readiness: readiness.clone(),
            runtime: runtime.handle().clone(),
        };
        let gateway = Gateway::start(config, deps).expect("a gateway");
        let addr = gateway.addr();
        Gate { fake, queue, keys, metrics, readiness, addr, gateway: Some(gateway), runtime, _dir: dir }
    }

    /// Waits until connections are taken.
    pub fn ready(self) -> Gate {
        let gateway = self.gateway.as_ref().expect("not drained");
        let ready = async { tokio::time::timeout(PATIENCE, gateway.ready()).await };
        self.runtime.block_on(ready).expect("ready");
        self
    }

    pub fn drain(&mut self) -> DrainReport {
        let gateway = self.gateway.take().expect("drained once");
        self.runtime.block_on(gateway.drain())
    }

    pub fn token(&self, user: u64, device: &str) -> String {
        self.token_until(user, device, now_s() + 900)
    }

    /// A token that was issued then; Unix milliseconds.
    pub fn token_of(&self, user: u64, device: &str, iat_ms: u64) -> String {
        self.keys.sign(&Claims { sub: user, device: device.into(), iat_ms, exp: now_s() + 900 })
    }

    pub fn token_until(&self, user: u64, device: &str, exp: u64) -> String {
        self.keys.sign(&Claims { sub: user, device: device.into(), iat_ms: now_ms(), exp })
    }

    /// A connection that has said hello.
    pub fn connect(&self, user: u64, device: &str) -> Ws {
        let mut ws = self.connect_silently(user, device);
        ws.wait_for("hello");
        ws
    }

    pub fn connect_silently(&self, user: u64, device: &str) -> Ws {
        let bearer = format!("Bearer {}", self.token(user, device));
        self.upgrade(&[("Authorization", &bearer)], &[]).expect("an upgrade")
    }

    /// A connection whose session is written.
    pub fn connect_bound(&self, user: u64, device: &str) -> Ws {
        let mut ws = self.connect(user, device);
        // Heads are answered only then.
        ws.send(r#"{"type":"heads","data":{}}"#);
        ws.wait_for("heads");
        ws
    }

    /// Upgrades with these headers and subprotocols; the refusal's status and body otherwise.
    pub fn upgrade(&self, headers: &[(&str, &str)], protocols: &[&str]) -> Result<Ws, Refused> {
        self.upgrade_at("/ws", headers, protocols)
    }

    pub fn upgrade_at(
        &self,
        path: &str,
        headers: &[(&str, &str)],
        protocols: &[&str],
    ) -> Result<Ws, Refused> {
        let uri = format!("ws://{}{path}", self.addr).parse().expect("a URI");
        let mut request = ClientRequestBuilder::new(uri);
        for (name, value) in headers {
            request = request.with_header(*name, *value);
        }
        for protocol in protocols {
            request = request.with_sub_protocol(*protocol);
        }
        let stream = TcpStream::connect(self.addr).expect("a connection");
        stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        stream.set_nodelay(true).expect("no delay");
        match tungstenite::client(request, stream) {
            Ok((socket, response)) => Ok(Ws { socket, response }),
            Err(tungstenite::HandshakeError::Failure(tungstenite::Error::Http(response))) => {
                let body = response.body().as_deref().unwrap_or_default();
                let body = serde_json::from_slice(body).unwrap_or(Value::Null);
                Err(Refused { status: response.status(), body })
            }
            Err(error) => panic!("the handshake failed: {error}"),
        }
    }

    pub fn http(&self, method: &str, path: &str, token: Option<&str>, body: Option<Value>) -> Answer {
        let authorization = token.map(|token| format!("Authorization: Bearer {token}\r\n"));
        let body = body.map(|body| body.to_string()).unwrap_or_default();
        self.raw(method, path, &authorization.unwrap_or_default(), body.as_bytes())
    }

    /// `headers` are whole lines.
    pub fn raw(&self, method: &str, path: &str, headers: &str, body: &[u8]) -> Answer {
        let length = body.len();
        let head = format!(
            "{method} {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{headers}Content-Length: {length}\r\n\r\n"
        );
        self.exchange(&[head.as_bytes(), body].concat())
    }

    /// Sends these bytes, whatever they are; the answer must be the connection's last.
    pub fn exchange(&self, request: &[u8]) -> Answer {
        let mut stream = TcpStream::connect(self.addr).expect("a connection");
        stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        stream.write_all(request).expect("sent");
        let mut bytes = Vec::new();
        stream.read_to_end(&mut bytes).expect("an answer");
        Answer::read(&bytes)
    }

    /// Tells all gateways of something that happened to a user.
    pub fn event(&self, event: &UserEvent) {
        let record = Outgoing {
            topic: topics::EVENTS_USER,
            target: Target::ByKey,
            key: event.user_id.to_string().into(),
            value: event.encode_to_vec().into(),
        };
        self.queue.producer().send(record, |_| ()).expect("the queue takes it");
    }

    /// Sends something down to this gateway.
    pub fn down(&self, body: Body) {
        self.down_to(INSTANCE, body);
    }

    pub fn down_to(&self, instance: &str, body: Body) {
        let value = Downstream { gateway_instance: instance.into(), body: Some(body) }.encode_to_vec();
        let record = Outgoing {
            topic: topics::DOWNSTREAM,
            target: Target::Partition(SLOT),
            key: Bytes::new(),
            value: value.into(),
        };
        self.queue.producer().send(record, |_| ()).expect("the queue takes it");
    }
}

impl Drop for Gate {
    fn drop(&mut self) {
        if self.gateway.is_some() {
            self.drain();
        }
    }
}

#[derive(Debug)]
pub struct Refused {
    pub status: StatusCode,
    pub body: Value,
}

pub struct Ws {
    socket: WebSocket<TcpStream>,
    pub response: Response<Option<Vec<u8>>>,
}

impl Ws {
    pub fn send(&mut self, text: &str) {
        self.socket.send(Frame::text(text)).expect("sent");
    }

    /// All of them in one write.
    pub fn send_all(&mut self, texts: &[String]) {
        for text in texts {
            self.socket.write(Frame::text(text.as_str())).expect("queued");
        }
        self.socket.flush().expect("sent");
    }

    pub fn send_binary(&mut self) {
        self.socket.send(Frame::binary(vec![1, 2, 3])).expect("sent");
    }

    /// Bytes past the codec, for frames that it would not write.
    pub fn write_raw(&mut self, bytes: &[u8]) {
        self.socket.get_mut().write_all(bytes).expect("sent");
    }

    /// Ends the connection as a client does, without waiting for the answer.
    pub fn say_goodbye(&mut self) {
        let normal = CloseFrame { code: CloseCode::Normal, reason: "".into() };
        self.socket.close(Some(normal)).expect("a close");
    }

    pub fn send_message(&mut self, conversation: &str, content: &str, client_msg_id: &str) {
        self.send(&send_message(conversation, content, client_msg_id));
    }

    /// The next text frame.
    pub fn next(&mut self) -> Value {
        loop {
            match self.socket.read().expect("a frame") {
                Frame::Text(text) => return serde_json::from_str(&text).expect("JSON"),
                Frame::Ping(_) | Frame::Pong(_) => {}
                other => panic!("{other:?} instead of a frame"),
            }
        }
    }

    /// The data of the next frame, which must be of this type.
    pub fn expect(&mut self, kind: &str) -> Value {
        let frame = self.next();
        assert_eq!(frame["type"], kind, "{frame}");
        frame["data"].clone()
    }

    /// Skips frames of other types.
    pub fn wait_for(&mut self, kind: &str) -> Value {
        loop {
            let frame = self.next();
            if frame["type"] == kind {
                return frame["data"].clone();
            }
        }
    }

    /// Everything sent before has been handled, and nothing else is on its way from the shard.
    pub fn expect_nothing(&mut self) {
        self.send(r#"{"type":"ping","id":"nothing"}"#);
        let frame = self.next();
        assert_eq!((&frame["type"], &frame["id"]), (&"pong".into(), &"nothing".into()), "{frame}");
    }

    /// Reads until the server closes, and returns its code.
    pub fn closed(&mut self) -> u16 {
        loop {
            match self.socket.read() {
                Ok(Frame::Close(Some(frame))) => return frame.code.into(),
                Ok(Frame::Close(None)) => return 1005,
                Ok(_) => {}
                Err(error) => panic!("{error} instead of a close frame"),
            }
        }
    }

    /// Reads up to the answer to a ping, or returns the code that the server closes with instead.
    pub fn pong_or_close(&mut self) -> Option<u16> {
        self.send(r#"{"type":"ping"}"#);
        loop {
            match self.socket.read().expect("a frame") {
                Frame::Text(text) if text.contains(r#""type":"pong""#) => return None,
                Frame::Close(frame) => return Some(frame.map_or(1005, |frame| frame.code.into())),
                _ => {}
            }
        }
    }

    /// Reads to the end without answering pings: the code that the server closes with, 1006 when it sends none.
    pub fn ends_without_answering(mut self) -> u16 {
        let mut bytes = Vec::new();
        self.socket.get_mut().read_to_end(&mut bytes).expect("an end");
        let mut rest = bytes.as_slice();
        while let [first, length, after @ ..] = rest {
            assert!(*length < 126, "only small frames");
            let (payload, next) = after.split_at(usize::from(*length));
            if *first == 0x88 {
                return payload.try_into().map_or(1005, u16::from_be_bytes);
            }
            rest = next;
        }
        1006
    }

    pub fn close(mut self) {
        self.socket.close(None).expect("a close");
        while self.socket.read().is_ok() {}
    }
}

pub fn send_message(conversation: &str, content: &str, client_msg_id: &str) -> String {
    serde_json::json!({
        "type": "send-message",
        "data": { "conversationId": conversation, "content": content, "clientMsgId": client_msg_id },
    })
    .to_string()
}

#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    head: String,
    pub body: Vec<u8>,
}

impl Answer {
    fn read(bytes: &[u8]) -> Answer {
        let end = bytes.windows(4).position(|four| four == b"\r\n\r\n").expect("a head");
        let head = String::from_utf8(bytes[..end].to_vec()).expect("a head of text");
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status");
        Answer { status, head, body: bytes[end + 4..].to_vec() }
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        let lines = self.head.lines().skip(1);
        let mut pairs = lines.filter_map(|line| line.split_once(": "));
        pairs.find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    }

    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }
}

pub fn now_s() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs()
}

pub fn now_ms() -> u64 {
    u64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_millis())
        .expect("a time")
}

/// Looks again and again until it is true.
pub fn until(what: &str, mut is: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !is() {
        assert!(begun.elapsed() < PATIENCE, "{what} did not come about");
        std::thread::sleep(Duration::from_millis(2));
    }
}

pub fn message(conversation: &str, sender: u64, seq: u64) -> Message {
    Message {
        message_id: 1_000 + seq,
        conversation_id: conversation.into(),
        sender_id: sender,
        content: format!("message {seq}"),
        message_type: MessageType::Text.into(),
        seq_id: seq,
        client_msg_id: format!("c{seq}"),
        created_at_ms: 1_700_000_000_000,
    }
}

pub fn delivery(message: Message, users: &[u64]) -> Body {
    Body::Message(Delivery {
        message: Some(message),
        user_ids: users.to_vec(),
        everyone: users.is_empty(),
        ..Delivery::default()
    })
}
