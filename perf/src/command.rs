//! The command line.

use std::ffi::OsString;

use clap::{Parser, Subcommand};

use crate::agent::Agent;
use crate::compare::{Collect, Compare, Fill, Markdown, Versus};
use crate::doctor::Doctor;
use crate::error::LoadError;
use crate::exit::Exit;
use crate::instructions::Instructions;
use crate::null::Null;
use crate::report::Median;
use crate::scenario::broadcast::Broadcast;
use crate::scenario::capacity::Capacity;
use crate::scenario::connect::Connect;
use crate::scenario::echo::Echo;
use crate::scenario::handshakes::Handshakes;
use crate::scenario::idle::Idle;
use crate::scenario::mixed::Mixed;
use crate::scenario::rooms::{FanOut, Group, World};
use crate::scenario::slow_reader::SlowReader;
use crate::scenario::{chat::Chat, hold::Hold, hostile::Hostile, play, soak::Soak, storm::Storm};

/// Load for GoChat, judged from outside.
///
/// Exit codes: 0 ok · 1 a promise was broken: something was lost, doubled or out of order · 2 usage · 3 could not run ·
/// 4 an --assert does not hold · 5 worse than what it is compared with (with --gate, and of instructions).
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
    Chat(Chat),
    /// People come at a rate, with or without logging in, learn where they stand, and go
    Connect(Connect),
    /// Many sessions, idle or with a checked chat among them: the server's memory for each and its CPU time
    Hold(Hold),
    /// Users chat with and without misbehaving connections beside them, by turns: what these cost the good ones
    Hostile(Hostile),
    /// All sessions are cut in one moment and come back at once: how long it takes, and whether the chat among
    /// them survives it whole
    Storm(Storm),
    /// A group whose members take turns at writing: each message has to reach everybody, and is checked at everybody
    Group(Group),
    /// The same in world, where everybody is
    World(World),
    /// One writes, all others of a group only read
    FanOut(FanOut),
    /// A mobile day: few busy conversations among many, most sessions idle, connections that come and go, histories read
    Mixed(Mixed),
    /// A conversation in which some read slowly, or stop reading for a while, by turns: what it costs the others, and
    /// whether the slow ones get everything in the end
    SlowReader(SlowReader),
    /// A chat that goes on: whether the server's memory and latencies stay where they are
    Soak(Soak),
    /// Messages that a server says back: any echo server, such as core's example
    Echo(Echo),
    Agent(Agent),
    /// A server that does next to nothing: a run against it shows what this program itself costs and adds
    Null(Null),
    /// What one connection says goes to all: any server that does so, such as core's example at /broadcast
    Broadcast(Broadcast),
    /// Connections that come, say one thing, hear it back and go: any echo server
    Handshakes(Handshakes),
    /// Connections on which nothing happens: any WebSocket server's memory for each
    Idle(Idle),
    /// What on this machine would spoil a figure
    Doctor(Doctor),
    Compare(Compare),
    Versus(Versus),
    Collect(Collect),
    Table(Markdown),
    Fill(Fill),
    Capacity(Capacity),
    Instructions(Instructions),
    /// One figure's median over several reports
    Median(Median),
}

/// Runs one command line, whose first word is the program's name, and says on standard error why it could not.
pub fn run(words: impl IntoIterator<Item = impl Into<OsString> + Clone>) -> Exit {
    raise_descriptor_limit();
    let cli = match Cli::try_parse_from(words) {
        Ok(cli) => cli,
        Err(error) => {
            // A closed terminal is no reason for another exit code.
            let _ = error.print();
            return if error.use_stderr() { Exit::Usage } else { Exit::Ok };
        }
    };
    obey(&cli.command).unwrap_or_else(|error| {
        eprintln!("gochat-perf: {error}");
        Exit::from(&error)
    })
}

fn obey(command: &Command) -> Result<Exit, LoadError> {
    match command {
        Command::Chat(scenario) => play(scenario),
        Command::Connect(scenario) => play(scenario),
        Command::Hold(scenario) => play(scenario),
        Command::Hostile(scenario) => play(scenario),
        Command::Storm(scenario) => play(scenario),
        Command::Group(scenario) => play(scenario),
        Command::World(scenario) => play(scenario),
        Command::FanOut(scenario) => play(scenario),
        Command::Mixed(scenario) => play(scenario),
        Command::SlowReader(scenario) => play(scenario),
        Command::Soak(scenario) => play(scenario),
        Command::Echo(scenario) => play(scenario),
        Command::Agent(agent) => agent.run(),
        Command::Null(null) => null.run(),
        Command::Broadcast(scenario) => play(scenario),
        Command::Handshakes(scenario) => play(scenario),
        Command::Idle(scenario) => play(scenario),
        Command::Doctor(doctor) => doctor.run(),
        Command::Compare(compare) => compare.run(),
        Command::Versus(versus) => versus.run(),
        Command::Collect(collect) => collect.run(),
        Command::Table(table) => table.run(),
        Command::Fill(fill) => fill.run(),
        Command::Capacity(scenario) => play(scenario),
        Command::Instructions(instructions) => instructions.run(),
        Command::Median(median) => median.run(),
    }
}

/// Each session is a file descriptor, and shells often allow only 1,024: takes what the system allows. What is
/// still missing shows when a connect fails.
fn raise_descriptor_limit() {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    let _ = setrlimit(Resource::Nofile, limit);
}
