//! The `forebay` program; everything is in the library beside it.

use std::process::ExitCode;

/// The program allocates and frees small buffers on several threads at a high rate, which is what this allocator is
/// made for.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    #[cfg(target_os = "linux")]
    keep_pages_small();
    forebay::cli::main().into()
}

/// The allocator asks the kernel for pages of 2 MiB, and every one of them that holds a few small buffers is held as a
/// whole: at 200 connections that is 40 % of the process, more than the memory budgets leave room for, and no CPU time
/// per message was measured to come of it.
#[cfg(target_os = "linux")]
fn keep_pages_small() {
    // A kernel without huge pages refuses, and then there are none.
    rustix::thread::disable_transparent_huge_pages(true).unwrap_or_default();
}
