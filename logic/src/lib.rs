//! Rules and the way of messages: accounts, conversations, groups and sessions for gateways to ask (grpc), and the
//! pipeline that takes every message from gochat.upstream to the store and on to the gateways (pipeline).
//!
//! *Invariants:* logic owns no data; what it keeps in memory is a copy that the store checks at each write. No call
//! of a client stands between two messages: passwords have their own threads, distribution its own task.
#![forbid(unsafe_code)]
// That lint guards memory per connection. Here a future lives as long as a request or the one pipeline.
#![allow(clippy::large_futures)]

mod auth;
mod config;
mod domain;
mod downstream;
mod events;
mod grpc;
mod metrics;
mod pipeline;
mod routes;

use std::sync::Arc;

use gochat_infra::admin::Readiness;
use gochat_infra::errors::Error;
use gochat_infra::idgen::IdGen;
use gochat_infra::mq::{ConsumerConfig, Queue, QueueError};
use gochat_infra::registry::Registry;
use gochat_infra::rpc;
use gochat_infra::shutdown::Shutdown;
use gochat_infra::telemetry::Metrics;
use gochat_infra::token::TokenKeys;
use gochat_proto::logic::v1::account_service_server::AccountServiceServer;
use gochat_proto::logic::v1::auth_service_server::AuthServiceServer;
use gochat_proto::logic::v1::conversation_service_server::ConversationServiceServer;
use gochat_proto::logic::v1::revocation_service_server::RevocationServiceServer;
use gochat_proto::logic::v1::session_service_server::SessionServiceServer;
use gochat_proto::logic::v1::user_service_server::UserServiceServer;
use gochat_proto::topics;
use tokio::task::JoinHandle;

pub use auth::password::{HashError, hash_password};
pub use config::{
    AuthConfig, BadConfig, EventsConfig, LimitsConfig, LogicConfig, LoginsConfig, PipelineConfig,
    RoutesConfig,
};

use auth::limits::Limits;
use auth::metrics::AuthMetrics;
use auth::password::Passwords;
use auth::refresh::RefreshSecret;
use auth::revoke::Revoker;
use downstream::{Downstream, DownstreamMetrics};
use events::{Events, EventsMetrics};
use pipeline::{Pipeline, PipelineDeps, PipelineMetrics};

/// What logic is given.
pub struct LogicDeps {
    /// The way to repo.
    pub repo: rpc::Client,
    pub queue: Queue,
    /// Tells which gateways are alive.
    pub registry: Registry,
    pub keys: TokenKeys,
    pub ids: IdGen,
    pub metrics: Metrics,
    pub readiness: Readiness,
    /// Ends the pipeline: the batch under way is finished and committed. Gateways stop before.
    pub shutdown: Shutdown,
}

/// Why logic did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error(transparent)]
    Config(#[from] BadConfig),
    #[error(transparent)]
    Hash(#[from] HashError),
    #[error("the threads for passwords could not be started: {0}")]
    Threads(std::io::Error),
    #[error("{path}: {source}")]
    RefreshSecret { path: std::path::PathBuf, source: std::io::Error },
    #[error(transparent)]
    Queue(#[from] QueueError),
}

/// What a registration with these would be refused for.
///
/// # Errors
/// The first rule that is broken, as a sentence.
pub fn check_registration(username: &str, email: &str, password: &str) -> Result<(), Error> {
    domain::fields::username(username)?;
    domain::fields::email(email)?;
    domain::fields::password("password", password)?;
    Ok(domain::fields::display_name(username)?)
}

/// The running service.
pub struct Logic {
    routes: tonic::service::Routes,
    pipeline: Pipeline,
    resyncs: JoinHandle<()>,
}

impl Logic {
    /// Starts the pipeline and makes the services ready to be called. Must run in a tokio runtime.
    ///
    /// # Errors
    /// A setting that cannot work, a secret file that cannot be read, or a queue without our topics.
    pub async fn start(config: LogicConfig, deps: LogicDeps) -> Result<Logic, StartError> {
        config.validate()?;
        let (auth_metrics, downstream_metrics, events_metrics, pipeline_metrics) =
            deps.metrics.with("logic", |registry| {
                (
                    AuthMetrics::register(registry),
                    DownstreamMetrics::register(registry),
                    EventsMetrics::register(registry),
                    PipelineMetrics::register(registry),
                )
            });
        let path = &config.auth.refresh_secret_file;
        let refresh_secret = RefreshSecret::load_or_create(path)
            .map_err(|source| StartError::RefreshSecret { path: path.clone(), source })?;
        let passwords = Passwords::start(&config.auth, auth_metrics.clone())?;

        let known_gateways = Arc::new(routes::Routes::new(&config.routes, &deps.repo, deps.registry));
        let downstream =
            Downstream::new(&config.routes, deps.queue.producer(), known_gateways, downstream_metrics);
        let events = Events::new(&config.events, deps.queue.producer(), events_metrics);
        let bounds = ConsumerConfig {
            max_records: config.pipeline.batch_records,
            max_bytes: config.pipeline.batch_bytes,
        };
        let consumer = deps.queue.consumer(topics::GROUP_LOGIC, &[topics::UPSTREAM], bounds)?;
        let pipeline = Pipeline::start(
            &config.pipeline,
            &config.limits,
            PipelineDeps {
                repo: deps.repo.clone(),
                ids: deps.ids.clone(),
                consumer,
                producer: deps.queue.producer(),
                downstream: downstream.clone(),
                events: events.clone(),
                metrics: pipeline_metrics,
                readiness: deps.readiness,
                shutdown: deps.shutdown,
            },
        );

        let revoker = Revoker::new(&config.auth, deps.repo.clone(), events.clone(), auth_metrics.clone());
        let auth = grpc::Auth::new(
            &config.auth,
            grpc::AuthDeps {
                repo: deps.repo.clone(),
                ids: deps.ids.clone(),
                keys: deps.keys,
                passwords,
                limits: Limits::new(&config.logins, auth_metrics.clone()),
                refresh_secret,
                revoker: revoker.clone(),
                events: events.clone(),
                metrics: auth_metrics,
            },
        );
        let conversations =
            grpc::Conversations::new(config.limits, &deps.repo, deps.ids, downstream.clone(), events.clone());
        let routes = tonic::service::Routes::new(AuthServiceServer::new(auth))
            .add_service(UserServiceServer::new(grpc::Users::new(deps.repo.clone(), events)))
            .add_service(AccountServiceServer::new(grpc::Accounts::new(deps.repo.clone(), revoker)))
            .add_service(RevocationServiceServer::new(grpc::Revocations::new(deps.repo.clone())))
            .add_service(ConversationServiceServer::new(conversations))
            .add_service(SessionServiceServer::new(grpc::Sessions::new(deps.repo, downstream.clone())));
        let resyncs = tokio::spawn(downstream.run_resyncs());
        Ok(Logic { routes, pipeline, resyncs })
    }

    /// Every service of logic.
    pub fn routes(&self) -> tonic::service::Routes {
        self.routes.clone()
    }

    /// Waits for the end that the shutdown began: the batch under way is saved, distributed and committed.
    pub async fn join(self) {
        self.pipeline.join().await;
        self.resyncs.abort();
        let _ = self.resyncs.await;
    }
}
