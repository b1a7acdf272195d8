//! `gochat-perf`: load for performance engineers. The work is in the library; this is its command line.
#![forbid(unsafe_code)]

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use gochat_perf::scenario::{Exit, chat, hold, hostile, storm};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Load for GoChat, judged from outside.
///
/// Exit codes: 0 ok · 1 something was lost, doubled or out of order · 2 usage · 3 could not run.
#[derive(Debug, Parser)]
#[command(name = "gochat-perf", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Users chat in pairs at a fixed rate (open loop: latency counts from when a message was due), and
    /// every message is checked: stored once, delivered once, in one dense order
    Chat(chat::ChatArgs),
    /// Many sessions, idle or with a checked chat among them: the server's memory for each and its CPU time
    Hold(hold::HoldArgs),
    /// Users chat with and without misbehaving connections beside them, by turns: what these cost the good ones
    Hostile(hostile::HostileArgs),
    /// All sessions are cut in one moment and come back at once: how long it takes, and whether the chat among
    /// them survives it whole
    Storm(storm::StormArgs),
}

/// Each session is a file descriptor, and shells often allow only 1,024: takes what the system allows. What is
/// still missing shows when a connect fails.
fn raise_descriptor_limit() {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    let _ = setrlimit(Resource::Nofile, limit);
}

fn main() -> ExitCode {
    raise_descriptor_limit();
    let ended = match Cli::parse().command {
        Command::Chat(args) => chat::run(&args),
        Command::Hold(args) => hold::run(&args),
        Command::Hostile(args) => hostile::run(&args),
        Command::Storm(args) => storm::run(&args),
    };
    let exit = ended.unwrap_or_else(|error| {
        eprintln!("gochat-perf: {error}");
        Exit::from(&error)
    });
    ExitCode::from(exit as u8)
}
