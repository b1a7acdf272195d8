//! What scenarios of chatting users share: a time of sending, the end of a load and its verdict.

use std::time::{Duration, Instant};

use serde::Serialize;

use super::fleet::trouble_of;
use super::{Brought, Load, Stage, mib, say};
use crate::checker::{self, Verdict};
use crate::error::LoadError;
use crate::latency::Percentiles;
use crate::load::LoadOutcome;
use crate::report::{Better, Interval, SendingWindow};
use crate::tally::Progress;

/// A line and an interval this often.
const EVERY: Duration = Duration::from_secs(1);

/// The time of sending, second by second.
pub(super) fn send(load: &Load, lasting: Duration, stage: &mut Stage) -> Result<SendingWindow, LoadError> {
    let mut start = stage.begin_window()?;
    let began = load.begin_for(lasting)?;
    stage.begin_intervals_at(&mut start, began);
    watch_until(load, began + lasting, stage)?;
    stage.end_window(&start, load.progress()?.stored)
}

/// A line and an interval each second until then.
pub(super) fn watch_until(load: &Load, until: Instant, stage: &mut Stage) -> Result<(), LoadError> {
    let began = Instant::now();
    let mut last = load.progress()?;
    while let Some(rest) = until.checked_duration_since(Instant::now()).filter(|rest| !rest.is_zero()) {
        std::thread::sleep(rest.min(EVERY));
        let now = load.progress()?;
        let interval = stage.end_interval(now.stored, &load.fresh_latencies()?.deliver)?;
        show_progress(load, began.elapsed(), &interval, &last, &now)?;
        last = now;
    }
    Ok(())
}

fn show_progress(
    load: &Load,
    at: Duration,
    interval: &Interval,
    last: &Progress,
    now: &Progress,
) -> Result<(), LoadError> {
    let open = now.sent - now.stored - now.rejected;
    let latency = interval.latency_us.map_or(String::new(), |us| {
        format!(
            "  p50 {:.1} p99 {:.1} max {:.1} ms",
            us.p50 as f64 / 1e3,
            us.p99 as f64 / 1e3,
            us.max as f64 / 1e3
        )
    });
    say(format_args!(
        "{:>5.1} s  sent {}  stored {} (+{})  delivered {}{latency}  open {open}  rejected {}  retries {}  connected {} {}",
        at.as_secs_f64(),
        now.sent,
        now.stored,
        interval.done,
        now.delivered,
        now.rejected,
        now.retried,
        now.connected,
        if now.bad_frames + now.disconnects > last.bad_frames + last.disconnects {
            trouble_of(load)?
        } else {
            String::new()
        },
    ));
    Ok(())
}

/// The unfinished, the last deliveries and the final reading, with a line each second.
pub(super) fn settle(load: Load, sessions: usize, deadline: Duration) -> Result<LoadOutcome, LoadError> {
    let until = Instant::now() + deadline;
    load.finish(deadline)?;
    say(format_args!("settling and reading every history"));
    let mut shown = Instant::now();
    while !load.is_finished()? && Instant::now() < until {
        std::thread::sleep(Duration::from_millis(20));
        if shown.elapsed() >= EVERY {
            shown = Instant::now();
            let now = load.progress()?;
            let open = now.sent - now.stored - now.rejected;
            say(format_args!("settling: {open} open, {} of {sessions} histories read", now.finished));
        }
    }
    load.stop()
}

/// A chat that was judged: what `gochat-perf chat` reports, and part of what others do. These keys are kept.
#[derive(Debug, Clone, Serialize)]
pub(super) struct ChatResult {
    /// Messages that became due and were taken on.
    pub(super) sent: u64,
    pub(super) stored: u64,
    /// Messages given to their receiver's application.
    pub(super) delivered: u64,
    pub(super) rejected: u64,
    /// Acknowledged and not in every member's history, or stored and never delivered, or without a final
    /// answer when the load gave up.
    pub(super) lost: u64,
    pub(super) doubled: u64,
    /// Seqs missing in a final history (a broken promise), plus holes in live delivery that a sync had to
    /// fill (allowed, and worth knowing).
    pub(super) gaps: u64,
    pub(super) out_of_order: u64,
    /// Messages stored a second while sending.
    pub(super) rate: f64,
    pub(super) ack_us: Percentiles,
    pub(super) deliver_us: Percentiles,
    /// `null`: the server's process is unknown, or nothing was stored.
    pub(super) server_cpu_us_per_message: Option<f64>,
    pub(super) server_rss_bytes: Option<u64>,
}

/// A load's end, judged.
#[derive(Debug)]
pub(super) struct Judged {
    pub(super) result: ChatResult,
    pub(super) verdict: Verdict,
    /// What could not be judged, in words: as bad as a broken promise.
    pub(super) broken: Vec<String>,
    window: SendingWindow,
    outcome: LoadOutcome,
}

pub(super) fn judge(outcome: LoadOutcome, window: SendingWindow) -> Judged {
    let verdict = checker::check(&outcome.history);
    let progress = &outcome.progress;
    let result = ChatResult {
        sent: progress.sent,
        stored: progress.stored,
        delivered: progress.delivered,
        rejected: progress.rejected,
        lost: verdict.lost + outcome.unfinished,
        doubled: verdict.doubled,
        gaps: verdict.gaps + progress.holes,
        out_of_order: verdict.out_of_order,
        rate: window.rate(),
        ack_us: outcome.latencies.ack.percentiles(),
        deliver_us: outcome.latencies.deliver.percentiles(),
        server_cpu_us_per_message: window.server_cpu_us_per_op(),
        server_rss_bytes: window.server_rss_bytes,
    };
    let broken = (!outcome.is_complete()).then(|| {
        format!(
            "incomplete: {} messages without a final answer, {} histories not read, {} threads of this program failed",
            outcome.unfinished, outcome.unread, outcome.panicked
        )
    });
    Judged { result, verdict, broken: broken.into_iter().collect(), window, outcome }
}

impl Judged {
    pub(super) fn holds(&self) -> bool {
        self.verdict.holds() && self.broken.is_empty()
    }

    pub(super) fn progress(&self) -> &Progress {
        &self.outcome.progress
    }

    pub(super) fn latencies(&self) -> &crate::tally::Latencies {
        &self.outcome.latencies
    }

    /// All but the verdict, which every scenario prints at its end.
    pub(super) fn print(&self) {
        let Judged { result, window, .. } = self;
        let progress = self.progress();
        println!("sent {} · stored {} · delivered {}", result.sent, result.stored, result.delivered);
        println!("rejected {} · rate {} messages/s", result.rejected, result.rate);
        println!("ack      {}", result.ack_us);
        println!("deliver  {}", result.deliver_us);
        println!(
            "retries {} · re-sent {} · holes synced {} · redelivered {} · resyncs {} · disconnects {} · skipped {} · \
             put off {} · bad frames {}",
            progress.retried,
            progress.resent,
            progress.holes,
            progress.redelivered,
            progress.resyncs,
            progress.disconnects,
            progress.skipped,
            progress.put_off,
            progress.bad_frames
        );
        if let (Some(cpu_us), Some(rss)) = (result.server_cpu_us_per_message, result.server_rss_bytes) {
            println!("server   {cpu_us} µs of CPU a message · {:.1} MiB resident", mib(rss));
        }
        println!(
            "client   {:.1} µs of CPU a message · late by {}",
            window.client_cpu_us_per_op().unwrap_or(0.0),
            self.latencies().lateness.percentiles()
        );
    }

    /// `result` stands for the scenario's own keys.
    pub(super) fn bring(self, result: &impl Serialize) -> Brought {
        let mut figures = self.window.figures();
        let progress = &self.outcome.progress;
        figures.add("lost", self.result.lost as f64, "", Better::Lower);
        figures.add("holes_synced", progress.holes as f64, "", Better::Lower);
        figures.add("retries", progress.retried as f64, "", Better::Lower);
        figures.add("rejected", progress.rejected as f64, "", Better::Lower);
        figures.add("skipped", progress.skipped as f64, "", Better::Lower);
        figures.add("disconnects", progress.disconnects as f64, "", Better::Lower);
        Brought {
            verdict: self.verdict,
            broken: self.broken,
            figures,
            latencies: self.outcome.latencies.named().collect(),
            main_latency: Some("deliver"),
            result: serde_json::to_value(result).unwrap_or_default(),
            ..Brought::default()
        }
    }
}
