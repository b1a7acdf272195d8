//! The operations do what they say, in bounded memory.

use super::*;
use crate::cache::Cache;

const HOUR: Duration = Duration::from_secs(3600);

fn cache() -> (MemoryCache, Cache) {
    let memory = MemoryCache::new(&MemoryCacheConfig::default());
    (memory.clone(), Cache::Memory(memory))
}

fn bytes(text: &'static str) -> Bytes {
    Bytes::from_static(text.as_bytes())
}

#[tokio::test(start_paused = true)]
async fn a_key_lives_as_long_as_it_was_given() {
    let (memory, cache) = cache();
    cache.set("a", bytes("1"), Duration::from_secs(10)).await.unwrap();
    cache.set("b", bytes("2"), Duration::from_secs(10)).await.unwrap();
    tokio::time::advance(Duration::from_secs(9)).await;
    assert!(cache.expire("b", Duration::from_secs(10)).await.unwrap());
    tokio::time::advance(Duration::from_secs(1)).await;
    let got = cache.mget(&["a".into(), "b".into(), "c".into()]).await.unwrap();
    assert_eq!(got, [None, Some(bytes("2")), None]);
    assert!(!cache.expire("a", HOUR).await.unwrap());
    assert!(cache.del("b").await.unwrap());
    assert!(!cache.del("b").await.unwrap());
    assert_eq!((memory.entries(), memory.bytes()), (0, 0));
}

#[tokio::test]
async fn compare_and_delete_or_refresh_is_one_step() {
    let (memory, cache) = cache();
    cache.set("k", bytes("mine"), HOUR).await.unwrap();
    assert!(!cache.del_if("k", b"yours").await.unwrap());
    assert!(cache.del_if("k", b"mine").await.unwrap());
    cache.hset("h", "phone", bytes("conn7|1"), HOUR).await.unwrap();
    cache.hset("h", "web", bytes("conn8|1"), HOUR).await.unwrap();
    assert!(!cache.hset_unless_other("h", "phone", b"conn6|", bytes("conn6|2"), HOUR).await.unwrap());
    assert!(cache.hset_unless_other("h", "phone", b"conn7|", bytes("conn7|2"), HOUR).await.unwrap());
    // What is missing is made: a field, and a whole key.
    for key in ["h", "none"] {
        assert!(cache.hset_unless_other(key, "pad", b"conn9|", bytes("conn9|1"), HOUR).await.unwrap());
        assert!(!cache.hset_unless_other(key, "pad", b"conn8|", bytes("conn8|1"), HOUR).await.unwrap());
        assert!(cache.hdel_if(key, "pad", b"conn9|").await.unwrap());
    }
    let mut all = cache.hget_all("h").await.unwrap();
    all.sort();
    assert_eq!(all, [("phone".into(), bytes("conn7|2")), ("web".into(), bytes("conn8|1"))]);
    assert!(!cache.hdel_if("h", "phone", b"conn6|").await.unwrap());
    assert!(cache.hdel_if("h", "phone", b"conn7|").await.unwrap());
    assert_eq!(cache.hdel("h", &["web".into(), "pad".into()]).await.unwrap(), 1);
    assert_eq!((memory.entries(), memory.bytes()), (0, 0));
}

#[tokio::test]
async fn a_sorted_set_keeps_the_highest_scores() {
    let (memory, cache) = cache();
    let members: Vec<_> = (1..=10).map(|n| (n, Bytes::from(n.to_string()))).collect();
    cache.zadd("z", &members, 5, HOUR).await.unwrap();
    cache.zadd("z", &[(11, bytes("11")), (10, bytes("ten"))], 5, HOUR).await.unwrap();
    let scores = |range, limit, order| {
        let cache = cache.clone();
        async move {
            let got = cache.zrange("z", range, limit, order).await.unwrap();
            got.into_iter().map(|(score, _)| score).collect::<Vec<_>>()
        }
    };
    assert_eq!(scores(0..=u64::MAX, 100, Order::Oldest).await, [7, 8, 9, 10, 11]);
    assert_eq!(scores(8..=10, 2, Order::Oldest).await, [8, 9]);
    assert_eq!(scores(8..=10, 2, Order::Newest).await, [10, 9]);
    #[allow(clippy::reversed_empty_ranges)]
    let nothing = 10..=8;
    assert!(scores(nothing, 2, Order::Newest).await.is_empty());
    assert_eq!(cache.zrange("z", 10..=10, 1, Order::Oldest).await.unwrap(), [(10, bytes("ten"))]);
    assert_eq!(cache.zrem("z", 0..=9).await.unwrap(), 3);
    assert_eq!(cache.zrem("z", 0..=99).await.unwrap(), 2);
    assert_eq!((memory.entries(), memory.bytes()), (0, 0));
}

#[tokio::test]
async fn another_kind_of_value_is_an_error_and_changes_nothing() {
    let (_, cache) = cache();
    cache.set("k", bytes("v"), HOUR).await.unwrap();
    let wrong = CacheError::WrongKind("k".into());
    assert_eq!(cache.hset("k", "f", bytes("x"), HOUR).await, Err(wrong.clone()));
    assert_eq!(cache.zadd("k", &[(1, bytes("x"))], 1, HOUR).await, Err(wrong.clone()));
    assert_eq!(cache.hget_all("k").await, Err(wrong));
    assert_eq!(cache.get("k").await, Ok(Some(bytes("v"))));
}

#[tokio::test]
async fn the_bounds_hold_and_what_is_read_stays_longer() {
    let config = MemoryCacheConfig { max_entries: 1600, max_bytes: 16 << 20 };
    let memory = MemoryCache::new(&config);
    let cache = Cache::Memory(memory.clone());
    for n in 0..20_000 {
        cache.set(&format!("k{n}"), bytes("v"), HOUR).await.unwrap();
        cache.set("read often", bytes("v"), HOUR).await.unwrap();
        cache.get("read often").await.unwrap();
        assert!(memory.entries() <= 1600);
    }
    assert!(cache.get("read often").await.unwrap().is_some());
    assert!(cache.get("k19999").await.unwrap().is_some());
    assert!(cache.get("k0").await.unwrap().is_none());
    assert_eq!(memory.evicted(), 20_001 - memory.entries() as u64);

    let config = MemoryCacheConfig { max_entries: 1_000_000, max_bytes: 1 << 20 };
    let memory = MemoryCache::new(&config);
    let cache = Cache::Memory(memory.clone());
    let page = Bytes::from(vec![0; 4096]);
    for n in 0..2000 {
        cache.set(&format!("k{n}"), page.clone(), HOUR).await.unwrap();
        cache.hset(&format!("h{}", n % 50), &format!("{}", n % 4), page.clone(), HOUR).await.unwrap();
        assert!(memory.bytes() <= 1 << 20);
    }
    // The largest key has four pages, so each sixteenth of the room is full up to less than five.
    assert!(memory.bytes() > 16 * ((64 << 10) - 5 * (4096 + 200)), "{}", memory.bytes());
    cache.set("huge", Bytes::from(vec![0; 1 << 20]), HOUR).await.unwrap();
    assert_eq!(cache.get("huge").await.unwrap(), None);
}

#[tokio::test]
async fn names_of_deleted_keys_do_not_pile_up() {
    let (memory, cache) = cache();
    for n in 0..50_000 {
        let key = format!("k{n}");
        cache.set(&key, bytes("v"), HOUR).await.unwrap();
        cache.del(&key).await.unwrap();
    }
    let waiting: usize = memory.shared.shards.iter().map(|shard| locked(shard).clock.len()).sum();
    assert!(waiting <= 16 * 65, "{waiting}");
}

#[tokio::test]
async fn a_cache_that_is_down_fails_every_call() {
    let (memory, cache) = cache();
    cache.set("k", bytes("v"), HOUR).await.unwrap();
    memory.set_down(true);
    assert_eq!(cache.get("k").await, Err(CacheError::Down));
    assert_eq!(cache.set("k", bytes("w"), HOUR).await, Err(CacheError::Down));
    assert_eq!(cache.del("k").await, Err(CacheError::Down));
    assert_eq!(cache.hget_all("k").await, Err(CacheError::Down));
    assert_eq!(cache.zrange("k", 0..=1, 1, Order::Oldest).await, Err(CacheError::Down));
    memory.set_down(false);
    assert_eq!(cache.get("k").await, Ok(Some(bytes("v"))));
}

#[tokio::test]
async fn what_is_held_is_shown_by_kind() {
    let (memory, cache) = cache();
    let metrics = Metrics::new();
    memory.register_metrics(&metrics, "copies");
    for key in ["user:1", "user:2", "seq:1:2", "plain"] {
        cache.set(key, bytes("v"), HOUR).await.unwrap();
    }
    cache.hset("user:2:phone", "f", bytes("v"), HOUR).await.unwrap();
    let value = |name: &str, kind: &str| -> Option<usize> {
        let (text, line) = (metrics.encode(), format!("copies_{name}{{kind=\"{kind}\"}} "));
        text.lines().find_map(|found| found.strip_prefix(&line)).map(|value| value.parse().unwrap())
    };
    for (kind, keys) in [("user", 3), ("seq", 1), ("other", 1)] {
        assert_eq!(value("entries", kind), Some(keys), "{kind}");
    }
    let bytes: usize = ["user", "seq", "other"].iter().filter_map(|kind| value("bytes", kind)).sum();
    assert_eq!(bytes, memory.bytes());
    // Kinds are bounded, whatever keys there are.
    for n in 0..100 {
        cache.set(&format!("kind{n}:1"), super::Bytes::new(), HOUR).await.unwrap();
    }
    let kinds = metrics.encode().matches("copies_entries{").count();
    assert_eq!((kinds, memory.entries()), (32 + 1, 105));
}
