//! The result of a chat load, for people and for machines.

use std::fmt;

use hdrhistogram::Histogram;
use serde::Serialize;

use crate::checker::Verdict;
use crate::load::LoadOutcome;

/// The JSON file of `gochat-perf chat`. These keys are kept.
#[derive(Debug, Clone, Serialize)]
pub struct ChatReport {
    /// Messages that became due and were taken on.
    pub sent: u64,
    pub stored: u64,
    /// Messages given to their receiver's application.
    pub delivered: u64,
    pub rejected: u64,
    /// Acknowledged and not in every member's history, or stored and never delivered, or without a final
    /// answer when the load gave up.
    pub lost: u64,
    pub doubled: u64,
    /// Seqs missing in a final history (a broken promise), plus holes in live delivery that a sync had to
    /// fill (allowed, and worth knowing).
    pub gaps: u64,
    pub out_of_order: u64,
    /// Messages stored a second while sending.
    pub rate: f64,
    pub ack_us: Percentiles,
    pub deliver_us: Percentiles,
    /// `null`: no admin port was given, or nothing was stored.
    pub server_cpu_us_per_message: Option<f64>,
    pub server_rss_bytes: Option<u64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Percentiles {
    pub p50: u64,
    pub p90: u64,
    pub p99: u64,
    pub p999: u64,
    pub max: u64,
}

impl Percentiles {
    pub(crate) fn of(histogram: &Histogram<u64>) -> Percentiles {
        let at = |quantile| histogram.value_at_quantile(quantile);
        Percentiles { p50: at(0.5), p90: at(0.9), p99: at(0.99), p999: at(0.999), max: histogram.max() }
    }
}

impl fmt::Display for Percentiles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ms = |us: u64| us as f64 / 1000.0;
        write!(
            f,
            "p50 {:.2} · p90 {:.2} · p99 {:.2} · p99.9 {:.2} · max {:.2} ms",
            ms(self.p50),
            ms(self.p90),
            ms(self.p99),
            ms(self.p999),
            ms(self.max)
        )
    }
}

/// What the load's time of sending cost and brought.
#[derive(Debug, Clone, Copy, Default)]
pub struct SendingWindow {
    pub seconds: f64,
    pub stored: u64,
    /// Of the server; `None`: unknown.
    pub server_cpu_s: Option<f64>,
    pub server_rss_bytes: Option<u64>,
    /// Of this program.
    pub client_cpu_s: f64,
}

impl SendingWindow {
    /// CPU µs of this program for each stored message.
    pub fn client_cpu_us_per_message(&self) -> f64 {
        self.client_cpu_s * 1e6 / self.stored.max(1) as f64
    }
}

impl ChatReport {
    pub fn new(outcome: &LoadOutcome, verdict: &Verdict, window: &SendingWindow) -> ChatReport {
        let per_message = |cpu_s: f64| (cpu_s * 1e7 / window.stored as f64).round() / 10.0;
        ChatReport {
            sent: outcome.progress.sent,
            stored: outcome.progress.stored,
            delivered: outcome.progress.delivered,
            rejected: outcome.progress.rejected,
            lost: verdict.lost + outcome.unfinished,
            doubled: verdict.doubled,
            gaps: verdict.gaps + outcome.progress.holes,
            out_of_order: verdict.out_of_order,
            rate: (window.stored as f64 / window.seconds.max(1e-9) * 10.0).round() / 10.0,
            ack_us: Percentiles::of(&outcome.latencies.ack),
            deliver_us: Percentiles::of(&outcome.latencies.deliver),
            server_cpu_us_per_message: window.server_cpu_s.filter(|_| window.stored > 0).map(per_message),
            server_rss_bytes: window.server_rss_bytes,
        }
    }
}
