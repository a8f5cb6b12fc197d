//! Benchmarks of the relay, against the built binary: what it costs beside nginx, whether the local model slows hosted
//! requests, whether shadows slow their clients, and what it keeps in memory.
//!
//! `relay-bench relay|streams|isolation|shadow|memory [--seconds N] [--json FILE]`; the binary is `SLUICE_BIN`, else the release build.
//! `relay` takes `--shipped FILE` as well, another build of the program that gets a line of its own (`scripts/build-shipped`),
//! and for a profiler `--only TEXT` (lines whose name contains it) and `--load whole|stream|quiet`.
//! Prints Markdown. Exit status: 0 measured, 1 failed, 64 wrong usage; a missed target is printed, not a failure.

#[path = "../bench/isolation.rs"]
mod isolation;
#[path = "../bench/load.rs"]
mod load;
#[path = "../bench/machine.rs"]
mod machine;
#[path = "../bench/memory.rs"]
mod memory;
#[path = "../bench/peers.rs"]
mod peers;
#[path = "../bench/picture.rs"]
mod picture;
#[path = "../bench/proxy.rs"]
mod proxy;
#[path = "../bench/relay.rs"]
mod relay;
#[path = "../bench/report.rs"]
mod report;
#[path = "../bench/shadow.rs"]
mod shadow;
#[path = "../bench/streams.rs"]
mod streams;
#[path = "../bench/upstream.rs"]
mod upstream;
#[path = "../bench/wire.rs"]
mod wire;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

/// What was asked for.
struct Options {
    /// How long each load runs.
    time: Duration,
    /// Where the figures go as JSON.
    json: Option<PathBuf>,
    /// Relay: only lines whose name contains it.
    only: Option<String>,
    /// Relay: only this load.
    load: Option<String>,
    /// Relay: another build of the program.
    shipped: Option<PathBuf>,
}

const USAGE: &str = "usage: relay-bench relay|streams|isolation|shadow|memory [--seconds N] [--json FILE]
       relay also: [--shipped FILE] [--only TEXT] [--load whole|stream|quiet]";

// One thread: it shares its core with the senders, and switching between threads is what the generator can least afford.
#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let (mode, options) = match read(&arguments) {
        Ok(read) => read,
        Err(why) => {
            eprintln!("{why}\n{USAGE}");
            return ExitCode::from(64);
        }
    };
    let measured = match mode {
        "relay" => relay::run(&options).await,
        "isolation" => isolation::run(&options).await,
        "shadow" => shadow::run(&options).await,
        "memory" => memory::run(&options).await,
        "streams" => streams::run(&options).await,
        _ => Err(USAGE.to_owned()),
    };
    let written = measured.and_then(|figures| match &options.json {
        Some(path) => {
            std::fs::write(path, format!("{figures:#}\n")).map_err(|error| format!("{}: {error}", path.display()))
        }
        None => Ok(()),
    });
    match written {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("{mode}: {why}");
            ExitCode::FAILURE
        }
    }
}

fn read(arguments: &[String]) -> Result<(&str, Options), String> {
    let mut options = Options { time: Duration::from_secs(5), json: None, only: None, load: None, shipped: None };
    let (mode, rest) = arguments.split_first().ok_or_else(|| "no mode".to_owned())?;
    if !["relay", "streams", "isolation", "shadow", "memory"].contains(&mode.as_str()) {
        return Err(format!("unknown mode `{mode}`"));
    }
    for pair in rest.chunks(2) {
        match pair {
            [flag, value] if flag == "--seconds" => {
                let seconds: f64 = value.parse().map_err(|_| format!("`{value}` is not a number of seconds"))?;
                // Bounded: a benchmark that runs for hours is a mistake.
                if !(0.5..=600.0).contains(&seconds) {
                    return Err("--seconds is between 0.5 and 600".to_owned());
                }
                options.time = Duration::from_secs_f64(seconds);
            }
            [flag, value] if flag == "--json" => options.json = Some(value.into()),
            [flag, value] if flag == "--shipped" => options.shipped = Some(value.into()),
            [flag, value] if flag == "--only" => options.only = Some(value.clone()),
            [flag, value] if flag == "--load" && ["whole", "stream", "quiet"].contains(&value.as_str()) => {
                options.load = Some(value.clone());
            }
            _ => return Err(format!("unknown argument `{}`", pair[0])),
        }
    }
    Ok((mode, options))
}
