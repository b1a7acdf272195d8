//! What one message costs in a group of 100,000, and what others feel of it:
//! `cargo run --release -p gochat-task --example large_group -- 100000 10000 4 5 10` for members, members online,
//! gateways, messages, and pages between two cursors. All is on disk below the present folder and removed at the end.
// That lint guards memory per connection; an example has none.
#![allow(clippy::large_futures)]

#[path = "../tests/promises/support/crowd.rs"]
mod crowd;

use std::time::{Duration, Instant};

use crowd::{Crowd, House, Report, Sent};
use gochat_task::TaskConfig;

#[tokio::main]
async fn main() {
    let mut numbers = std::env::args().skip(1).map(|text| text.parse::<u64>().expect("a number"));
    let mut next = |default| numbers.next().unwrap_or(default);
    let (members, online) = (next(100_000), next(10_000));
    let (gateways, messages) = (next(4) as u32, next(5));
    let config = TaskConfig { fan_out_cursor_every_pages: next(10) as u32, ..TaskConfig::default() };
    let crowd = Crowd { members, online, gateways, messages };
    // Not in /tmp, where memory may stand for a disk.
    let dir = tempfile::tempdir_in(".").expect("a folder");
    let begun = Instant::now();
    let house = House::open(dir.path(), crowd, config).await;
    println!("{crowd:?}: built in {:.1} s", begun.elapsed().as_secs_f64());
    let built_kib = status_kib("VmRSS:");
    // Forgets the peak of building.
    let _ = std::fs::write("/proc/self/clear_refs", "5");
    let report = house.run().await;
    print(crowd, &report);
    let peak_kib = status_kib("VmHWM:");
    println!("memory: {:.1} MiB before, {:.1} MiB at most", built_kib / 1024.0, peak_kib / 1024.0);
}

fn print(crowd: Crowd, report: &Report) {
    let page = u64::from(TaskConfig::default().fan_out_page_members);
    let pages = crowd.members.div_ceil(page);
    println!("every member online got each of {} messages once, in order", 2 * crowd.messages);
    println!("{pages} pages a message, {} records to gateways", report.records);
    for (what, Sent { took, cpu_seconds }) in [("alone", report.alone), ("beside others", report.beside)] {
        let a_message_ms = took.as_secs_f64() * 1e3 / crowd.messages as f64;
        let a_receiver_us = cpu_seconds * 1e6 / (crowd.messages * crowd.online) as f64;
        println!("{what}: {a_message_ms:.1} ms a message, CPU {a_receiver_us:.2} µs a member online");
    }
    for (what, (before, during)) in
        [("a small group's task", &report.small), ("a sender's save", &report.saves)]
    {
        println!("{what}: before {}, during {}", spread(before), spread(during));
    }
}

fn spread(times: &[Duration]) -> String {
    let mut ms: Vec<f64> = times.iter().map(|time| time.as_secs_f64() * 1e3).collect();
    ms.sort_by(f64::total_cmp);
    let at = |part: f64| ms.get((ms.len() as f64 * part) as usize).or(ms.last()).copied().unwrap_or(f64::NAN);
    format!("p50 {:.2} p99 {:.2} worst {:.2} ms ({} times)", at(0.5), at(0.99), at(1.0), ms.len())
}

/// A line of /proc/self/status; NaN where there is none.
fn status_kib(name: &str) -> f64 {
    let text = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    line.and_then(|rest| rest.split_whitespace().next()?.parse().ok()).unwrap_or(f64::NAN)
}
