//! Other gateways, where pip and npm could install them: each as its makers say to start it, with the least that it needs, on the
//! same core and before the same upstream as Sluice. Neither keeps a ledger here.

use super::machine::on_proxy_core;
use super::proxy::{Proxy, free_port};
use std::fs;
use std::net::SocketAddr;
use std::path::Path;

/// LiteLLM's proxy: one worker, no database, no key.
pub const LITELLM: &str = "LiteLLM, one worker, no database";
/// Portkey's gateway.
pub const PORTKEY: &str = "Portkey";

/// Whether a line of the table is one of theirs.
pub fn is(name: &str) -> bool {
    [LITELLM, PORTKEY].contains(&name)
}

/// Starts those whose programs the environment names (`SLUICE_BENCH_LITELLM`, `SLUICE_BENCH_PORTKEY`; `scripts/bench-peers`).
pub fn start(upstream: SocketAddr, pinned: bool, wanted: impl Fn(&str) -> bool) -> Vec<(&'static str, Proxy)> {
    let program = |name: &str| std::env::var_os(name).filter(|path| Path::new(path).is_file());
    let mut started = Vec::new();
    let mut keep = |name, proxy: Result<Proxy, String>| match proxy {
        Ok(proxy) => started.push((name, proxy)),
        Err(why) => eprintln!("{name} is left out: {why}"),
    };
    if let Some(program) = program("SLUICE_BENCH_LITELLM").filter(|_| wanted(LITELLM)) {
        keep(LITELLM, litellm(program.as_ref(), upstream, pinned));
    }
    if let Some(script) = program("SLUICE_BENCH_PORTKEY").filter(|_| wanted(PORTKEY)) {
        keep(PORTKEY, portkey(script.as_ref(), upstream, pinned));
    }
    started
}

fn litellm(program: &Path, upstream: SocketAddr, pinned: bool) -> Result<Proxy, String> {
    let folder = tempfile::tempdir().map_err(|error| error.to_string())?;
    let at = free_port()?;
    let config = format!(
        "model_list:\n  - model_name: gpt-4o\n    litellm_params:\n      model: openai/gpt-4o\n      \
         api_base: http://{upstream}/v1\n      api_key: none\nlitellm_settings:\n  telemetry: false\n"
    );
    let path = folder.path().join("config.yaml");
    fs::write(&path, config).map_err(|error| error.to_string())?;
    let mut command = on_proxy_core(program, pinned);
    command
        .arg("--config")
        .arg(&path)
        .args(["--host", "127.0.0.1", "--num_workers", "1", "--port"])
        .arg(at.port().to_string())
        // It would fetch its prices, and refuse to start without a key.
        .env("LITELLM_LOCAL_MODEL_COST_MAP", "True")
        .env("LITELLM_DANGEROUSLY_PERMIT_WEAK_OR_UNSET_MASTER_KEY", "true")
        .env("LITELLM_LOG", "ERROR");
    Proxy::other(command, folder, at, String::new())
}

fn portkey(script: &Path, upstream: SocketAddr, pinned: bool) -> Result<Proxy, String> {
    let folder = tempfile::tempdir().map_err(|error| error.to_string())?;
    let at = free_port()?;
    let mut command = on_proxy_core(Path::new("node"), pinned);
    command.arg(script).arg(format!("--port={}", at.port())).arg("--headless");
    let head = format!(
        "authorization: Bearer none\r\nx-portkey-provider: openai\r\nx-portkey-custom-host: http://{upstream}/v1\r\n"
    );
    Proxy::other(command, folder, at, head)
}
