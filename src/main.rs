//! `flowlaunch`: parse, run, exit code; nothing else.

use std::process::ExitCode;

/// A launch allocates on one thread and frees on another, some hundred times: with the system's allocator a tenth of the
/// CPU time was waiting for its locks.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    flowlaunch::cli::main()
}
