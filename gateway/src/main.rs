//! `sluice`: a reverse proxy that answers locally what a small model can, and escalates the rest.

mod assemble;
mod budget_text;
mod cli;
mod config;
#[cfg(feature = "local")]
mod engine;
mod roll_out;
mod server;
mod telemetry;
mod upkeep;
mod wanted_key;

use std::process::ExitCode;

fn main() -> ExitCode {
    // Two providers of cryptography are in the graph: one has to be named before the first connection.
    if rustls::crypto::aws_lc_rs::default_provider().install_default().is_err() {
        return ExitCode::FAILURE;
    }
    cli::run()
}
