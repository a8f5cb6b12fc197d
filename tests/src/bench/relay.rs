//! What the relay costs: as many requests as one core of the proxy can serve, then what it adds at a quiet rate.

use super::Options;
use super::load::{Loaded, Target};
use super::machine::{self, cpu, memory, table, thousands, verdict};
use super::proxy::{Proxy, nginx_program};
use super::upstream::Upstream;
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::time::Duration;

/// Connections of the closed loop.
const CONNECTIONS: usize = 64;
/// Requests a second of the open loop.
const RATE: u32 = 200;
/// Each time is cut into so many rounds, all proxies taking turns: what else the machine does falls on all of them.
const ROUNDS: u32 = 5;
/// What must be reached, as a share of nginx in the same run.
const LEAST: f64 = 0.20;
/// What shall be reached: this share, or so many requests a second.
const TARGET: (f64, f64) = (0.30, 12_000.0);

const DIRECT: &str = "no proxy";
const NGINX: &str = "nginx";
const PLAIN: &str = "Sluice, no key, ledger survives kill -9";
const FULL: &str = "Sluice, key, budgets, durable ledger";
const JUDGED: &str = "the same, `auto`, judged";

/// One line of the table.
struct Row {
    name: &'static str,
    /// The index of its proxy; `None`: straight to the upstream.
    proxy: Option<usize>,
    model: &'static str,
    whole: Measured,
    stream: Option<Measured>,
    quiet: Loaded,
}

struct Measured {
    loaded: Loaded,
    cpu: Duration,
    /// Rate and CPU time per answer, in microseconds, of each round.
    rounds: Vec<(f64, f64)>,
}

/// A request with all that Sluice does by default: keys, budgets, every line on the disk before the last byte is sent.
fn with_ledger(upstream: SocketAddr) -> String {
    format!(
        "[[budgets]]\nscope = \"org\"\nlimit_usd = \"1000000\"\nwindow = \"month\"\n\
         [ledger]\ndurability = \"disk\"\n{}",
        models(upstream)
    )
}

fn without_ledger(upstream: SocketAddr) -> String {
    format!("[ledger]\ndurability = \"process\"\n{}", models(upstream))
}

/// Both sides are the same upstream, so that `auto` has something to judge.
fn models(upstream: SocketAddr) -> String {
    format!(
        r#"
        [providers.hosted]
        kind = "openai"
        base_url = "http://{upstream}/v1"
        region = "us"
        [providers.house]
        kind = "openai"
        base_url = "http://{upstream}/v1"
        location = "local"
        [models."gpt-4o"]
        provider = "hosted"
        input_usd_per_mtok = "2.50"
        output_usd_per_mtok = "10.00"
        [models.small]
        provider = "house"
        input_usd_per_mtok = "0.10"
        output_usd_per_mtok = "0.10"
        [router]
        local = ["small"]
        hosted = ["gpt-4o"]
        classifier = "heuristic"
        "#
    )
}

/// Measures and prints.
pub async fn run(options: &Options) -> Result<Value, String> {
    let binary = tests::gateway::binary();
    let environment = machine::environment(&binary);
    let pinned = machine::pin_myself();
    let folder = tempfile::tempdir().map_err(|error| error.to_string())?;
    let disk = machine::fdatasync(folder.path());
    let upstream = Upstream::start().await;
    let wanted = |name: &str| options.only.as_ref().is_none_or(|only| name.contains(only.as_str()));
    let loads = |load: &str| options.load.as_ref().is_none_or(|only| only == load);

    let mut proxies = Vec::new();
    let mut rows = Vec::new();
    if wanted(DIRECT) {
        rows.push(row(DIRECT, None, "gpt-4o"));
    }
    match nginx_program().filter(|_| wanted(NGINX)) {
        Some(program) => {
            proxies.push(Proxy::nginx(&program, upstream.address, pinned).map_err(|why| format!("nginx: {why}"))?);
            rows.push(row(NGINX, Some(0), "gpt-4o"));
        }
        None if wanted(NGINX) => {
            eprintln!("nginx is not installed (Debian: apt-get install nginx-light): its line is left out");
        }
        None => {}
    }
    for (names, config, key) in [
        ([Some((PLAIN, "gpt-4o")), None], without_ledger(upstream.address), false),
        ([Some((FULL, "gpt-4o")), Some((JUDGED, "auto"))], with_ledger(upstream.address), true),
    ] {
        let names: Vec<_> = names.into_iter().flatten().filter(|(name, _)| wanted(name)).collect();
        if names.is_empty() {
            continue;
        }
        proxies.push(Proxy::sluice(&binary, &config, key, pinned).map_err(|why| format!("Sluice: {why}"))?);
        rows.extend(names.into_iter().map(|(name, model)| row(name, Some(proxies.len() - 1), model)));
    }

    let targets: Vec<_> =
        rows.iter().map(|row| [false, true].map(|stream| row.target(&proxies, &upstream, stream))).collect();
    for (row, targets) in rows.iter().zip(&targets) {
        for target in targets.clone() {
            let verified = tokio::task::spawn_blocking(move || target.verify()).await;
            verified.map_err(|error| error.to_string())?.map_err(|why| format!("{}: wrong answer: {why}", row.name))?;
        }
    }

    let slice = options.time / ROUNDS;
    let warm = Duration::from_millis(500).min(options.time / 4);
    let mut sent: Vec<u64> = vec![2; rows.len()];
    for round in 0..ROUNDS {
        for (at, row) in rows.iter_mut().enumerate() {
            let pid = row.proxy.map(|proxy| proxies[proxy].pid());
            let [whole, stream] = &targets[at];
            let parts = [("whole", whole, Some(&mut row.whole)), ("stream", stream, row.stream.as_mut())];
            for (load, target, measured) in parts {
                let Some(measured) = measured.filter(|_| loads(load)) else { continue };
                if round == 0 {
                    sent[at] += target.closed(CONNECTIONS, warm).await.answers;
                }
                let before = pid.map_or(Duration::ZERO, cpu);
                let loaded = target.closed(CONNECTIONS, slice).await;
                let spent = pid.map_or(Duration::ZERO, cpu).saturating_sub(before);
                measured.rounds.push((loaded.rate(), per_answer(spent, &loaded)));
                measured.cpu += spent;
                measured.loaded.then(&loaded);
            }
        }
    }
    for round in 0..if loads("quiet") { ROUNDS } else { 0 } {
        for (at, row) in rows.iter_mut().enumerate() {
            let target = targets[at][0].clone();
            if round == 0 {
                sent[at] += open(&target, warm).await?.answers;
            }
            row.quiet.then(&open(&target, slice).await?);
        }
    }

    for (row, sent) in rows.iter().zip(&mut sent) {
        *sent += row.whole.loaded.answers + row.quiet.answers;
        *sent += row.stream.as_ref().map_or(0, |stream| stream.loaded.answers);
    }
    let mut accounts = Vec::new();
    for (at, proxy) in proxies.iter().enumerate().filter(|(_, proxy)| proxy.admin.is_some()) {
        let answered: u64 = rows.iter().zip(&sent).filter(|(row, _)| row.proxy == Some(at)).map(|(_, sent)| sent).sum();
        let on_ledger = proxy.ledger().await.and_then(|total| total["requests"].as_u64());
        accounts.push((answered, on_ledger));
    }
    Ok(report(&rows, &proxies, &environment, &disk, &accounts, pinned, options.time))
}

async fn open(target: &Target, time: Duration) -> Result<Loaded, String> {
    let target = target.clone();
    tokio::task::spawn_blocking(move || target.open(RATE, time)).await.map_err(|error| error.to_string())
}

fn row(name: &'static str, proxy: Option<usize>, model: &'static str) -> Row {
    let measured = || Measured { loaded: Loaded::nothing(), cpu: Duration::ZERO, rounds: vec![] };
    // The judgement is the same for a stream: once is enough.
    let stream = (model != "auto").then(measured);
    Row { name, proxy, model, whole: measured(), stream, quiet: Loaded::nothing() }
}

// === impl Row ===

impl Row {
    fn target(&self, proxies: &[Proxy], upstream: &Upstream, stream: bool) -> Target {
        let proxy = self.proxy.map(|at| &proxies[at]);
        let address = proxy.map_or(upstream.address, |proxy| if stream { proxy.stream } else { proxy.whole });
        Target::new(address, self.model, proxy.and_then(|proxy| proxy.key.as_deref()), stream)
    }
}

// === impl Measured ===

impl Measured {
    fn is_measured(&self) -> bool {
        !self.rounds.is_empty()
    }

    fn cpu_us(&self) -> f64 {
        per_answer(self.cpu, &self.loaded)
    }

    /// The best round: what else a machine does only ever takes away.
    fn best(&self) -> f64 {
        self.rounds.iter().map(|(rate, _)| *rate).fold(0.0, f64::max)
    }

    fn least_cpu_us(&self) -> f64 {
        self.rounds.iter().map(|(_, cpu)| *cpu).fold(f64::MAX, f64::min)
    }

    /// How much of its core the proxy had: below 100% something else was the limit.
    fn busy(&self) -> f64 {
        self.cpu.as_secs_f64() / self.loaded.took.as_secs_f64().max(1e-9)
    }

    fn shown(&self) -> Value {
        json!({
            "per_second": self.loaded.rate(), "best_round": self.best(), "least_cpu_us": self.least_cpu_us(), "p50_ms": self.loaded.ms(0.5),
            "p99_ms": self.loaded.ms(0.99), "cpu_us": self.cpu_us(), "core_busy": self.busy(),
            "answers": self.loaded.answers, "errors": self.loaded.errors,
        })
    }

    fn cells(&self, proxied: bool) -> Vec<String> {
        let of_proxy = |text: String| if proxied { text } else { "-".to_owned() };
        vec![
            thousands(self.loaded.rate()),
            thousands(self.best()),
            format!("{:.2}", self.loaded.ms(0.5)),
            format!("{:.2}", self.loaded.ms(0.99)),
            of_proxy(format!("{:.0}", self.cpu_us())),
            of_proxy(format!("{:.0}", self.least_cpu_us())),
            of_proxy(format!("{:.0}%", self.busy() * 100.0)),
            self.loaded.errors.to_string(),
        ]
    }
}

fn per_answer(spent: Duration, loaded: &Loaded) -> f64 {
    spent.as_secs_f64() * 1e6 / loaded.answers.max(1) as f64
}

fn report(
    rows: &[Row],
    proxies: &[Proxy],
    environment: &Value,
    disk: &hdrhistogram::Histogram<u64>,
    accounts: &[(u64, Option<u64>)],
    pinned: bool,
    time: Duration,
) -> Value {
    let disk_ms = |quantile: f64| disk.value_at_quantile(quantile) as f64 / 1000.0;
    let resident = |row: &Row| row.proxy.map(|at| memory(proxies[at].pid(), "VmRSS"));
    let find = |name: &str| rows.iter().find(|row| row.name == name);
    let direct = find(DIRECT);
    println!("## Relay\n\n{}", machine::environment_line(environment));
    println!(
        "{}; {CONNECTIONS} connections, prompt of 0.9 kB, answer of 16 tokens, {:.1} s each in {ROUNDS} rounds; fdatasync of 256 B: p50 {:.2} ms, p99 {:.2} ms\n",
        if pinned {
            "Proxy on core 0, generator and upstream on core 1"
        } else {
            "NOT PINNED: no second core, or no taskset"
        },
        time.as_secs_f64(),
        disk_ms(0.5),
        disk_ms(0.99),
    );
    let head = |unit: &'static str, cpu: &'static str| {
        ["", unit, "best round", "p50 ms", "p99 ms", cpu, "least", "its core", "errors"]
    };
    let named = |row: &Row, cells: Vec<String>| [vec![row.name.to_owned()], cells].concat();
    let show = |head: &[&str], lines: Vec<Vec<String>>| {
        // Nothing was measured: `--load` asked for another one.
        if !lines.is_empty() {
            println!("{}", table(head, &lines));
        }
    };
    let lines = rows.iter().filter(|row| row.whole.is_measured()).map(|row| {
        let mut cells = named(row, row.whole.cells(row.proxy.is_some()));
        cells.push(resident(row).map_or("-".to_owned(), |mib| format!("{mib:.0}")));
        cells
    });
    show(&[&head("requests/s", "CPU us/request")[..], &["MiB after"]].concat(), lines.collect());
    let lines = rows.iter().filter_map(|row| {
        let stream = row.stream.as_ref().filter(|stream| stream.is_measured())?;
        Some(named(row, stream.cells(row.proxy.is_some())))
    });
    show(&head("streams/s", "CPU us/stream"), lines.collect());
    let lines = rows.iter().filter(|row| row.quiet.answers + row.quiet.errors > 0).map(|row| {
        let added = |quantile: f64| match (row.proxy, direct) {
            (Some(_), Some(direct)) => format!("{:+.2}", row.quiet.ms(quantile) - direct.quiet.ms(quantile)),
            (None, _) | (_, None) => "-".to_owned(),
        };
        let [p50, p99] = [0.5, 0.99].map(|quantile| format!("{:.2}", row.quiet.ms(quantile)));
        named(row, vec![p50, p99, added(0.5), added(0.99), row.quiet.errors.to_string()])
    });
    show(&["at 200 requests/s, open loop", "p50 ms", "p99 ms", "p50 added", "p99 added", "errors"], lines.collect());

    let measured = |row: &&Row| row.whole.is_measured();
    let (nginx, full) = (find(NGINX).filter(measured), find(FULL).filter(measured));
    let mut ratios = json!({});
    if let (Some(nginx), Some(full)) = (nginx, full) {
        let (best, all) =
            (full.whole.best() / nginx.whole.best(), full.whole.loaded.rate() / nginx.whole.loaded.rate());
        let per_cpu = nginx.whole.least_cpu_us() / full.whole.least_cpu_us();
        println!(
            "Sluice (key, budgets, durable ledger) / nginx, requests/s: {best:.3} between the best rounds ({all:.3} over all); at least {LEAST:.2}: {}; target {:.2} or {}/s: {}",
            verdict(best >= LEAST),
            TARGET.0,
            thousands(TARGET.1),
            verdict(best >= TARGET.0 || full.whole.best() >= TARGET.1),
        );
        println!("the same by CPU time per request: {per_cpu:.3}");
        ratios = json!({"requests": best, "requests_over_all": all, "cpu": per_cpu});
        let both = (nginx.stream.as_ref(), full.stream.as_ref());
        if let (Some(nginx), Some(full)) = both
            && nginx.is_measured()
            && full.is_measured()
        {
            let (streams, per_cpu) = (full.best() / nginx.best(), nginx.least_cpu_us() / full.least_cpu_us());
            println!("streams/s: {streams:.3}; by CPU time: {per_cpu:.3}");
            ratios["streams"] = json!(streams);
            ratios["streams_cpu"] = json!(per_cpu);
        }
    }
    for (answered, on_ledger) in accounts {
        let same = Some(*answered) == *on_ledger;
        let says = on_ledger.map_or("cannot be read".to_owned(), |lines| format!("has {lines}"));
        println!("{answered} right answers, the ledger {says}: {}", if same { "equal" } else { "NOT EQUAL" });
    }
    json!({
        "environment": environment,
        "pinned": pinned,
        "fdatasync_ms": {"p50": disk_ms(0.5), "p99": disk_ms(0.99)},
        "rows": rows.iter().map(|row| json!({
            "name": row.name, "whole": row.whole.shown(), "stream": row.stream.as_ref().map(Measured::shown),
            "at_200": {"p50_ms": row.quiet.ms(0.5), "p99_ms": row.quiet.ms(0.99), "errors": row.quiet.errors},
            "resident_mib": resident(row),
        })).collect::<Vec<_>>(),
        "ratios": ratios,
        "accounts": accounts.iter().map(|(answered, lines)| json!({"answered": answered, "on_ledger": lines})).collect::<Vec<_>>(),
    })
}
