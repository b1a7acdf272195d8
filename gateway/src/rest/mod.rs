//! REST: a handler reads and checks the request on the shard and returns the work that is left, which runs on the
//! side: one or more gRPC calls and the answer's JSON.

pub(crate) mod auth;
mod body;
pub(crate) mod conversations;
pub(crate) mod groups;
mod query;
pub(crate) mod users;

use std::{net::IpAddr, pin::Pin};

use bytes::Bytes;
use gochat_core::{Request, Response};
use gochat_infra::{errors::Error, token::Claims};

use self::{body::Body, query::Query};
use crate::{
    config::RestLimits,
    protocol::{
        conversation::parse_id,
        json::{self, Object},
    },
    side::Clients,
};

/// A request whose route is known, and whose caller is if the route asks for one.
pub(crate) struct Call<'a> {
    pub(crate) request: &'a Request<'a>,
    /// What stands in the path's variable segments.
    pub(crate) params: [&'a str; 2],
    pub(crate) limits: &'a RestLimits,
}

/// What the side has to do for an answer.
pub(crate) type Work =
    Box<dyn FnOnce(Clients) -> Pin<Box<dyn Future<Output = Result<Answer, Error>> + Send>> + Send>;

/// A status and, unless it is 204, JSON.
#[derive(Debug)]
pub(crate) struct Answer {
    status: u16,
    body: Vec<u8>,
}

impl Answer {
    fn json(status: u16, fill: impl FnOnce(&mut Object<'_>)) -> Self {
        let mut body = Vec::with_capacity(256);
        json::object(&mut body, fill);
        Answer { status, body }
    }

    fn empty() -> Self {
        Answer { status: 204, body: Vec::new() }
    }
}

fn work<F>(make: impl FnOnce(Clients) -> F + Send + 'static) -> Result<Work, Error>
where
    F: Future<Output = Result<Answer, Error>> + Send + 'static,
{
    Ok(Box::new(move |clients| Box::pin(make(clients))))
}

impl<'a> Call<'a> {
    /// Routes that read a body know no query parameters.
    fn body(&self) -> Result<Body<'a>, Error> {
        self.query()?.finish()?;
        Body::read(self.request.body)
    }

    fn optional_body(&self) -> Result<Body<'a>, Error> {
        self.query()?.finish()?;
        Body::read_optional(self.request.body)
    }

    /// Where the request came from, as the connection or a trusted proxy tells.
    pub(crate) fn client_ip(&self) -> IpAddr {
        self.request.client_ip
    }

    /// The same for logic's limits.
    fn peer_ip(&self) -> String {
        self.client_ip().to_string()
    }

    fn query(&self) -> Result<Query, Error> {
        Query::read(self.request.query)
    }

    /// The variable segment at `index` as an id.
    fn id(&self, index: usize, name: &str) -> Result<u64, Error> {
        let text = self.params[index];
        parse_id(text).ok_or_else(|| invalid(format!("{name} in the path must be an id")))
    }
}

fn invalid(message: impl Into<String>) -> Error {
    Error::new(gochat_infra::errors::Code::InvalidInput, message)
}

/// The user of a route that needs one, and his device.
pub(crate) type Caller<'a> = &'a Claims;

/// When to come again if whoever refused did not say.
const RETRY_AFTER_MS: u64 = 1_000;

/// The response to a request, also to one that was refused.
pub(crate) fn response(outcome: Result<Answer, Error>, request_id: &str) -> Response {
    match outcome {
        Ok(answer) => {
            let response = Response::new(answer.status)
                .header("X-Request-Id", request_id)
                .header("Cache-Control", "no-store");
            if answer.body.is_empty() {
                return response;
            }
            response.header("Content-Type", "application/json").body(Bytes::from(answer.body))
        }
        Err(error) => failure(&error, request_id),
    }
}

pub(crate) fn failure(error: &Error, request_id: &str) -> Response {
    let status = error.code.http_status();
    // Whoever is told to come again is told when.
    let retry_after_ms = error.retry_after_ms.or(matches!(status, 429 | 503).then_some(RETRY_AFTER_MS));
    let mut response = Response::new(status)
        .header("X-Request-Id", request_id)
        .header("Cache-Control", "no-store")
        .header("Content-Type", "application/json");
    if status == 401 {
        response = response.header("WWW-Authenticate", "Bearer");
    }
    if let Some(after_ms) = retry_after_ms {
        // The header counts whole seconds.
        response = response.header("Retry-After", after_ms.div_ceil(1000).max(1).to_string());
    }
    response.body(Bytes::from(error_body(error, retry_after_ms, request_id)))
}

fn error_body(error: &Error, retry_after_ms: Option<u64>, request_id: &str) -> Vec<u8> {
    let mut body = Vec::with_capacity(256);
    json::object(&mut body, |body| {
        body.object("error", |inner| {
            inner.u64("code", u64::from(error.code.number()));
            inner.str("name", error.code.name());
            inner.str("message", error.public_message());
            match &error.details {
                Some(details) => inner.raw("details", details.to_string().as_bytes()),
                None => inner.raw("details", b"null"),
            }
            inner.str("requestId", request_id);
            if let Some(after_ms) = retry_after_ms {
                inner.u64("retryAfterMs", after_ms);
            }
        });
    });
    body
}
