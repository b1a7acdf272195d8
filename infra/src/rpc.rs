//! Calls to other services: a [`Client`] is the transport of every generated `XClient<T>`.
//!
//! In one process the generated server is called directly, through encode and decode but no socket, in the
//! caller's own task. As over a socket, a caller that gives up drops the handler where it stands.

use std::convert::Infallible;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use http::{Request, Response};
use serde::{Deserialize, Serialize};
use tonic::body::Body;
use tonic::service::Routes;
use tower::Service;

/// Limits of calls to one service.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct RpcConfig {
    /// A call that takes longer is dropped and answered with DeadlineExceeded. A call may ask for less with
    /// `Request::set_timeout`, never for more.
    pub deadline_ms: u64,
}

impl Default for RpcConfig {
    /// 5 seconds.
    fn default() -> Self {
        RpcConfig { deadline_ms: 5_000 }
    }
}

/// The way to a service. Cloning is cheap; clones share everything.
#[derive(Debug, Clone)]
pub struct Client {
    routes: Routes,
    deadline: Duration,
}

impl Client {
    /// A client that calls servers of this process, with the default deadline.
    pub fn local(routes: Routes) -> Client {
        Client { routes: routes.prepare(), deadline: Duration::from_millis(RpcConfig::default().deadline_ms) }
    }

    /// The same way with other limits.
    #[must_use]
    pub fn with_config(mut self, config: &RpcConfig) -> Client {
        self.deadline = Duration::from_millis(config.deadline_ms);
        self
    }
}

impl Service<Request<Body>> for Client {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Call;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Service::<Request<Body>>::poll_ready(&mut self.routes, cx)
    }

    fn call(&mut self, request: Request<Body>) -> Call {
        let asked = request.headers().get("grpc-timeout").and_then(|v| parse_timeout(v.as_bytes()));
        let deadline = asked.map_or(self.deadline, |asked| asked.min(self.deadline));
        Call { inner: self.routes.call(request), deadline, timer: None }
    }
}

/// A call under way. The timer is made when the server first has to wait: most calls that are answered from
/// memory never need one.
#[derive(Debug)]
pub struct Call {
    inner: <Routes as Service<Request<Body>>>::Future,
    deadline: Duration,
    timer: Option<Pin<Box<tokio::time::Sleep>>>,
}

impl Future for Call {
    type Output = Result<Response<Body>, Infallible>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        // A handler's panic must not take the caller's task along: over a socket it wouldn't.
        match catch_unwind(AssertUnwindSafe(|| Pin::new(&mut this.inner).poll(cx))) {
            Ok(Poll::Ready(done)) => return Poll::Ready(done),
            Ok(Poll::Pending) => {}
            Err(_) => {
                tracing::error!("a gRPC handler panicked");
                return Poll::Ready(Ok(tonic::Status::internal("the handler panicked").into_http()));
            }
        }
        let deadline = this.deadline;
        let timer = this.timer.get_or_insert_with(|| Box::pin(tokio::time::sleep(deadline)));
        match timer.as_mut().poll(cx) {
            Poll::Pending => Poll::Pending,
            Poll::Ready(()) => {
                let status = tonic::Status::deadline_exceeded(format!("no answer within {deadline:?}"));
                Poll::Ready(Ok(status.into_http()))
            }
        }
    }
}

/// The value of a `grpc-timeout` header: up to eight digits and a unit.
fn parse_timeout(value: &[u8]) -> Option<Duration> {
    let (unit, digits) = value.split_last()?;
    if digits.len() > 8 {
        return None;
    }
    let number: u64 = std::str::from_utf8(digits).ok()?.parse().ok()?;
    match unit {
        b'H' => Some(Duration::from_secs(number * 3600)),
        b'M' => Some(Duration::from_secs(number * 60)),
        b'S' => Some(Duration::from_secs(number)),
        b'm' => Some(Duration::from_millis(number)),
        b'u' => Some(Duration::from_micros(number)),
        b'n' => Some(Duration::from_nanos(number)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grpc_timeouts_are_understood() {
        let check = |text: &str, expect: Option<Duration>| assert_eq!(parse_timeout(text.as_bytes()), expect);
        check("1H", Some(Duration::from_secs(3600)));
        check("2M", Some(Duration::from_secs(120)));
        check("3S", Some(Duration::from_secs(3)));
        check("40m", Some(Duration::from_millis(40)));
        check("50u", Some(Duration::from_micros(50)));
        check("99999999n", Some(Duration::from_nanos(99_999_999)));
        check("123456789S", None);
        check("", None);
        check("S", None);
        check("1x", None);
    }
}
