//! Does one pure part of core or gateway as often as it is told: `counts PART TIMES`, and `counts` alone names them.
//!
//! `gochat-perf instructions` runs it under callgrind. It allocates with the system's allocator, as valgrind knows that one.

use std::process::ExitCode;

use gochat_core::counts::{PARTS, main as count};

fn main() -> ExitCode {
    count(&[&PARTS[..], &gochat_gateway::counts::PARTS[..]].concat())
}
