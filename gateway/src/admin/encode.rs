//! The numbers of the shards in the form that a scrape reads.

use std::fmt;

use gochat_core::ShardStats;
use gochat_infra::errors::Code;
use prometheus_client::{
    encoding::{DescriptorEncoder, EncodeMetric, MetricEncoder},
    metrics::{MetricType, counter::ConstCounter, gauge::ConstGauge},
};

use super::{
    counters::{ByCode, Counters, WITHOUT_ROOM},
    histogram::Histogram,
};
use crate::{
    rates::{Whose, http::Caller},
    shard::Closed,
    upstream::ack::Refusal,
};

type Number<T> = (&'static str, &'static str, fn(&T) -> u64);
type ByCodeNumbers = (&'static str, &'static str, fn(&Counters) -> &ByCode);

pub(super) fn own(encoder: &mut DescriptorEncoder<'_>, shards: &[Counters]) -> fmt::Result {
    let counters: [Number<Counters>; 17] = [
        ("connections_opened", "Connections that came home", |c| c.opened),
        ("connections_closed", "Connections that ended", |c| c.closed),
        ("frames", "Frames received", |c| c.frames),
        ("sends", "Messages given to the queue", |c| c.sends),
        ("acks_accepted", "Sends answered accepted", |c| c.acks_accepted),
        ("acks_final", "Sends answered stored or rejected by the pipeline", |c| c.acks_final),
        ("acks_stale", "Final answers whose sender had gone", |c| c.acks_stale),
        ("delivered", "Frames queued for receivers", |c| c.delivered),
        ("left_out", "Messages not queued for a slow reader, who is told of the gap", |c| c.left_out),
        ("gaps", "Gap frames sent", |c| c.gaps),
        ("gaps_overflown", "Slow readers sent resync, since they had more gaps than are kept", |c| {
            c.gaps_overflown
        }),
        ("resyncs", "Resync frames sent", |c| c.resyncs),
        ("presence_dropped", "Session reports dropped", |c| c.presence_dropped),
        ("early_heads_refused", "Heads before their session was written that found no room", |c| {
            c.early_heads_refused
        }),
        ("rechecks_without_room", "Second comparisons of heads left to the client for want of room", |c| {
            c.rechecks_without_room
        }),
        ("revocations_folded", "Revocations that became a floor for want of room", |c| c.revocations_folded),
        ("answers_5xx", "HTTP answers that blame the server", |c| c.answers_5xx),
    ];
    for (name, help, number) in counters {
        counter(encoder, name, help, shards.iter().map(number).sum())?;
    }
    gauge(encoder, "sends_pending", "Sends not confirmed yet", shards.iter().map(|c| c.pending).sum())?;
    let help = "Sends that the pipeline has not answered for";
    gauge(encoder, "sends_unfinished", help, shards.iter().map(|c| c.unfinished).sum())?;
    let help = "Age in milliseconds of the oldest of them that no later one has overtaken";
    let age_ms = shards.iter().map(|c| c.unfinished_age_ms).max().unwrap_or(0);
    gauge(encoder, "sends_unfinished_age_ms", help, age_ms)?;
    let help = "From a send to its accepted, in seconds";
    Histogram::sum(shards.iter().map(|c| &c.accept_latency)).encode(encoder, "accept_seconds", help)?;
    let help = "From a send to its stored, in seconds";
    Histogram::sum(shards.iter().map(|c| &c.store_latency)).encode(encoder, "store_seconds", help)?;
    let help = "From a message's createdAt to a receiver's queue, in seconds";
    Histogram::sum(shards.iter().map(|c| &c.delivery_latency)).encode(encoder, "delivery_seconds", help)?;
    // Every shard has its own copy.
    let known = shards.iter().map(|c| c.revocations).max().unwrap_or(0);
    gauge(encoder, "revocations", "Revocations known", known)?;
    let by_code: [ByCodeNumbers; 3] = [
        ("rejects", "Sends rejected by the gateway", |c| &c.rejects),
        ("frame_errors", "Frames answered with an error", |c| &c.frame_errors),
        ("request_errors", "Requests refused by the gateway", |c| &c.request_errors),
    ];
    for (name, help, numbers) in by_code {
        let sums = Code::ALL.iter().enumerate().map(|(at, code)| {
            (code.name(), shards.iter().map(|counters| numbers(counters).0[at]).sum::<u64>())
        });
        family(encoder, name, help, "code", sums.filter(|(_, sum)| *sum > 0))?;
    }
    let help = "Sends answered retry";
    by_reason(encoder, "retries", help, &Refusal::NAMES, shards, |c| &c.retries.0)?;
    let help = "Frames other than sends refused for their rate";
    by_reason(encoder, "too_fast", help, &Whose::NAMES, shards, |c| &c.too_fast.0)?;
    let help = "HTTP requests refused for their rate";
    by_reason(encoder, "requests_too_fast", help, &Caller::NAMES, shards, |c| &c.requests_too_fast.0)?;
    let help = "Frames and requests whose user or address found no room among the buckets";
    by_reason(encoder, "rates_without_room", help, &WITHOUT_ROOM, shards, |c| &c.rates_without_room)?;
    let help = "Connections closed by the gateway";
    by_reason(encoder, "closes", help, &Closed::NAMES, shards, |c| &c.closes.0)
}

fn by_reason<const N: usize>(
    encoder: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    names: &[&'static str; N],
    shards: &[Counters],
    of: impl Fn(&Counters) -> &[u64; N],
) -> fmt::Result {
    let sum = |at: usize| shards.iter().map(|counters| of(counters)[at]).sum::<u64>();
    family(encoder, name, help, "reason", names.iter().enumerate().map(|(at, name)| (*name, sum(at))))
}

pub(super) fn engine(encoder: &mut DescriptorEncoder<'_>, shards: &[ShardStats]) -> fmt::Result {
    let counters: [Number<ShardStats>; 23] = [
        ("edge_accepted", "Sockets accepted", |s| s.accepted),
        ("edge_accept_backoffs", "Pauses of accepting", |s| s.accept_backoffs),
        ("edge_accept_errors", "Errors of accept", |s| s.accept_errors),
        ("edge_handed_over", "Connections sent to their home shard", |s| s.handed_over),
        ("edge_handed_in", "Connections that came home from another shard", |s| s.handed_in),
        ("edge_handed_refused", "Connections that came from another shard and were refused", |s| {
            s.handed_refused
        }),
        ("edge_requests", "HTTP requests", |s| s.requests),
        ("edge_requests_unanswered", "HTTP requests answered 504", |s| s.requests_unanswered),
        ("edge_answers_late", "Answers for requests that were gone", |s| s.answers_late),
        ("edge_upgrades", "Upgrades", |s| s.upgrades),
        ("edge_in_bytes", "Bytes received", |s| s.bytes_in),
        ("edge_out_bytes", "Bytes sent", |s| s.bytes_out),
        ("edge_reads", "Reads that returned bytes", |s| s.reads),
        ("edge_writes", "Writes", |s| s.writes),
        ("edge_writes_blocked", "Writes not taken whole", |s| s.writes_blocked),
        ("edge_messages_in", "WebSocket messages received", |s| s.messages_in),
        ("edge_frames_out", "WebSocket frames queued", |s| s.frames_out),
        ("edge_frames_discarded", "Frames queued when their connection ended", |s| s.frames_discarded),
        ("edge_pings", "Pings sent", |s| s.pings),
        ("edge_shed_free_lists", "Times that free lists were freed for memory", |s| s.shed_free_lists),
        ("edge_mails", "Mails handled", |s| s.mails),
        ("edge_timers_refused", "Timers refused because too many were set", |s| s.timers_refused),
        ("edge_panics", "Panics caught", |s| s.panics),
    ];
    for (name, help, number) in counters {
        counter(encoder, name, help, shards.iter().map(number).sum())?;
    }
    let gauges: [Number<ShardStats>; 12] = [
        ("edge_http_connections", "Connections that are not upgraded", |s| s.http_connections),
        ("edge_ws_connections", "WebSocket connections", |s| s.ws_connections),
        ("edge_users", "Users with a connection", |s| s.keys),
        ("edge_outbox_bytes", "Bytes queued for sending", |s| s.outbox_bytes),
        ("edge_input_bytes", "Bytes of incomplete input", |s| s.input_bytes),
        ("edge_memory_bytes", "Live bytes of all kinds", |s| s.memory_bytes),
        ("edge_connections_bytes", "Bytes of connections", |s| s.connections_bytes),
        ("edge_blocked_bytes", "Bytes that blocked sockets have not taken", |s| s.blocked_bytes),
        ("edge_mailbox_bytes", "Bytes of mails that wait", |s| s.mailbox_bytes),
        ("edge_free_bytes", "Bytes in free lists", |s| s.free_bytes),
        ("edge_mailbox_depth", "Mails that wait", |s| s.mailbox_depth),
        ("edge_timers", "Timers set", |s| s.timers_set),
    ];
    for (name, help, number) in gauges {
        gauge(encoder, name, help, shards.iter().map(number).sum())?;
    }
    connections(encoder, shards)?;
    edge_families(encoder, shards)
}

/// What core counts by reason, under its names.
fn edge_families(encoder: &mut DescriptorEncoder<'_>, shards: &[ShardStats]) -> fmt::Result {
    let mut sums = ShardStats::default().families();
    for shard in shards {
        for (sum, more) in sums.iter_mut().zip(shard.families()) {
            for (sum, more) in sum.counts.iter_mut().zip(more.counts) {
                sum.1 += more.1;
            }
        }
    }
    for sum in sums {
        family(encoder, &format!("edge_{}", sum.name), sum.about, "reason", sum.counts.into_iter())?;
    }
    Ok(())
}

/// Every connection stands in one state. Those on their way home are between two shards, which are not asked at the
/// same moment: their number is good to a few.
fn connections(encoder: &mut DescriptorEncoder<'_>, shards: &[ShardStats]) -> fmt::Result {
    let sum = |of: fn(&ShardStats) -> u64| shards.iter().map(of).sum::<u64>();
    let arrived = sum(|s| s.handed_in) + sum(|s| s.handed_refused);
    let on_their_way = sum(|s| s.handed_over).saturating_sub(arrived);
    let states = [
        ("http", sum(|s| s.http_connections)),
        ("upgrading", on_their_way),
        ("open", sum(|s| s.ws_connections).saturating_sub(sum(|s| s.ws_closing))),
        ("closing", sum(|s| s.ws_closing)),
    ];
    let help = "Connections by state";
    gauges(encoder, "connections", help, "state", states.into_iter())
}

pub(super) fn gauges<'a>(
    encoder: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    label: &'static str,
    values: impl Iterator<Item = (&'a str, u64)>,
) -> fmt::Result {
    let mut family = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
    for (value, number) in values {
        let number = i64::try_from(number).unwrap_or(i64::MAX);
        ConstGauge::new(number).encode(family.encode_family(&[(label, value)])?)?;
    }
    Ok(())
}

fn counter(encoder: &mut DescriptorEncoder<'_>, name: &str, help: &str, value: u64) -> fmt::Result {
    let value = ConstCounter::new(value);
    value.encode(encoder.encode_descriptor(name, help, None, value.metric_type())?)
}

fn gauge(encoder: &mut DescriptorEncoder<'_>, name: &str, help: &str, value: u64) -> fmt::Result {
    let value = ConstGauge::new(i64::try_from(value).unwrap_or(i64::MAX));
    value.encode(encoder.encode_descriptor(name, help, None, value.metric_type())?)
}

fn family<'a>(
    encoder: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    label: &'static str,
    values: impl Iterator<Item = (&'a str, u64)>,
) -> fmt::Result {
    let mut family: MetricEncoder<'_> = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
    for (value, number) in values {
        ConstCounter::new(number).encode(family.encode_family(&[(label, value)])?)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// docs/edge.md says of each counter with a reason what it means.
    #[test]
    fn the_page_has_every_reason_of_the_edge() {
        let page = include_str!("../../../docs/edge.md");
        let mut expect: Vec<String> = Vec::new();
        for family in ShardStats::default().families() {
            expect.extend(family.counts.iter().map(|(reason, _)| format!("{} {reason}", family.name)));
        }
        let mut rows: Vec<String> = Vec::new();
        for section in page.split("\n### `gateway_edge_").skip(1) {
            let name = section.split("_total`").next().expect("a name");
            let reasons = section.lines().filter_map(|line| line.strip_prefix("| `")?.split('`').next());
            rows.extend(reasons.map(|reason| format!("{name} {reason}")));
        }
        assert_eq!(rows, expect);
    }
}
