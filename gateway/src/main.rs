//! `sluice`: a reverse proxy that answers locally what a small model can, and escalates the rest.

use std::process::ExitCode;

fn main() -> ExitCode {
    sluice::run()
}
