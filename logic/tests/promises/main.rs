//! What logic promises, one file for each promise, against the real queue and the real repo.
// That lint guards memory per connection; tests have none.
#![allow(clippy::large_futures)]

mod ban_in_conversation;
mod clock_goes_back;
mod dense_order;
mod effectively_once;
mod events;
mod guessing;
mod large_groups;
mod limits;
mod logins;
mod members_only;
mod never_skipped;
mod one_owner;
mod reach;
mod refresh_tokens;
mod rising_ids;
mod services;
mod support;
mod tokens_end;
