//! Entry point of `trictl`: hands the arguments over and returns the exit code.
//!
//! Everything else is in the library, so that tests can reach it.

use std::process::ExitCode;

fn main() -> ExitCode {
    trireme_ctl::main(std::env::args_os())
}
