//! Black box: the built program, real sockets, other people's clients and servers.

mod admin;
mod aws_examples;
mod bed;
mod cli;
mod crash_loop;
mod crashes;
mod end_to_end;
mod failed_disk;
mod foreign_clients;
mod malformed;
mod protocol;
mod rule_cli;
mod shutdown;
mod spool;
mod stream_clients;
mod witnesses;
