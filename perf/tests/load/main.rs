//! The load and its judge against a small server that speaks the protocol and breaks it on demand.

mod agents;
mod broadcasts;
mod capacity;
mod collects;
mod command;
mod compares;
mod connects;
mod echoes;
mod edge;
mod endures;
mod fake;
mod finds;
mod idles;
mod instructions;
mod itself;
mod mixed;
mod page;
mod plain_usage;
mod report;
mod schema;
mod slow_readers;
mod stub;
mod visits;
