//! The gateway as a library of its own binary: `sluice` is [`run`], and [`fuzz`] is what its fuzz targets and their replays call.

mod assemble;
mod budget_text;
mod cli;
mod config;
mod connects;
#[cfg(feature = "local")]
mod engine;
#[doc(hidden)]
pub mod fuzz;
mod log_line;
mod roll_out;
mod server;
mod telemetry;
mod training;
mod upkeep;
mod wanted_key;

use std::process::ExitCode;

/// Runs the command line to its end, and says with which status the process should end.
pub fn run() -> ExitCode {
    // Two providers of cryptography are in the graph: one has to be named before the first connection.
    if rustls::crypto::aws_lc_rs::default_provider().install_default().is_err() {
        return ExitCode::FAILURE;
    }
    cli::run()
}
