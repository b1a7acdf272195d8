//! An HTTP request on its shard: route, caller, and then the page, an upgrade, or work for the side.

use std::sync::Arc;

use gochat_core::{Cx, Outcome, Request, RequestId, Response, Upgrade};
use gochat_infra::errors::{Code, Error};

use crate::{
    auth,
    mail::Mail,
    rates::http::Caller,
    rest::{self, Call, Work},
    routes::{self, Found, Handler, Lane},
    session::Session,
    shard::Shard,
    side, web,
};

impl Shard {
    pub(crate) fn request(
        &mut self,
        cx: &mut Cx<'_, Shard>,
        request: &Request<'_>,
        id: RequestId,
    ) -> Outcome<Session> {
        self.requests += 1;
        let request_id = format!("{}-{:x}-{:x}", self.shared.short_instance(), cx.shard(), self.requests);
        match self.route(cx, request, id, &request_id) {
            Ok(outcome) => outcome,
            Err(error) => {
                self.counters.request_errors.count(error.code);
                Outcome::Respond(rest::failure(&error, &request_id))
            }
        }
    }

    fn route(
        &mut self,
        cx: &mut Cx<'_, Shard>,
        request: &Request<'_>,
        id: RequestId,
        request_id: &str,
    ) -> Result<Outcome<Session>, Error> {
        // The engine leaves out the body of an answer to HEAD.
        let method = if request.method == "HEAD" { "GET" } else { request.method };
        let (route, params) = match routes::find(method, request.path) {
            Found::Route(route, params) => (route, params),
            Found::OtherMethod(allow) => return Ok(Outcome::Respond(self.other_method(&allow, request_id))),
            Found::Nothing => return Err(Error::new(Code::RouteNotFound, "there is nothing at this path")),
        };
        let now_unix_s = u64::try_from(cx.unix_ms() / 1000).unwrap_or(0);
        let shared = Arc::clone(&self.shared);
        let call = Call { request, params, limits: &shared.config.rest };
        match route.handler {
            Handler::Page => web::serve(request, request_id).map(Outcome::Respond),
            Handler::Socket => self.upgrade(cx, request, now_unix_s).map(Outcome::Upgrade),
            Handler::Public(handler) => {
                let taken = self.http_rates.take_ip(call.client_ip(), cx.now_ms());
                self.check_rate(Caller::Ip, taken)?;
                let work = handler(&call)?;
                self.hand_over(cx, route.lane, work, id, (request_id, request.body.len()))
            }
            Handler::User(handler) => {
                let caller = auth::bearer(request, &shared.keys, now_unix_s)?;
                self.check_open()?;
                self.check_token(&caller)?;
                self.take_of_user(cx, caller.sub)?;
                let work = handler(&call, &caller)?;
                self.hand_over(cx, route.lane, work, id, (request_id, request.body.len()))
            }
        }
    }

    fn other_method(&mut self, allow: &str, request_id: &str) -> Response {
        let error = Error::new(Code::MethodNotAllowed, format!("this path knows only {allow}"));
        self.counters.request_errors.count(error.code);
        rest::failure(&error, request_id).header("Allow", allow)
    }

    fn hand_over(
        &mut self,
        cx: &Cx<'_, Shard>,
        lane: Lane,
        work: Work,
        id: RequestId,
        (request_id, body_bytes): (&str, usize),
    ) -> Result<Outcome<Session>, Error> {
        let (request_id, of_failure) = (request_id.to_owned(), request_id.to_owned());
        let run = move |clients| async move {
            let response = rest::response(work(clients).await, &request_id);
            Mail::Respond { id, response }
        };
        let failed = move || Mail::Respond { id, response: rest::failure(&side::panicked(), &of_failure) };
        self.shared.side.run(lane, cx.shard(), body_bytes, run, failed)?;
        Ok(Outcome::Pending)
    }

    fn upgrade(
        &mut self,
        cx: &Cx<'_, Shard>,
        request: &Request<'_>,
        now_unix_s: u64,
    ) -> Result<Upgrade<Session>, Error> {
        let shared = &self.shared;
        let asked = auth::upgrade(request, &shared.upgrade_rules, &shared.keys, now_unix_s)?;
        if self.draining {
            return Err(self.not_now());
        }
        self.check_open()?;
        let claims = asked.claims;
        self.check_token(&claims)?;
        self.take_of_user(cx, claims.sub)?;
        let session = Session::new(&claims);
        Ok(Upgrade { key: claims.sub, session, protocol: asked.protocol })
    }

    fn take_of_user(&mut self, cx: &Cx<'_, Shard>, user_id: u64) -> Result<(), Error> {
        let taken = self.http_rates.take_user(user_id, cx.now_ms());
        self.check_rate(Caller::User, taken)
    }

    /// Err: the milliseconds to wait.
    fn check_rate(&mut self, whose: Caller, taken: Result<(), u64>) -> Result<(), Error> {
        let Err(retry_after_ms) = taken else { return Ok(()) };
        self.counters.requests_too_fast.count(whose as usize);
        let message = match whose {
            Caller::User => "your devices together ask too often: slow down",
            Caller::Ip => "too many requests from this address: slow down",
        };
        Err(Error::new(Code::RateLimited, message).retry_after_ms(retry_after_ms))
    }

    /// Until the revocations are known, no token is good.
    fn check_open(&self) -> Result<(), Error> {
        if self.open { Ok(()) } else { Err(self.not_now()) }
    }

    fn not_now(&self) -> Error {
        let message = "the server starts or ends: try again in a moment";
        Error::new(Code::Unavailable, message).retry_after_ms(self.shared.config.side.retry_after_ms)
    }
}
