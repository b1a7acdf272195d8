//! What the commands share: users, a time of sending, the end of a load and its verdict.

use std::path::Path;
use std::time::{Duration, Instant};

use super::{Exit, mib, say, trouble_of};
use crate::checker::{self, Verdict};
use crate::config::Target;
use crate::error::LoadError;
use crate::load::{ChatLoad, LoadOutcome};
use crate::report::{ChatReport, Percentiles, SendingWindow};
use crate::server_meter::{ServerMeter, own_cpu_s};
use crate::tally::Progress;
use crate::users::{self, User};

/// `count` users of a file, or new ones where there is none.
pub(super) fn bring_users(
    file: Option<&Path>,
    count: usize,
    target: &Target,
    run: &str,
) -> Result<Vec<User>, LoadError> {
    let Some(path) = file else {
        say(format_args!("registering {count} users"));
        return users::register(target, count, run, |done| {
            if done.is_multiple_of(100) {
                say(format_args!("registered {done}"));
            }
        });
    };
    let users = users::read_users_file(path, count)?;
    if users.len() < count {
        let why = format!("it has {} users of the {count} that are needed", users.len());
        return Err(LoadError::BadUsersFile { path: path.display().to_string(), why });
    }
    Ok(users)
}

/// The time of sending, second by second.
pub(super) fn send(
    load: &ChatLoad,
    lasting: Duration,
    mut meter: Option<&mut ServerMeter>,
) -> Result<SendingWindow, LoadError> {
    let server_before = meter.as_mut().map(|meter| meter.read()).transpose()?;
    let client_before = own_cpu_s();
    let began = load.begin_for(lasting);
    let until = began + lasting;
    let mut last = Progress::default();
    while let Some(rest) = until.checked_duration_since(Instant::now()).filter(|rest| !rest.is_zero()) {
        std::thread::sleep(rest.min(Duration::from_secs(1)));
        let now = load.progress();
        show_progress(load, began.elapsed(), &last, &now);
        last = now;
    }
    let (seconds, stored) = (began.elapsed().as_secs_f64(), load.progress().stored);
    let server = meter.as_mut().map(|meter| meter.read()).transpose()?;
    Ok(SendingWindow {
        seconds,
        stored,
        server_cpu_s: server.zip(server_before).map(|(after, before)| after.cpu_s - before.cpu_s),
        server_rss_bytes: server.map(|server| server.rss_bytes),
        client_cpu_s: own_cpu_s() - client_before,
    })
}

fn show_progress(load: &ChatLoad, at: Duration, last: &Progress, now: &Progress) {
    let open = now.sent - now.stored - now.rejected;
    say(format_args!(
        "{:>5.1} s  sent {}  stored {} (+{})  delivered {}  open {open}  rejected {}  retries {}  connected {} {}",
        at.as_secs_f64(),
        now.sent,
        now.stored,
        now.stored - last.stored,
        now.delivered,
        now.rejected,
        now.retried,
        now.connected,
        if now.bad_frames + now.disconnects > last.bad_frames + last.disconnects {
            trouble_of(load)
        } else {
            String::new()
        },
    ));
}

/// The unfinished, the last deliveries and the final reading, with a line each second.
pub(super) fn settle(load: ChatLoad, users: usize, deadline: Duration) -> LoadOutcome {
    let until = Instant::now() + deadline;
    load.finish(deadline);
    say(format_args!("settling and reading every history"));
    let mut shown = Instant::now();
    while !load.is_finished() && Instant::now() < until {
        std::thread::sleep(Duration::from_millis(20));
        if shown.elapsed() >= Duration::from_secs(1) {
            shown = Instant::now();
            let now = load.progress();
            let open = now.sent - now.stored - now.rejected;
            say(format_args!("settling: {open} open, {} of {} histories read", now.finished, users));
        }
    }
    load.stop(until.saturating_duration_since(Instant::now()))
}

/// A load that was judged.
#[derive(Debug)]
pub(super) struct Judged {
    pub(super) report: ChatReport,
    pub(super) verdict: Verdict,
    pub(super) exit: Exit,
}

pub(super) fn judge(outcome: &LoadOutcome, window: &SendingWindow) -> Judged {
    let verdict = checker::check(&outcome.history);
    let report = ChatReport::new(outcome, &verdict, window);
    let exit = if verdict.holds() && outcome.is_complete() { Exit::Ok } else { Exit::Broken };
    Judged { report, verdict, exit }
}

impl Judged {
    pub(super) fn print(&self, outcome: &LoadOutcome, window: &SendingWindow) {
        let Judged { report, verdict, .. } = self;
        let progress = &outcome.progress;
        println!("sent {} · stored {} · delivered {}", report.sent, report.stored, report.delivered);
        println!("rejected {} · rate {} messages/s", report.rejected, report.rate);
        println!("ack      {}", report.ack_us);
        println!("deliver  {}", report.deliver_us);
        println!(
            "retries {} · re-sent {} · holes synced {} · redelivered {} · resyncs {} · disconnects {} · skipped {} · \
             bad frames {}",
            progress.retried,
            progress.resent,
            progress.holes,
            progress.redelivered,
            progress.resyncs,
            progress.disconnects,
            progress.skipped,
            progress.bad_frames
        );
        if let (Some(cpu_us), Some(rss)) = (report.server_cpu_us_per_message, report.server_rss_bytes) {
            println!("server   {cpu_us} µs of CPU a message · {:.1} MiB resident", mib(rss));
        }
        println!(
            "client   {:.1} µs of CPU a message · late by {}",
            window.client_cpu_us_per_message(),
            Percentiles::of(&outcome.latencies.lateness)
        );
        println!("{verdict}");
        if !outcome.is_complete() {
            println!(
                "INCOMPLETE: {} messages without a final answer, {} histories not read, {} threads of this program failed",
                outcome.unfinished, outcome.unread, outcome.panicked
            );
        }
    }
}
