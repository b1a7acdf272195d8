//! What the server's store says of its cache, on an admin port.

use crate::config::Target;
use crate::error::LoadError;
use crate::rest::Rest;

/// Looks into the cache since the server's start.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub(super) struct Looks {
    /// For pages of messages that the cache had whole, and for all such pages.
    pub(super) pages_hit: f64,
    pub(super) pages: f64,
    /// Of all kinds.
    pub(super) all_hit: f64,
    pub(super) all: f64,
}

/// The one admin port that is asked.
#[derive(Debug)]
pub(super) struct CacheMeter {
    rest: Rest,
}

impl CacheMeter {
    /// # Errors
    /// [`LoadError::BadUrl`].
    pub(super) fn new(admin_url: &str) -> Result<CacheMeter, LoadError> {
        Ok(CacheMeter { rest: Rest::new(Target::parse(admin_url)?) })
    }

    /// `None`: it does not count looks into a cache.
    ///
    /// # Errors
    /// [`LoadError::Rest`]: no answer.
    pub(super) fn read(&mut self) -> Result<Option<Looks>, LoadError> {
        let answer = self.rest.call("GET", "/metrics", None)?;
        Ok(looks(&String::from_utf8_lossy(&answer.body)))
    }
}

fn looks(metrics: &str) -> Option<Looks> {
    let mut sum = None;
    for line in metrics.lines() {
        let Some((labels, value)) =
            line.strip_prefix("repo_cache_reads_total{").and_then(|rest| rest.rsplit_once('}'))
        else {
            continue;
        };
        let Some(count) = value.split_whitespace().next().and_then(|count| count.parse::<f64>().ok()) else {
            continue;
        };
        let sum: &mut Looks = sum.get_or_insert_default();
        let (is_hit, is_page) =
            (labels.contains(r#"result="Hit""#), labels.contains(r#"kind="HotMessages""#));
        sum.all += count;
        sum.all_hit += if is_hit { count } else { 0.0 };
        sum.pages += if is_page { count } else { 0.0 };
        sum.pages_hit += if is_hit && is_page { count } else { 0.0 };
    }
    sum
}

impl Looks {
    /// From then until now.
    pub(super) fn since(self, then: Looks) -> Looks {
        Looks {
            pages_hit: self.pages_hit - then.pages_hit,
            pages: self.pages - then.pages,
            all_hit: self.all_hit - then.all_hit,
            all: self.all - then.all,
        }
    }
}

/// `None`: of nothing.
pub(super) fn share(part: f64, whole: f64) -> Option<f64> {
    (whole > 0.0).then(|| (part / whole * 1e4).round() / 1e4)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn looks_are_counted_by_their_labels() {
        let text = "# TYPE repo_cache_reads counter\n\
                    repo_cache_reads_total{kind=\"HotMessages\",result=\"Hit\"} 30\n\
                    repo_cache_reads_total{kind=\"HotMessages\",result=\"Miss\"} 10\n\
                    repo_cache_reads_total{result=\"Hit\",kind=\"UserInfo\"} 5 1700000000\n\
                    repo_cache_reads_totally{kind=\"HotMessages\",result=\"Hit\"} 7\n# EOF\n";
        let found = looks(text).unwrap();
        assert_eq!(found, Looks { pages_hit: 30.0, pages: 40.0, all_hit: 35.0, all: 45.0 });
        let since = found.since(Looks { pages_hit: 10.0, pages: 12.0, ..Looks::default() });
        assert_eq!(share(since.pages_hit, since.pages), Some(0.7143));
        assert_eq!(looks("process_pid 3\n"), None);
        assert_eq!(share(0.0, 0.0), None);
    }
}
