//! What the relay costs: as many requests as one core of the proxy can serve, then what it adds at a quiet rate.

use super::Options;
use super::load::{Loaded, Target};
use super::machine::{self, cpu, thousands};
use super::peers;
use super::proxy::{Proxy, nginx_program};
use super::report;
use super::upstream::Upstream;
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::time::Duration;

/// Connections of the closed loop.
pub(super) const CONNECTIONS: usize = 64;
/// Requests a second of the open loop.
pub(super) const RATE: u32 = 200;
/// Each time is cut into so many rounds, all proxies taking turns: what else the machine does falls on all of them.
pub(super) const ROUNDS: u32 = 5;
/// What must be reached, as a share of nginx in the same run.
pub(super) const LEAST: f64 = 0.20;
/// What shall be reached: this share, or so many requests a second.
pub(super) const TARGET: (f64, f64) = (0.30, 12_000.0);

pub(super) const DIRECT: &str = "no proxy";
pub(super) const NGINX: &str = "nginx";
const PLAIN: &str = "Sluice, no key, ledger survives kill -9";
pub(super) const FULL: &str = "Sluice, key, budgets, durable ledger";
/// The same from another build of the program (`scripts/build-shipped`).
pub(super) const SHIPPED: &str = "the same, as it is shipped";
const JUDGED: &str = "the same, `auto`, judged by the probe";
/// What is judged is remembered; here no prompt comes twice.
const ANEW: &str = "the same, each prompt a new one";
const CASCADE: &str = "the same, with the cascade";

/// One line of the table.
pub(super) struct Row {
    pub(super) name: &'static str,
    /// The index of its proxy; `None`: straight to the upstream.
    pub(super) proxy: Option<usize>,
    model: &'static str,
    pub(super) whole: Measured,
    pub(super) stream: Option<Measured>,
    pub(super) quiet: Loaded,
}

pub(super) struct Measured {
    pub(super) loaded: Loaded,
    cpu: Duration,
    /// Rate and CPU time per answer, in microseconds, of each round.
    rounds: Vec<(f64, f64)>,
}

/// A request with all that Sluice does by default: keys, budgets, every line on the disk before the last byte is sent.
///
/// The classifier is asked about `auto` alone.
pub(super) fn with_ledger(upstream: SocketAddr, classifier: &str, cascade: &str) -> String {
    format!(
        "[[budgets]]\nscope = \"org\"\nlimit_usd = \"1000000\"\nwindow = \"month\"\n\
         [ledger]\ndurability = \"disk\"\n{}\nclassifier = \"{classifier}\"\n\
         [router.cascade]\nmode = \"{cascade}\"\nwidth = \"100%\"\n",
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
        hosted = ["gpt-4o"]"#
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
    let full = with_ledger(upstream.address, "heuristic", "off");
    let judged = with_ledger(upstream.address, "probe", "off");
    let cascade = with_ledger(upstream.address, "probe", "on");
    let mut settings = vec![
        (PLAIN, &binary, "gpt-4o", without_ledger(upstream.address), false),
        (FULL, &binary, "gpt-4o", full.clone(), true),
        (JUDGED, &binary, "auto", judged.clone(), true),
        (ANEW, &binary, "auto", judged, true),
        (CASCADE, &binary, "auto", cascade, true),
    ];
    if let Some(shipped) = &options.shipped {
        settings.insert(2, (SHIPPED, shipped, "gpt-4o", full, true));
    }
    for (name, program, model, config, key) in settings.into_iter().filter(|(name, ..)| wanted(name)) {
        proxies.push(Proxy::sluice(program, &config, key, pinned).map_err(|why| format!("Sluice: {why}"))?);
        rows.push(row(name, Some(proxies.len() - 1), model));
    }
    for (name, proxy) in peers::start(upstream.address, pinned, wanted) {
        proxies.push(proxy);
        rows.push(row(name, Some(proxies.len() - 1), "gpt-4o"));
    }

    let targets: Vec<_> =
        rows.iter().map(|row| [false, true].map(|stream| row.target(&proxies, &upstream, stream))).collect();
    for (row, targets) in rows.iter_mut().zip(&targets) {
        for target in targets.clone() {
            let stream = target.stream;
            let verified = tokio::task::spawn_blocking(move || target.verify()).await;
            match verified.map_err(|error| error.to_string())? {
                Ok(()) => {}
                Err(why) if stream && peers::is(row.name) => {
                    let why: String = why.chars().take(300).collect();
                    eprintln!("{}: its streams are left out, they are wrong here: {why}", row.name);
                    row.stream = None;
                }
                Err(why) => return Err(format!("{}: wrong answer: {why}", row.name)),
            }
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
    if let Some(json) = &options.json {
        report::draw(&rows, json)?;
    }
    Ok(report::report(&rows, &proxies, &environment, &disk, &accounts, pinned, options.time))
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
        let key = proxy.and_then(|proxy| proxy.key.as_deref());
        let target = Target::new(address, self.model, key, stream).with_head(proxy.map_or("", |proxy| &proxy.head));
        match self.name {
            name if peers::is(name) => target.rewritten(),
            ANEW => target.each_anew(),
            _ => target,
        }
    }
}

// === impl Measured ===

impl Measured {
    pub(super) fn is_measured(&self) -> bool {
        !self.rounds.is_empty()
    }

    fn cpu_us(&self) -> f64 {
        per_answer(self.cpu, &self.loaded)
    }

    /// The best round: what else a machine does only ever takes away.
    pub(super) fn best(&self) -> f64 {
        self.rounds.iter().map(|(rate, _)| *rate).fold(0.0, f64::max)
    }

    pub(super) fn least_cpu_us(&self) -> f64 {
        self.rounds.iter().map(|(_, cpu)| *cpu).fold(f64::MAX, f64::min)
    }

    /// How much of its core the proxy had: below 100% something else was the limit.
    fn busy(&self) -> f64 {
        self.cpu.as_secs_f64() / self.loaded.took.as_secs_f64().max(1e-9)
    }

    pub(super) fn shown(&self) -> Value {
        json!({
            "per_second": self.loaded.rate(), "best_round": self.best(), "least_cpu_us": self.least_cpu_us(), "p50_ms": self.loaded.ms(0.5),
            "p99_ms": self.loaded.ms(0.99), "cpu_us": self.cpu_us(), "core_busy": self.busy(),
            "answers": self.loaded.answers, "errors": self.loaded.errors,
        })
    }

    pub(super) fn cells(&self, proxied: bool) -> Vec<String> {
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
