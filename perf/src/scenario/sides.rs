//! The same chat under two conditions by turns: what each kind of turns brought.

use serde::Serialize;

use super::Brought;
use super::course::{ChatResult, Judged};
use crate::checker::Verdict;
use crate::latency::Percentiles;
use crate::report::Better;
use crate::tally::{Latencies, Progress};

/// The users that are measured, over all turns of one kind.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Side {
    stored: u64,
    delivered: u64,
    pub(super) lost: u64,
    doubled: u64,
    out_of_order: u64,
    /// Connections of theirs that ended while they chatted.
    disconnects: u64,
    retries: u64,
    ack_us: Percentiles,
    deliver_us: Percentiles,
}

/// What one kind of turns has brought so far.
#[derive(Default)]
pub(super) struct Sum {
    results: Vec<ChatResult>,
    pub(super) latencies: Latencies,
    disconnects: u64,
    retries: u64,
    verdict: Verdict,
    broken: Vec<String>,
}

impl Sum {
    /// Its counters are handed back.
    pub(super) fn take(&mut self, judged: Judged) -> Progress {
        if !judged.holds() {
            judged.print();
        }
        let progress = judged.progress().clone();
        self.latencies.merge(judged.latencies());
        self.disconnects += progress.disconnects;
        self.retries += progress.retried;
        self.results.push(judged.result);
        self.verdict.merge(judged.verdict);
        self.broken.extend(judged.broken);
        progress
    }

    pub(super) fn side(&self) -> Side {
        let sum = |of: fn(&ChatResult) -> u64| self.results.iter().map(of).sum();
        Side {
            stored: sum(|result| result.stored),
            delivered: sum(|result| result.delivered),
            lost: sum(|result| result.lost),
            doubled: sum(|result| result.doubled),
            out_of_order: sum(|result| result.out_of_order),
            disconnects: self.disconnects,
            retries: self.retries,
            ack_us: self.latencies.ack.percentiles(),
            deliver_us: self.latencies.deliver.percentiles(),
        }
    }
}

/// The figures, latencies and verdicts of both kinds of turns; `result` stands for the scenario's own keys.
pub(super) fn bring(result: &impl Serialize, without: Sum, with: Sum) -> Brought {
    let mut brought = Brought {
        main_latency: Some("deliver_with"),
        result: serde_json::to_value(result).unwrap_or_default(),
        ..Brought::default()
    };
    let (side_without, side_with) = (without.side(), with.side());
    for (name, side) in [("without", &side_without), ("with", &side_with)] {
        let retries = side.retries as f64;
        brought.figures.add(&format!("{name}.stored"), side.stored as f64, "", Better::Neither);
        brought.figures.add(&format!("{name}.retries"), retries, "", Better::Lower);
        brought.figures.add(&format!("{name}.disconnects"), side.disconnects as f64, "", Better::Lower);
    }
    brought.figures.add("lost", (side_without.lost + side_with.lost) as f64, "", Better::Lower);
    brought.latencies.insert("ack_without", without.latencies.ack);
    brought.latencies.insert("deliver_without", without.latencies.deliver);
    brought.latencies.insert("ack_with", with.latencies.ack);
    brought.latencies.insert("deliver_with", with.latencies.deliver);
    for side in [(without.verdict, without.broken), (with.verdict, with.broken)] {
        brought.verdict.merge(side.0);
        brought.broken.extend(side.1);
    }
    brought
}

pub(super) fn print(without: &Side, with: &Side) {
    for (name, side) in [("without", without), ("with", with)] {
        println!(
            "{name:8} stored {} · delivered {} · lost {} · doubled {} · out of order {} · disconnects {} · retries {}",
            side.stored,
            side.delivered,
            side.lost,
            side.doubled,
            side.out_of_order,
            side.disconnects,
            side.retries
        );
        println!("         ack     {}", side.ack_us);
        println!("         deliver {}", side.deliver_us);
    }
}
