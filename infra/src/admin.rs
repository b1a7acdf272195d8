//! The admin port: `/healthz`, `/readyz` with its reasons, `/metrics`.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use crate::shutdown::Shutdown;
use crate::telemetry::Metrics;

/// How long the end of the port waits for answers under way.
const LAST_ANSWERS: Duration = Duration::from_secs(1);

/// Named conditions that must all hold before traffic should come. Clones share them; any thread may set them.
#[derive(Debug, Clone, Default)]
pub struct Readiness {
    /// The reason why a condition doesn't hold, or `None` when it does.
    conditions: Arc<Mutex<BTreeMap<String, Option<String>>>>,
}

impl Readiness {
    /// No conditions yet: ready. Announce what is to come with [`Readiness::not_ready`] before it starts.
    pub fn new() -> Readiness {
        Readiness::default()
    }

    /// The condition holds.
    pub fn ready(&self, name: &str) {
        self.set(name, None);
    }

    /// The condition doesn't hold, and why.
    pub fn not_ready(&self, name: &str, reason: impl Into<String>) {
        self.set(name, Some(reason.into()));
    }

    fn set(&self, name: &str, reason: Option<String>) {
        let mut conditions = self.conditions.lock().unwrap_or_else(PoisonError::into_inner);
        conditions.insert(name.to_owned(), reason);
    }

    /// Whether every condition holds.
    pub fn is_ready(&self) -> bool {
        let conditions = self.conditions.lock().unwrap_or_else(PoisonError::into_inner);
        conditions.values().all(Option::is_none)
    }

    /// `{"ready": bool, "conditions": {name: {"ready": bool, "reason": …}}}`
    pub fn report(&self) -> serde_json::Value {
        let conditions = self.conditions.lock().unwrap_or_else(PoisonError::into_inner);
        let ready = conditions.values().all(Option::is_none);
        let each: serde_json::Map<_, _> = conditions
            .iter()
            .map(|(name, reason)| {
                (name.clone(), serde_json::json!({"ready": reason.is_none(), "reason": reason}))
            })
            .collect();
        serde_json::json!({"ready": ready, "conditions": each})
    }
}

/// A running admin port.
#[derive(Debug)]
pub struct AdminServer {
    addr: SocketAddr,
    task: JoinHandle<()>,
}

impl AdminServer {
    /// Where it listens.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Waits for its end after the shutdown was requested. Who has not got his answer a second later, or not asked to
    /// the end, gets none.
    pub async fn join(mut self) {
        if tokio::time::timeout(LAST_ANSWERS, &mut self.task).await.is_err() {
            self.task.abort();
        }
    }
}

/// Listens when it returns, until the shutdown is requested.
///
/// The port shows what goes on inside: keep it on loopback or behind a firewall.
///
/// # Errors
/// When the address can't be bound.
pub async fn serve(
    addr: SocketAddr,
    metrics: Metrics,
    readiness: Readiness,
    shutdown: Shutdown,
) -> io::Result<AdminServer> {
    let listener = TcpListener::bind(addr).await?;
    let addr = listener.local_addr()?;
    let router = Router::new()
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(readyz).with_state(readiness))
        .route("/metrics", get(metrics_text).with_state(metrics));
    let task = tokio::spawn(async move {
        let served = axum::serve(listener, router)
            .with_graceful_shutdown(async move { shutdown.requested().await })
            .await;
        if let Err(error) = served {
            tracing::error!(%error, "the admin port ended");
        }
    });
    Ok(AdminServer { addr, task })
}

async fn readyz(State(readiness): State<Readiness>) -> Response {
    let report = readiness.report();
    let status = match report["ready"].as_bool() {
        Some(true) => StatusCode::OK,
        _ => StatusCode::SERVICE_UNAVAILABLE,
    };
    (status, [(header::CONTENT_TYPE, "application/json")], report.to_string()).into_response()
}

async fn metrics_text(State(metrics): State<Metrics>) -> Response {
    let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    ([(header::CONTENT_TYPE, kind)], metrics.encode()).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    async fn get(addr: SocketAddr, path: &str) -> String {
        let mut stream = tokio::net::TcpStream::connect(addr).await.unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    }

    #[tokio::test]
    async fn the_port_tells_health_readiness_with_reasons_and_metrics() {
        let (readiness, shutdown) = (Readiness::new(), Shutdown::new());
        readiness.not_ready("store", "opening");
        let server = serve(([127, 0, 0, 1], 0).into(), Metrics::new(), readiness.clone(), shutdown.clone())
            .await
            .unwrap();
        assert!(get(server.addr(), "/healthz").await.starts_with("HTTP/1.1 200"));
        let answer = get(server.addr(), "/readyz").await;
        assert!(answer.starts_with("HTTP/1.1 503") && answer.contains("opening"), "{answer}");
        readiness.ready("store");
        assert!(get(server.addr(), "/readyz").await.starts_with("HTTP/1.1 200"));
        assert!(get(server.addr(), "/metrics").await.contains("\nprocess_pid "));
        shutdown.trigger();
        server.join().await;
    }

    #[tokio::test]
    async fn half_a_request_holds_up_no_stop() {
        let shutdown = Shutdown::new();
        let server = serve(([127, 0, 0, 1], 0).into(), Metrics::new(), Readiness::new(), shutdown.clone());
        let server = server.await.unwrap();
        let mut half = tokio::net::TcpStream::connect(server.addr()).await.unwrap();
        half.write_all(b"GET /readyz HT").await.unwrap();
        // Who comes later is answered: the server has the first one too.
        assert!(get(server.addr(), "/healthz").await.starts_with("HTTP/1.1 200"));
        shutdown.trigger();
        tokio::time::timeout(Duration::from_secs(60), server.join()).await.expect("the port ends");
    }
}
