//! The one binary: every service of GoChat in one process on embedded defaults, and the commands beside it.
#![forbid(unsafe_code)]
// That lint guards memory per connection. Here a future lives as long as the process or one command.
#![allow(clippy::large_futures)]

mod backup;
mod config;
mod control;
mod data_dir;
mod health;
mod keys;
mod operate;
mod printable;
mod seed;
mod standalone;

use std::io::Write as _;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::LazyLock;

use anyhow::Result;
use clap::{Args, Parser, Subcommand};
use gochat_infra::telemetry;
use rustix::fs::Mode;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// With the commit, where the build was told it (`make run` does).
pub(crate) static VERSION: LazyLock<String> = LazyLock::new(|| {
    let version = env!("CARGO_PKG_VERSION");
    match option_env!("GOCHAT_COMMIT") {
        Some(commit) if !commit.is_empty() => format!("{version} ({commit})"),
        _ => version.to_owned(),
    }
});

/// Options of the server stand before no command: each command has its own, and refuses others.
#[derive(Parser)]
#[command(
    name = "gochat",
    version = VERSION.as_str(),
    about = "An instant-messaging backend for fleets of mobile devices",
    args_conflicts_with_subcommands = true
)]
struct Cli {
    #[command(flatten)]
    serve: Serve,
    #[command(subcommand)]
    command: Option<Command>,
}

/// Where the settings are; flags win over the environment, that over the file.
#[derive(Args)]
pub(crate) struct Place {
    /// The folder that holds everything that must survive [default: ./data]
    #[arg(long, value_name = "DIR")]
    pub(crate) data: Option<PathBuf>,
    /// A TOML file; unknown keys are refused by name. docs/configuration.md has them all
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
}

#[derive(Args)]
pub(crate) struct Serve {
    /// Where clients connect (HTTP and WebSocket) [default: 127.0.0.1:8080]
    #[arg(long, value_name = "ADDR")]
    pub(crate) listen: Option<SocketAddr>,
    /// Where /healthz, /readyz and /metrics answer [default: 127.0.0.1:8081]
    #[arg(long, value_name = "ADDR")]
    pub(crate) admin: Option<SocketAddr>,
    #[command(flatten)]
    pub(crate) place: Place,
}

#[derive(Subcommand)]
enum Command {
    /// Run every service in this process (the default)
    Standalone(Serve),
    /// Print the settings that the server would run with, as TOML
    Config(Serve),
    /// End a user's tokens and logins, or allow them again
    Users(operate::Users),
    /// Look at records that could never succeed, and have them tried again
    DeadLetters(operate::DeadLetters),
    /// Change the key that signs access tokens; nobody is put out
    Keys(operate::Keys),
    /// Write a copy of everything that must survive to an empty or new folder; the server goes on
    Backup(operate::Backup),
    /// Make a new data folder of a backup
    Restore(backup::Restore),
    /// Make users with one shared password and sign their tokens, for load runs; the server must be stopped
    Seed(seed::Seed),
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    // Whatever is written, tokens and messages among it, is for this user alone.
    rustix::process::umask(Mode::RWXG | Mode::RWXO);
    match run(cli.command.unwrap_or(Command::Standalone(cli.serve))) {
        Ok(()) => {
            telemetry::flush_logs();
            ExitCode::SUCCESS
        }
        Err(error) => {
            telemetry::last_words(&format!("gochat: {}", sentence(&error)));
            ExitCode::FAILURE
        }
    }
}

fn run(command: Command) -> Result<()> {
    match command {
        Command::Standalone(serve) => standalone::run(config::for_server(&serve)?),
        Command::Config(serve) => {
            say(config::effective(&config::for_server(&serve)?).trim_end());
            Ok(())
        }
        Command::Users(users) => operate::users(&users),
        Command::DeadLetters(letters) => operate::dead_letters(&letters),
        Command::Keys(keys) => operate::keys(&keys),
        Command::Backup(backup) => operate::backup(&backup),
        Command::Restore(restore) => backup::restore(&restore),
        Command::Seed(seed) => seed::run(config::for_command(&seed.place)?, &seed),
    }
}

/// An error and its causes, each said once: many errors name their cause themselves.
fn sentence(error: &anyhow::Error) -> String {
    let mut text = String::new();
    for cause in error.chain().map(ToString::to_string) {
        if text.is_empty() {
            text = cause;
        } else if !text.contains(&cause) {
            text = format!("{text}: {cause}");
        }
    }
    text
}

/// Runs the asynchronous part of a command.
fn wait_for<T>(work: impl Future<Output = Result<T>>) -> Result<T> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(work)
}

/// One line on standard output. Nobody reading it is no reason to end, as println would.
pub(crate) fn say(line: &str) {
    let mut out = std::io::stdout();
    let _ = writeln!(out, "{line}").and_then(|()| out.flush());
}
