//! The one binary: every service of GoChat in one process on embedded defaults, and the commands beside it.
#![forbid(unsafe_code)]

mod config;
mod data_dir;
mod seed;
mod standalone;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};
use gochat_infra::telemetry;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[derive(Parser)]
#[command(name = "gochat", version, about = "An instant-messaging backend for fleets of mobile devices")]
struct Cli {
    #[command(flatten)]
    settings: Settings,
    #[command(subcommand)]
    command: Option<Command>,
}

/// What every command may be told on its command line; flags win over the environment, that over the file.
#[derive(Args)]
pub(crate) struct Settings {
    /// Where clients connect (HTTP and WebSocket) [default: 127.0.0.1:8080]
    #[arg(long, global = true, value_name = "ADDR")]
    listen: Option<SocketAddr>,
    /// Where /healthz, /readyz and /metrics answer [default: 127.0.0.1:8081]
    #[arg(long, global = true, value_name = "ADDR")]
    admin: Option<SocketAddr>,
    /// The folder that holds everything that must survive [default: ./data]
    #[arg(long, global = true, value_name = "DIR")]
    data: Option<PathBuf>,
    /// A TOML file; unknown keys are refused by name
    #[arg(long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
}

#[derive(Subcommand)]
enum Command {
    /// Run every service in this process (the default)
    Standalone,
    /// Make users with one shared password and sign their tokens, for load runs; the server must be stopped
    Seed(seed::Seed),
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let done = config::load(&cli.settings).map_err(anyhow::Error::from).and_then(|config| {
        match cli.command.unwrap_or(Command::Standalone) {
            Command::Standalone => standalone::run(config),
            Command::Seed(seed) => seed::run(config, &seed),
        }
    });
    match done {
        Ok(()) => {
            telemetry::flush_logs();
            ExitCode::SUCCESS
        }
        Err(error) => {
            telemetry::last_words(&format!("gochat: {error:#}"));
            ExitCode::FAILURE
        }
    }
}
