//! `flowlaunch`: parse, run, exit code; nothing else.

use std::process::ExitCode;

fn main() -> ExitCode {
    flowlaunch::cli::main()
}
