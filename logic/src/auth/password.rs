//! argon2id, always on the pool.
use std::sync::Arc;

use argon2::password_hash::phc::PasswordHash;
use argon2::password_hash::{PasswordHasher, PasswordVerifier};
use argon2::{Algorithm, Argon2, Params, Version};
use gochat_infra::errors::Error;

use super::metrics::AuthMetrics;
use super::pool::HashPool;
use crate::config::AuthConfig;

/// Hashes and checks passwords.
pub(crate) struct Passwords {
    pool: HashPool,
    argon2: Argon2<'static>,
    /// Hash of a random text: what an unknown name is checked against, so that it takes as long as a known one.
    dummy: Arc<str>,
    metrics: AuthMetrics,
}

impl Passwords {
    /// Starts the pool; hashes once, so it takes as long as a login.
    pub(crate) fn start(config: &AuthConfig, metrics: AuthMetrics) -> Result<Self, crate::StartError> {
        let argon2 = configured(config)?;
        let dummy = hash(&argon2, &super::refresh::random_text())?;
        let pool = HashPool::start(config.argon2_threads, config.argon2_queue, metrics.clone())
            .map_err(crate::StartError::Threads)?;
        Ok(Self { pool, argon2, dummy: dummy.into(), metrics })
    }

    /// The PHC string to store. 1013 with a time to retry when too many wait.
    pub(crate) async fn hash(&self, password: String) -> Result<String, Error> {
        let (argon2, runs) = (self.argon2.clone(), self.metrics.argon2_runs.clone());
        let hashed = self.pool.run(move || {
            runs.inc();
            hash(&argon2, &password)
        });
        let hashed = hashed.await?;
        hashed.map_err(Error::internal)
    }

    /// Whether `password` is the one of `stored`; without a stored hash, or with one that no password has, the same
    /// work is done and it is not.
    pub(crate) async fn verify(&self, password: String, stored: Option<String>) -> Result<bool, Error> {
        let (argon2, runs) = (self.argon2.clone(), self.metrics.argon2_runs.clone());
        let dummy = self.dummy.clone();
        self.pool
            .run(move || {
                let known = stored.as_deref().and_then(|text| PasswordHash::new(text).ok());
                let is_known = known.is_some();
                let Some(against) = known.or_else(|| PasswordHash::new(&dummy).ok()) else { return false };
                runs.inc();
                argon2.verify_password(password.as_bytes(), &against).is_ok() && is_known
            })
            .await
    }
}

/// Why a password could not be hashed: the parameters are wrong, or there is too little memory.
#[derive(Debug, thiserror::Error)]
#[error("argon2: {0}")]
pub struct HashError(String);

/// The PHC string of a password with the configured parameters, computed right here: for seeding, not for serving.
pub fn hash_password(config: &AuthConfig, password: &str) -> Result<String, HashError> {
    hash(&configured(config)?, password)
}

fn configured(config: &AuthConfig) -> Result<Argon2<'static>, HashError> {
    let params = Params::new(config.argon2_memory_kib, config.argon2_passes, config.argon2_lanes, None)
        .map_err(|e| HashError(e.to_string()))?;
    Ok(Argon2::new(Algorithm::Argon2id, Version::V0x13, params))
}

fn hash(argon2: &Argon2<'_>, password: &str) -> Result<String, HashError> {
    let hash: PasswordHash =
        argon2.hash_password(password.as_bytes()).map_err(|e| HashError(e.to_string()))?;
    Ok(hash.to_string())
}
