//! The program: command line, configuration, wiring, start, drain and stop. Everything else is in the libraries.

pub mod cli;
pub mod config;
pub mod demo;
pub mod diagnostics;
mod logging;
mod rule_directory;
pub mod server;
