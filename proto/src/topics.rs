//! Names that producers and consumers of the queue share.

/// Messages on their way in, keyed by conversation id; consumed by [`GROUP_LOGIC`].
pub const UPSTREAM: &str = "gochat.upstream";
/// What gateways push to their clients; the partition is the gateway's slot.
pub const DOWNSTREAM: &str = "gochat.downstream";
/// Work that may take longer than a request; consumed by [`GROUP_TASK`].
pub const TASKS: &str = "gochat.tasks";
/// Records that can never succeed, with the reason, under their original key, for an operator.
pub const DEAD_LETTER: &str = "gochat.dead-letter";
/// Log-in, log-out, revocation and profile changes, keyed by user id.
pub const EVENTS_USER: &str = "gochat.events.user";
/// Stored messages, if switched on, keyed by conversation id.
pub const EVENTS_MESSAGE: &str = "gochat.events.message";
/// Membership changes, keyed by group id.
pub const EVENTS_GROUP: &str = "gochat.events.group";

/// Consumer group of the message pipeline.
pub const GROUP_LOGIC: &str = "logic";
/// Consumer group of the task processors.
pub const GROUP_TASK: &str = "task";

/// Under this service name gateways stand in the registry.
pub const SERVICE_GATEWAY: &str = "gateway";
