//! Black box: the built program, real sockets, other people's clients and servers.

mod admin;
mod aws_examples;
mod bed;
mod cli;
mod control_api;
mod crash_loop;
mod crashes;
mod data_api;
mod end_to_end;
mod error_actions;
mod failed_disk;
mod foreign_clients;
mod foreign_page;
mod malformed;
mod protocol;
mod recordings;
mod reload;
mod rule_cli;
mod rule_import;
mod shutdown;
mod signatures;
mod spool;
mod stream_clients;
mod witnesses;
