//! How fast one connection and one user may send, in token buckets; pure.

mod bucket;
pub(crate) mod http;

use self::bucket::{Bucket, Kept, Rate};
use crate::config::RateConfig;

/// What is counted apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Send,
    /// Every other frame.
    Request,
}

/// Buckets of one connection.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Buckets {
    /// By [`Kind`].
    frames: [Bucket; 2],
    /// What was refused.
    refusals: Bucket,
}

/// Whose bucket was empty, and when to come again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TooFast {
    pub(crate) whose: Whose,
    pub(crate) retry_after_ms: u64,
}

/// In the order of [`Whose::NAMES`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Whose {
    Connection,
    User,
}

impl Whose {
    pub(crate) const NAMES: [&'static str; 2] = ["connection", "user"];
}

/// The rates of a shard, and the buckets of the users who are at home here.
#[derive(Debug)]
pub(crate) struct Rates {
    /// By [`Whose`], then by [`Kind`].
    rates: [[Rate; 2]; 2],
    refusals: Rate,
    /// By [`Kind`].
    users: Kept<u64, 2>,
}

impl Rates {
    pub(crate) fn new(config: &RateConfig) -> Self {
        let pair = |sends, sends_burst, requests, requests_burst| {
            [Rate::new(sends, sends_burst), Rate::new(requests, requests_burst)]
        };
        Rates {
            rates: [
                pair(
                    config.connection_sends_per_s,
                    config.connection_sends_burst,
                    config.connection_requests_per_s,
                    config.connection_requests_burst,
                ),
                pair(
                    config.user_sends_per_s,
                    config.user_sends_burst,
                    config.user_requests_per_s,
                    config.user_requests_burst,
                ),
            ],
            refusals: Rate::new(config.refusals_per_s, config.refusals_burst),
            users: Kept::new(config.users_per_shard_max),
        }
    }

    /// Takes one from the connection's bucket and one from its user's, or none from either.
    pub(crate) fn take(
        &mut self,
        kind: Kind,
        user_id: u64,
        own: &mut Buckets,
        now_ms: u64,
    ) -> Result<(), TooFast> {
        let now_us = now_ms.saturating_mul(1000);
        let [of_connection, of_user] = self.rates.map(|rates| rates[kind as usize]);
        let own = &mut own.frames[kind as usize];
        if let Some(retry_after_ms) = of_connection.wait_ms(*own, now_us) {
            return Err(TooFast { whose: Whose::Connection, retry_after_ms });
        }
        // When there is no room for the user, the connection's rate holds alone.
        if let Some(buckets) = self.users.of(user_id, now_us) {
            let bucket = &mut buckets[kind as usize];
            if let Some(retry_after_ms) = of_user.wait_ms(*bucket, now_us) {
                return Err(TooFast { whose: Whose::User, retry_after_ms });
            }
            of_user.take(bucket, now_us);
        }
        of_connection.take(own, now_us);
        Ok(())
    }

    /// How often a user found no room.
    pub(crate) fn without_room(&self) -> u64 {
        self.users.without_room()
    }

    /// Notes that a frame was refused for its rate. True when the client does not stop.
    pub(crate) fn refused(&self, own: &mut Buckets, now_ms: u64) -> bool {
        let now_us = now_ms.saturating_mul(1000);
        let endless = self.refusals.wait_ms(own.refusals, now_us).is_some();
        if !endless {
            self.refusals.take(&mut own.refusals, now_us);
        }
        endless
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config() -> RateConfig {
        RateConfig {
            connection_sends_per_s: 10,
            connection_sends_burst: 3,
            connection_requests_per_s: 10,
            connection_requests_burst: 1,
            user_sends_per_s: 10,
            user_sends_burst: 5,
            user_requests_per_s: 10,
            user_requests_burst: 2,
            refusals_per_s: 1,
            refusals_burst: 2,
            users_per_shard_max: 2,
            ..RateConfig::default()
        }
    }

    fn too_fast(whose: Whose, retry_after_ms: u64) -> Result<(), TooFast> {
        Err(TooFast { whose, retry_after_ms })
    }

    #[test]
    fn a_connection_has_a_burst_and_then_its_rate() {
        let (mut rates, mut own) = (Rates::new(&config()), Buckets::default());
        let steps = [
            (1_000, Ok(())),
            (1_000, Ok(())),
            (1_000, Ok(())),
            (1_000, too_fast(Whose::Connection, 100)),
            (1_099, too_fast(Whose::Connection, 1)),
            (1_100, Ok(())),
            (1_100, too_fast(Whose::Connection, 100)),
            // Full again, and not fuller than full.
            (9_000, Ok(())),
            (9_000, Ok(())),
            (9_000, Ok(())),
            (9_000, too_fast(Whose::Connection, 100)),
        ];
        for (step, (now_ms, expect)) in steps.into_iter().enumerate() {
            assert_eq!(rates.take(Kind::Send, 1, &mut own, now_ms), expect, "step {step}");
        }
        assert_eq!(
            rates.take(Kind::Request, 1, &mut own, 9_000),
            Ok(()),
            "others have a bucket of their own"
        );
    }

    #[test]
    fn connections_of_a_user_share_his_bucket_and_a_refusal_takes_nothing() {
        let mut rates = Rates::new(&config());
        let mut own = [Buckets::default(); 3];
        for conn in [0, 0, 0, 1, 1] {
            assert_eq!(rates.take(Kind::Send, 1, &mut own[conn], 1_000), Ok(()));
        }
        for _ in 0..5 {
            assert_eq!(rates.take(Kind::Send, 1, &mut own[1], 1_000), too_fast(Whose::User, 100));
        }
        assert_eq!(rates.take(Kind::Send, 1, &mut own[1], 1_100), Ok(()), "a place was left in its own");
        assert_eq!(rates.take(Kind::Send, 2, &mut own[2], 1_000), Ok(()), "another user");
    }

    #[test]
    fn users_are_forgotten_when_their_buckets_are_full_and_no_more_are_kept_than_fit() {
        let mut rates = Rates::new(&config());
        for user in 1..=3 {
            assert_eq!(rates.take(Kind::Send, user, &mut Buckets::default(), 1_000), Ok(()));
        }
        assert_eq!((rates.users.len(), rates.without_room()), (2, 1), "the third has no bucket and may send");
        assert_eq!(rates.take(Kind::Send, 4, &mut Buckets::default(), 1_100), Ok(()));
        assert_eq!((rates.users.len(), rates.without_room()), (1, 1));
    }

    #[test]
    fn who_does_not_stop_is_noticed() {
        let (rates, mut own) = (Rates::new(&config()), Buckets::default());
        let refused: Vec<bool> =
            [0, 0, 0, 1_000, 1_000].map(|ms| rates.refused(&mut own, 5_000 + ms)).to_vec();
        assert_eq!(refused, [false, false, true, false, true]);
    }
}
