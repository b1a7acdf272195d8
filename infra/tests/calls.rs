//! A call within the process is a gRPC call: messages, metadata, errors and limits are those of the wire.

#[path = "support/echo.rs"]
mod echo;

use std::time::Duration;

use echo::{Echo, say, say_to};
use gochat_infra::errors::{Code, Error};
use gochat_infra::rpc::{Client, RpcConfig};
use tonic::service::Routes;

fn client() -> Client {
    Client::local(Routes::new(Echo { max_decoding_bytes: 2000 }))
}

async fn code_of(text: impl Into<String>) -> (Code, tonic::Code) {
    let status = say(client(), tonic::Request::new(text.into())).await.unwrap_err();
    let grpc = status.code();
    (Error::from(status).code, grpc)
}

#[tokio::test]
async fn messages_and_metadata_go_both_ways() {
    let mut request = tonic::Request::new("hello".to_owned());
    request.metadata_mut().insert("trace", "abc".parse().unwrap());
    let response = say(client(), request).await.unwrap();
    assert_eq!(response.metadata().get("trace").unwrap(), "abc");
    assert_eq!(response.into_inner(), "hello");
    let response = say(client(), tonic::Request::new("yield".to_owned())).await.unwrap();
    assert_eq!(response.into_inner(), "yield");
}

#[tokio::test]
async fn a_domain_error_arrives_as_it_was_sent() {
    let status = say(client(), tonic::Request::new("full".to_owned())).await.unwrap_err();
    assert_eq!(status.code(), tonic::Code::ResourceExhausted);
    let error = Error::from(status);
    assert_eq!((error.code, error.message.as_str()), (Code::GroupFull, "500 are in"));
    assert_eq!(error.details, Some(serde_json::json!({"max": 500})));
}

#[tokio::test]
async fn limits_on_messages_hold_in_both_directions() {
    assert_eq!(code_of("x".repeat(3000)).await, (Code::Internal, tonic::Code::OutOfRange));
    // The server takes it, but the client doesn't take it back.
    assert_eq!(code_of("x".repeat(1500)).await, (Code::Internal, tonic::Code::OutOfRange));
}

#[tokio::test]
async fn a_panic_in_a_handler_is_an_answer() {
    assert_eq!(code_of("panic").await, (Code::Internal, tonic::Code::Internal));
}

#[tokio::test]
async fn what_is_not_served_is_unimplemented() {
    for path in ["/test.Echo/Other", "/test.Other/Say"] {
        let status = say_to(client(), path, tonic::Request::new(String::new())).await.unwrap_err();
        assert_eq!(status.code(), tonic::Code::Unimplemented);
    }
}

#[tokio::test(start_paused = true)]
async fn a_call_ends_at_its_deadline() {
    let client = client().with_config(&RpcConfig { deadline_ms: 400 });
    let check = async |asked_ms: Option<u64>, expect_ms: u64| {
        let mut request = tonic::Request::new("wait".to_owned());
        if let Some(ms) = asked_ms {
            request.set_timeout(Duration::from_millis(ms));
        }
        let begun = tokio::time::Instant::now();
        let status = say(client.clone(), request).await.unwrap_err();
        assert_eq!(Error::from(status).code, Code::Timeout);
        // The paused clock moves in steps of a millisecond.
        let took = begun.elapsed().as_millis() as u64;
        assert!((expect_ms..=expect_ms + 1).contains(&took), "{took}");
    };
    Box::pin(check(None, 400)).await;
    Box::pin(check(Some(100), 100)).await;
    Box::pin(check(Some(5000), 400)).await;
}
