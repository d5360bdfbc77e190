//! The agent as a process: arguments, a runtime of one thread, an exit code.

use std::process::ExitCode;

use clap::Parser as _;
use trireme_agent::cli::{Args, BLOCKING_THREADS_MAX};

fn main() -> ExitCode {
    let args = Args::parse();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(BLOCKING_THREADS_MAX)
        .build()
        .expect("a system without epoll or threads cannot run an agent");
    let code = runtime.block_on(args.run());
    // A download that blocks must not hold up the end.
    runtime.shutdown_background();
    code
}
