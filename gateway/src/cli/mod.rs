//! The command line.
//!
//! Exit status: 0 done, 1 failed, 64 wrong usage or configuration (BSD `sysexits.h`, `EX_USAGE`). Every command that
//! reports takes `--json`. Results go to standard output, everything else to standard error.

mod check;
mod classifier;
mod compare;
#[cfg(test)]
mod documented;
mod evidence;
mod explain;
mod import;
mod keys;
mod ledger;
mod models;
mod prices;
mod reconcile;
mod replay;
mod savings;
mod serve;

use crate::config::{self, Environment, Settings};
use clap::{Parser, Subcommand};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Wrong usage or configuration.
pub const USAGE: u8 = 64;

/// A reverse proxy that answers locally what a small model can, and escalates the rest.
#[derive(Debug, Parser)]
#[command(name = "sluice", version)]
struct Arguments {
    /// The configuration, TOML or YAML.
    #[arg(long, short, global = true, default_value = "sluice.toml", env = "SLUICE_CONFIG")]
    config: PathBuf,
    /// Reports as JSON.
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Runs the gateway.
    Serve,
    /// Validates the configuration and prints what it means; opens no port.
    Check,
    /// Shows the decision for a chat request from a file or standard input.
    Explain(explain::Explain),
    /// The local models.
    #[command(subcommand)]
    Models(models::Models),
    /// Virtual keys.
    #[command(subcommand)]
    Keys(keys::Keys),
    /// What was spent.
    Spend(ledger::Spend),
    /// The ledger.
    #[command(subcommand)]
    Ledger(ledger::LedgerCommand),
    /// What was saved.
    Savings(savings::Savings),
    /// The classifier.
    #[command(subcommand)]
    Classifier(classifier::Classifier),
    /// Compares two models on a file of requests.
    Compare(compare::Compare),
    /// Shows what would change if past requests were decided on under this configuration.
    Replay(replay::Replay),
    /// Imports another gateway's configuration.
    #[command(subcommand)]
    Import(import::Import),
    /// The price table.
    #[command(subcommand)]
    Prices(prices::Prices),
    /// Compares the ledger with a provider's bill.
    Reconcile(reconcile::Reconcile),
}

/// How a command failed.
#[derive(Debug)]
pub enum Failure {
    /// Wrong usage or configuration: 64.
    Usage(String),
    /// It did not work: 1.
    Failed(String),
}

impl From<config::ConfigError> for Failure {
    fn from(error: config::ConfigError) -> Self {
        Self::Usage(error.to_string())
    }
}

impl From<router::ledger::LedgerError> for Failure {
    fn from(error: router::ledger::LedgerError) -> Self {
        Self::Failed(error.to_string())
    }
}

/// What a command is given.
pub struct Setting {
    /// The configuration file.
    pub config: PathBuf,
    /// Report as JSON.
    pub json: bool,
}

impl Setting {
    /// Reads the configuration.
    pub fn load(&self) -> Result<Settings, Failure> {
        Ok(config::load(&self.config, &Environment)?)
    }
}

/// Runs the command that was asked for.
pub fn run() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => {
            let code = if error.use_stderr() { USAGE } else { 0 };
            // A closed pipe is the reader's business.
            let _ = error.print();
            return ExitCode::from(code);
        }
    };
    let setting = Setting { config: arguments.config, json: arguments.json };
    let done = match arguments.command {
        Command::Serve => serve::serve(&setting),
        Command::Check => check::check(&setting),
        Command::Explain(explain) => explain::explain(&setting, &explain),
        Command::Models(models) => models::run(&setting, &models),
        Command::Keys(keys) => keys::run(&setting, keys),
        Command::Spend(spend) => ledger::spend(&setting, &spend),
        Command::Ledger(command) => ledger::run(&setting, &command),
        Command::Savings(savings) => savings::savings(&setting, &savings),
        Command::Classifier(command) => classifier::run(&setting, &command),
        Command::Compare(wanted) => compare::compare(&setting, &wanted),
        Command::Replay(wanted) => replay::replay(&setting, &wanted),
        Command::Import(import) => import::run(&setting, &import),
        Command::Prices(command) => prices::run(&setting, &command),
        Command::Reconcile(reconcile) => reconcile::run(&setting, &reconcile),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failure::Usage(why)) => {
            complain(&why);
            ExitCode::from(USAGE)
        }
        Err(Failure::Failed(why)) => {
            complain(&why);
            ExitCode::FAILURE
        }
    }
}

/// An amount of money on the command line.
fn dollars(text: &str) -> Result<policies::NanoDollars, String> {
    policies::NanoDollars::parse(text).map_err(|error| error.to_string())
}

/// Writes a file as a whole: a reader, or a crash, sees the old one or the new one.
pub fn write_whole(path: &Path, content: &[u8]) -> Result<(), Failure> {
    let mut next = path.to_owned().into_os_string();
    next.push(".next");
    let written = std::fs::write(&next, content).and_then(|()| std::fs::rename(&next, path));
    written.map_err(|error| Failure::Failed(format!("cannot write `{}`: {error}", path.display())))
}

/// Prints a line of a result; a closed pipe ends nothing.
pub fn say(line: impl std::fmt::Display) {
    let _ = writeln!(std::io::stdout().lock(), "{line}");
}

/// Prints a line for the person, beside the result.
pub fn complain(line: impl std::fmt::Display) {
    let _ = writeln!(std::io::stderr().lock(), "sluice: {line}");
}
