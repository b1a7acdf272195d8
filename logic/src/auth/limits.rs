//! How often passwords may be tried and accounts made, judged before any hashing. Pure: it is given the time.
//!
//! The tables are this process's: with several logics each allows its own share. Whoever guesses at a name is limited
//! by where he connects from, so that the name's user, who is elsewhere, is not locked out; all places together have a
//! wider limit, which only somebody with many addresses reaches. The right password makes a place as good as new.
use std::collections::HashMap;
use std::hash::{BuildHasher, Hash, RandomState};
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use gochat_infra::errors::{Code, Error};

use super::metrics::AuthMetrics;
use crate::config::LoginsConfig;

/// The limits of log-ins, registrations and password changes.
pub(crate) struct Limits {
    /// By name, whether anybody has it or not, and where it is tried from; and by user for changes of a password.
    passwords: Buckets,
    /// By name, from wherever it is tried.
    names: Buckets,
    logins: Buckets,
    registrations: Buckets,
    limit_loopback: bool,
    metrics: AuthMetrics,
}

/// A password that may be tried now.
#[derive(Debug)]
pub(crate) struct Attempt {
    key: u64,
    name: Option<u64>,
}

impl Limits {
    pub(crate) fn new(config: &LoginsConfig, metrics: AuthMetrics) -> Self {
        let buckets = |burst, interval_ms| Buckets::new(burst, interval_ms, config.keys_max);
        Self {
            passwords: buckets(config.name_burst, config.name_interval_ms),
            names: buckets(config.name_total_burst, config.name_total_interval_ms),
            logins: buckets(config.address_burst, config.address_interval_ms),
            registrations: buckets(config.register_burst, config.register_interval_ms),
            limit_loopback: config.limit_loopback,
            metrics,
        }
    }

    /// Counts an attempt to log in. 1012 with a time to retry when it is one too many.
    pub(crate) fn login(&self, username: &str, peer_ip: &str, now: Instant) -> Result<Attempt, Error> {
        self.address(&self.logins, peer_ip, "login-address", now)?;
        // Names are the same in capitals and small letters.
        let name = username.to_ascii_lowercase();
        let from = peer_ip.parse().ok().map(network);
        let attempt = self.password(&(&name, from), "login-name", now)?;
        let name = self.names.key(&name);
        let taken = self.judge(self.names.take(name, now), "login-name-total");
        taken.inspect_err(|_| self.untried(&attempt))?;
        Ok(Attempt { name: Some(name), ..attempt })
    }

    /// Counts an attempt to change a password. 1012 with a time to retry when it is one too many.
    pub(crate) fn change(&self, user_id: u64, now: Instant) -> Result<Attempt, Error> {
        self.password(&user_id, "password-user", now)
    }

    /// Counts a registration. 1012 with a time to retry when it is one too many.
    pub(crate) fn registration(&self, peer_ip: &str, now: Instant) -> Result<(), Error> {
        self.address(&self.registrations, peer_ip, "register-address", now)
    }

    /// It was the right password: what was tried before from there is forgotten.
    pub(crate) fn right(&self, attempt: &Attempt) {
        self.passwords.forget(attempt.key);
        self.give_back_name(attempt);
    }

    /// The password was not looked at, so it does not count.
    pub(crate) fn untried(&self, attempt: &Attempt) {
        self.passwords.give_back(attempt.key);
        self.give_back_name(attempt);
    }

    fn give_back_name(&self, attempt: &Attempt) {
        if let Some(name) = attempt.name {
            self.names.give_back(name);
        }
    }

    fn password<K: Hash + ?Sized>(
        &self,
        whose: &K,
        reason: &'static str,
        now: Instant,
    ) -> Result<Attempt, Error> {
        let key = self.passwords.key(whose);
        self.judge(self.passwords.take(key, now), reason)?;
        Ok(Attempt { key, name: None })
    }

    /// Who connects from this machine is most likely a proxy that stands for everybody.
    fn address(
        &self,
        buckets: &Buckets,
        peer_ip: &str,
        reason: &'static str,
        now: Instant,
    ) -> Result<(), Error> {
        let Ok(ip) = peer_ip.parse::<IpAddr>() else { return Ok(()) };
        let network = network(ip);
        if network.is_loopback() && !self.limit_loopback {
            return Ok(());
        }
        self.judge(buckets.take(buckets.key(&network), now), reason)
    }

    fn judge(&self, taken: Taken, reason: &'static str) -> Result<(), Error> {
        self.metrics.limits_forgotten.inc_by(taken.forgotten);
        taken.outcome.map_err(|wait| {
            self.metrics.rate_limited.inc(reason);
            let text = "Too many attempts; please wait a moment and try again.";
            // Rounded up, so that who waits as long as told is not too early.
            Error::new(Code::RateLimited, text).retry_after_ms(wait.as_millis() as u64 + 1)
        })
    }
}

/// A household has a whole IPv6 /64, so its addresses count as one.
fn network(ip: IpAddr) -> IpAddr {
    match ip.to_canonical() {
        IpAddr::V6(v6) if !v6.is_loopback() => {
            IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() & !u128::from(u64::MAX)))
        }
        other => other,
    }
}

/// Token buckets, one a key: `burst` at once, then one every interval. Kept is only the moment at which a bucket is
/// full again; one that is full needs no entry.
///
/// When there are too many keys, those go whose buckets are fullest: to push out the name that he attacks, an
/// attacker would have to fail as often on every other.
struct Buckets {
    burst: u32,
    interval: Duration,
    keys_max: usize,
    hasher: RandomState,
    full_at: Mutex<HashMap<u64, Instant>>,
}

struct Taken {
    /// How long to wait, when there was nothing to take.
    outcome: Result<(), Duration>,
    /// Keys that had to go for this one.
    forgotten: u64,
}

impl Buckets {
    fn new(burst: u32, interval_ms: u64, keys_max: usize) -> Self {
        let interval = Duration::from_millis(interval_ms);
        Self { burst, interval, keys_max, hasher: RandomState::new(), full_at: Mutex::default() }
    }

    /// Hashed with a secret of this process, so that nobody can look for a key that collides with another.
    fn key<K: Hash + ?Sized>(&self, of: &K) -> u64 {
        self.hasher.hash_one(of)
    }

    fn take(&self, key: u64, now: Instant) -> Taken {
        let mut map = self.lock();
        let full_at = map.get(&key).copied().unwrap_or(now).max(now) + self.interval;
        let most = now + self.interval * self.burst;
        if full_at > most {
            return Taken { outcome: Err(full_at - most), forgotten: 0 };
        }
        let forgotten = match map.len() >= self.keys_max && !map.contains_key(&key) {
            true => make_room(&mut map, self.keys_max, now),
            false => 0,
        };
        map.insert(key, full_at);
        Taken { outcome: Ok(()), forgotten }
    }

    fn give_back(&self, key: u64) {
        if let Some(full_at) = self.lock().get_mut(&key) {
            // One that reaches into the past is full.
            *full_at = full_at.checked_sub(self.interval).unwrap_or(*full_at);
        }
    }

    fn forget(&self, key: u64) {
        self.lock().remove(&key);
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<u64, Instant>> {
        self.full_at.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Down to 7/8 at once, so that the walk over all keys is paid once in many attempts. Returns how many went that
/// were not full.
fn make_room(map: &mut HashMap<u64, Instant>, keys_max: usize, now: Instant) -> u64 {
    map.retain(|_, full_at| *full_at > now);
    let surplus = map.len().saturating_sub(keys_max - keys_max.div_ceil(8));
    if surplus == 0 {
        return 0;
    }
    let mut order: Vec<Instant> = map.values().copied().collect();
    let limit = *order.select_nth_unstable(surplus - 1).1;
    let mut left = surplus;
    map.retain(|_, full_at| {
        let goes = left > 0 && *full_at <= limit;
        left -= usize::from(goes);
        !goes
    });
    surplus as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_burst_then_one_an_interval_and_the_advice_is_exact() {
        let buckets = Buckets::new(3, 10_000, 100);
        let now = Instant::now();
        let take = |after: Duration| buckets.take(1, now + after).outcome;
        for _ in 0..3 {
            take(Duration::ZERO).unwrap();
        }
        assert_eq!(take(Duration::ZERO), Err(10 * SECOND));
        // What is refused costs nothing: however often it is tried, the wait ends.
        assert_eq!(take(4 * SECOND), Err(6 * SECOND));
        take(10 * SECOND).unwrap();
        assert_eq!(take(10 * SECOND), Err(10 * SECOND));
        buckets.take(2, now).outcome.unwrap();
        buckets.give_back(1);
        take(10 * SECOND).unwrap();
        buckets.forget(1);
        for _ in 0..3 {
            take(11 * SECOND).unwrap();
        }
        take(11 * SECOND).unwrap_err();
    }

    #[test]
    fn the_table_is_bounded_and_who_is_attacked_most_stays_in_it() {
        let buckets = Buckets::new(3, 10_000, 16);
        let now = Instant::now();
        for _ in 0..3 {
            buckets.take(0, now).outcome.unwrap();
        }
        let mut forgotten = 0;
        for key in 1..1000 {
            let taken = buckets.take(key, now);
            taken.outcome.unwrap();
            forgotten += taken.forgotten;
            assert!(buckets.lock().len() <= 16);
        }
        assert!(forgotten > 900, "{forgotten}");
        assert!(buckets.take(0, now).outcome.is_err());
        // Full buckets go first, and their going changes nothing.
        let later = now + 60 * SECOND;
        for key in 0..16 {
            assert_eq!(buckets.take(key, later).forgotten, 0);
        }
    }

    #[test]
    fn a_table_of_one_key_works() {
        let buckets = Buckets::new(1, 10_000, 1);
        let now = Instant::now();
        buckets.take(1, now).outcome.unwrap();
        buckets.take(1, now).outcome.unwrap_err();
        let taken = buckets.take(2, now);
        assert_eq!((taken.outcome, taken.forgotten), (Ok(()), 1));
    }

    #[test]
    fn addresses_of_one_network_count_as_one() {
        let check = |ip: &str, expect: &str| {
            assert_eq!(network(ip.parse().unwrap()), expect.parse::<IpAddr>().unwrap());
        };
        check("192.0.2.7", "192.0.2.7");
        check("::ffff:192.0.2.7", "192.0.2.7");
        check("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::");
        check("::1", "::1");
        check("::ffff:127.0.0.1", "127.0.0.1");
    }
}
