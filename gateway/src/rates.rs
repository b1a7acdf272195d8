//! How fast one connection and one user may send; pure. Token buckets, each a single number: the time at which it will
//! be full again (GCRA).

use std::collections::HashMap;

use crate::config::RateConfig;

/// What a bucket holds and how fast it fills.
#[derive(Debug, Clone, Copy)]
struct Rate {
    interval_us: u64,
    /// How far ahead of now a bucket's time may lie for one more to be taken.
    ahead_max_us: u64,
}

impl Rate {
    fn new(per_s: u32, burst: u32) -> Self {
        let interval_us = 1_000_000 / u64::from(per_s.max(1));
        Rate { interval_us, ahead_max_us: interval_us * u64::from(burst.saturating_sub(1)) }
    }

    /// Milliseconds until one may be taken; None: now.
    fn wait_ms(&self, bucket: Bucket, now_us: u64) -> Option<u64> {
        let ahead_us = bucket.full_us.saturating_sub(now_us);
        (ahead_us > self.ahead_max_us).then(|| (ahead_us - self.ahead_max_us).div_ceil(1000))
    }

    fn take(&self, bucket: &mut Bucket, now_us: u64) {
        bucket.full_us = bucket.full_us.max(now_us) + self.interval_us;
    }
}

/// When it will be full, in microseconds of the shard's clock. A new one is.
#[derive(Debug, Clone, Copy, Default)]
struct Bucket {
    full_us: u64,
}

/// What is counted apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Send,
    /// Every other frame.
    Request,
}

/// Buckets of one connection, or of one user.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Buckets {
    sends: Bucket,
    requests: Bucket,
    /// Of a connection only: what was refused.
    refusals: Bucket,
}

impl Buckets {
    fn of(&mut self, kind: Kind) -> &mut Bucket {
        match kind {
            Kind::Send => &mut self.sends,
            Kind::Request => &mut self.requests,
        }
    }
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
    /// Only those whose buckets are not full: the others are as if new.
    users: HashMap<u64, Buckets>,
    users_max: usize,
    /// With so many users, those whose buckets have filled are looked for.
    sweep_at: usize,
}

/// Fewer users than this are not worth looking through.
const SWEEP_MIN: usize = 1024;

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
            users: HashMap::new(),
            users_max: config.users_per_shard_max,
            sweep_at: SWEEP_MIN.min(config.users_per_shard_max),
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
        if let Some(retry_after_ms) = of_connection.wait_ms(*own.of(kind), now_us) {
            return Err(TooFast { whose: Whose::Connection, retry_after_ms });
        }
        if let Some(users) = self.room_for(user_id, now_us) {
            let bucket = users.of(kind);
            if let Some(retry_after_ms) = of_user.wait_ms(*bucket, now_us) {
                return Err(TooFast { whose: Whose::User, retry_after_ms });
            }
            of_user.take(bucket, now_us);
        }
        of_connection.take(own.of(kind), now_us);
        Ok(())
    }

    /// The user's buckets. None when there is no room for them: then the connection's hold alone.
    fn room_for(&mut self, user_id: u64, now_us: u64) -> Option<&mut Buckets> {
        if self.users.len() >= self.sweep_at && !self.users.contains_key(&user_id) {
            let filling = |buckets: &Buckets| buckets.sends.full_us.max(buckets.requests.full_us) > now_us;
            self.users.retain(|_, buckets| filling(buckets));
            self.sweep_at = (self.users.len() * 2).clamp(SWEEP_MIN.min(self.users_max), self.users_max);
            if self.users.len() >= self.users_max {
                return None;
            }
        }
        Some(self.users.entry(user_id).or_default())
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
        assert_eq!(rates.users.len(), 2, "the third has no bucket and may send");
        assert_eq!(rates.take(Kind::Send, 4, &mut Buckets::default(), 1_100), Ok(()));
        assert_eq!(rates.users.keys().collect::<Vec<_>>(), [&4]);
    }

    #[test]
    fn who_does_not_stop_is_noticed() {
        let (rates, mut own) = (Rates::new(&config()), Buckets::default());
        let refused: Vec<bool> =
            [0, 0, 0, 1_000, 1_000].map(|ms| rates.refused(&mut own, 5_000 + ms)).to_vec();
        assert_eq!(refused, [false, false, true, false, true]);
    }
}
