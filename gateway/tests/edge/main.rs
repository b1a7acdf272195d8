//! The gateway as its clients and the services behind it see it: real sockets, the embedded queue, and a logic made of
//! canned answers. One promise a file; one program, since linking it is what takes the time.

mod chat;
mod connect;
mod connections_of_a_user;
mod deliver;
mod documents;
mod drain;
mod full;
mod gaps;
mod harness;
mod limits;
mod page;
mod renew;
mod request_rates;
mod rest;
mod revoke;
mod send;
mod sessions;
mod sync;
