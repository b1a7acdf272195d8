//! What this service promises, one file each, against the real queue and the real repo.
// That lint guards memory per connection; tests have none.
#![allow(clippy::large_futures)]

mod dead_letters;
#[path = "../../../logic/tests/promises/support/faults.rs"]
mod faults;
mod large_groups;
mod support;
mod until_done;
