//! `user_session:{user_id}`: device id → where that device is connected. The only home of sessions, so a
//! failing cache is an error here.
//!
//! A value begins with the gateway's instance and the connection id, so that a refresh or removal can be tied
//! in one step to the connection that it was meant for.
use std::time::Duration;

use bytes::Bytes;
use gochat_infra::cache::CacheError;
use gochat_infra::errors::{Code, Error};
use gochat_proto::common::v1::Session;
use prost::Message as _;

use super::Caches;
use crate::metrics::CacheKind;
use crate::store::Result;

/// Ends the prefix; neither part of it can contain this byte.
const END_OF_PREFIX: u8 = b'\n';

fn key(user_id: u64) -> String {
    format!("user_session:{user_id}")
}

fn prefix(session: &Session) -> Vec<u8> {
    let mut prefix = format!("{}/{}", session.gateway_instance, session.connection_id).into_bytes();
    prefix.push(END_OF_PREFIX);
    prefix
}

fn value(session: &Session) -> Bytes {
    let mut value = prefix(session);
    session.encode(&mut value).expect("a Vec takes all");
    value.into()
}

impl Caches {
    /// The live sessions of a user.
    ///
    /// # Errors
    /// 1014 when the cache is down.
    pub(crate) async fn sessions(&self, user_id: u64, now_ms: i64) -> Result<Vec<Session>> {
        let fields = self.sessions.hget_all(&key(user_id)).await.map_err(|error| self.down(error))?;
        let read = |(_, value): (String, Bytes)| self.read_session(&value);
        Ok(fields.into_iter().filter_map(read).filter(|session| session.expires_at_ms > now_ms).collect())
    }

    fn read_session(&self, value: &[u8]) -> Option<Session> {
        let end = value.iter().position(|&byte| byte == END_OF_PREFIX);
        let session = end.and_then(|end| Session::decode(&value[end + 1..]).ok());
        if session.is_none() {
            self.metrics.cache_unreadable(CacheKind::UserSession);
        }
        session
    }

    /// # Errors
    /// 1014 when the cache is down.
    pub(crate) async fn set_session(&self, session: &Session) -> Result<()> {
        let key = key(session.user_id);
        let set = self.sessions.hset(&key, &session.device_id, value(session), self.session_ttl()).await;
        set.map_err(|error| self.down(error))
    }

    /// Applies unless the device's session is of another connection: one that the cache has lost comes back.
    ///
    /// That can't revive a connection that has ended, since a gateway sends its reports in order, one call at a
    /// time: no refresh follows the delete of its own connection. Would one, it would end with the time to live.
    ///
    /// # Errors
    /// 1014 when the cache is down.
    pub(crate) async fn refresh_session(&self, session: &Session) -> Result<bool> {
        let (key, prefix, value) = (key(session.user_id), prefix(session), value(session));
        let set = self
            .sessions
            .hset_unless_other(&key, &session.device_id, &prefix, value, self.session_ttl())
            .await;
        set.map_err(|error| self.down(error))
    }

    /// Applies only while the device's session is of this connection.
    ///
    /// # Errors
    /// 1014 when the cache is down.
    pub(crate) async fn delete_session(&self, session: &Session) -> Result<bool> {
        let delete = self.sessions.hdel_if(&key(session.user_id), &session.device_id, &prefix(session)).await;
        delete.map_err(|error| self.down(error))
    }

    fn session_ttl(&self) -> Duration {
        Duration::from_secs(self.config.user_session_ttl_s)
    }

    fn down(&self, error: CacheError) -> Error {
        self.metrics.cache_write_failed(CacheKind::UserSession);
        self.log_failure(&error);
        Error::new(Code::Unavailable, "sessions can't be reached now").caused_by(error)
    }
}
