//! `gochat-perf`: load for performance engineers. The work is in the library.
#![forbid(unsafe_code)]

use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    ExitCode::from(gochat_perf::command::run(std::env::args_os()) as u8)
}
