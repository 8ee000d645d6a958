//! The `forebay` program; everything is in the library beside it.

use std::process::ExitCode;

/// The program allocates and frees small buffers on several threads at a high rate, which is what this allocator is
/// made for.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    forebay::cli::main().into()
}
