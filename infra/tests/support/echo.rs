//! A small gRPC service as tonic generates them: what it is sent comes back, or what the text asks for.
#![allow(dead_code, unreachable_pub)]

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use gochat_infra::errors::{Code, Error};
use http::{Request, Response};
use tonic::body::Body;
use tonic::codegen::Service;
use tonic::server::{Grpc, NamedService, UnaryService};
use tonic::{Status, client};
use tonic_prost::ProstCodec;

type Pinned<T> = Pin<Box<dyn Future<Output = T> + Send>>;

#[derive(Clone)]
pub struct Echo {
    pub max_decoding_bytes: usize,
}

#[derive(Clone)]
struct Say;

impl UnaryService<String> for Say {
    type Response = String;
    type Future = Pinned<Result<tonic::Response<String>, Status>>;

    fn call(&mut self, request: tonic::Request<String>) -> Self::Future {
        Box::pin(async move {
            let trace = request.metadata().get("trace").cloned();
            let text = request.into_inner();
            match text.as_str() {
                "full" => {
                    let details = serde_json::json!({"max": 500});
                    return Err(Error::new(Code::GroupFull, "500 are in").details(details).into());
                }
                "panic" => panic!("as asked"),
                "wait" => std::future::pending().await,
                "yield" => tokio::task::yield_now().await,
                _ => {}
            }
            let mut response = tonic::Response::new(text);
            if let Some(trace) = trace {
                response.metadata_mut().insert("trace", trace);
            }
            Ok(response)
        })
    }
}

impl NamedService for Echo {
    const NAME: &'static str = "test.Echo";
}

impl Service<Request<Body>> for Echo {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Pinned<Result<Response<Body>, Infallible>>;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        if request.uri().path() != "/test.Echo/Say" {
            return Box::pin(async { Ok(Status::unimplemented("").into_http()) });
        }
        let limit = Some(self.max_decoding_bytes);
        Box::pin(async move {
            let codec = ProstCodec::<String, String>::default();
            let mut grpc = Grpc::new(codec).apply_max_message_size_config(limit, None);
            Ok(grpc.unary(Say, request).await)
        })
    }
}

/// One call, as a generated client makes it.
pub async fn say<T>(transport: T, request: tonic::Request<String>) -> Result<tonic::Response<String>, Status>
where
    T: client::GrpcService<Body>,
    T::ResponseBody: tonic::codegen::Body + Send + 'static,
    <T::ResponseBody as tonic::codegen::Body>::Error: Into<tonic::codegen::StdError> + Send,
{
    say_to(transport, "/test.Echo/Say", request).await
}

pub async fn say_to<T>(
    transport: T,
    path: &'static str,
    request: tonic::Request<String>,
) -> Result<tonic::Response<String>, Status>
where
    T: client::GrpcService<Body>,
    T::ResponseBody: tonic::codegen::Body + Send + 'static,
    <T::ResponseBody as tonic::codegen::Body>::Error: Into<tonic::codegen::StdError> + Send,
{
    let mut grpc = client::Grpc::new(transport).max_decoding_message_size(1000);
    grpc.ready().await.map_err(|error| Status::unknown(error.into().to_string()))?;
    let codec = ProstCodec::<String, String>::default();
    grpc.unary(request, http::uri::PathAndQuery::from_static(path), codec).await
}
