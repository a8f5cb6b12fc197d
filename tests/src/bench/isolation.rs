//! Whether hosted requests suffer while the local model works: the same hosted load with the engine idle and busy, in
//! turns, and beside it the same load straight to the upstream, which shows what the machine itself adds.

use super::Options;
use super::load::{Loaded, Target};
use super::machine::{self, cpu, table, verdict};
use super::proxy::Proxy;
use super::upstream::Upstream;
use futures::StreamExt;
use serde_json::{Value, json};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;
use tokio::task::JoinSet;

/// Hosted requests a second.
const RATE: u32 = 50;
/// Local generations at once.
const GENERATIONS: usize = 2;
/// Idle and busy take turns so often.
const ROUNDS: u32 = 2;
/// The most that the hosted p99 may rise by.
const MOST_MS: f64 = 10.0;

struct Phase {
    hosted: Loaded,
    direct: Loaded,
    cpu: Duration,
    events: u64,
}

/// Measures and prints.
pub async fn run(options: &Options) -> Result<Value, String> {
    let upstream = Upstream::start().await;
    let config = format!(
        r#"
        [providers.hosted]
        kind = "openai"
        base_url = "http://{}/v1"
        region = "us"
        [providers.in-process]
        kind = "mistralrs"
        source = "smollm2-135m"
        [models."gpt-4o"]
        provider = "hosted"
        input_usd_per_mtok = "2.50"
        output_usd_per_mtok = "10.00"
        [models.smollm2]
        provider = "in-process"
        [router]
        local = ["smollm2"]
        hosted = ["gpt-4o"]
        [[budgets]]
        scope = "org"
        limit_usd = "1000000"
        window = "month"
        "#,
        upstream.address
    );
    let binary = tests::gateway::binary();
    let environment = machine::environment(&binary);
    let gateway = Arc::new(Proxy::sluice(&binary, &config, false, false)?);
    gateway.ready().await?;
    let hosted = Target::new(gateway.whole, "gpt-4o", None, false);
    let direct = Target::new(upstream.address, "gpt-4o", None, false);
    let verifying = hosted.clone();
    tokio::task::spawn_blocking(move || verifying.verify()).await.map_err(|error| error.to_string())??;

    let slice = options.time / ROUNDS;
    let mut phases = [Phase::new(), Phase::new()];
    for _ in 0..ROUNDS {
        for (busy, phase) in [false, true].into_iter().zip(&mut phases) {
            let events = Arc::new(AtomicU64::new(0));
            let stop = Arc::new(AtomicBool::new(!busy));
            let mut generations = JoinSet::new();
            for at in 0..GENERATIONS {
                generations.spawn(generate(gateway.clone(), at, events.clone(), stop.clone()));
            }
            while busy && events.load(Ordering::Relaxed) == 0 {
                if generations.is_empty() {
                    return Err("the local model does not answer".into());
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            let (counted, spent) = (events.load(Ordering::Relaxed), cpu(gateway.pid()));
            let (one, other) = (hosted.clone(), direct.clone());
            let one = tokio::task::spawn_blocking(move || one.open(RATE, slice));
            let other = tokio::task::spawn_blocking(move || other.open(RATE, slice));
            let (one, other) = tokio::try_join!(one, other).map_err(|error| error.to_string())?;
            phase.hosted.then(&one);
            phase.direct.then(&other);
            phase.cpu += cpu(gateway.pid()).saturating_sub(spent);
            phase.events += events.load(Ordering::Relaxed) - counted;
            stop.store(true, Ordering::Relaxed);
            // Their clients leave, which ends the generations.
            generations.abort_all();
            while generations.join_next().await.is_some() {}
        }
    }
    Ok(report(&phases, &environment))
}

impl Phase {
    fn new() -> Self {
        Self { hosted: Loaded::nothing(), direct: Loaded::nothing(), cpu: Duration::ZERO, events: 0 }
    }
}

/// One local generation after the other.
async fn generate(gateway: Arc<Proxy>, at: usize, events: Arc<AtomicU64>, stop: Arc<AtomicBool>) {
    let mut turn = 0;
    while !stop.load(Ordering::Relaxed) {
        let content =
            format!("Tell a long story, number {at}.{turn}, about a harbour, a storm and a lighthouse keeper.");
        let body = json!({
            "model": "smollm2", "stream": true, "max_tokens": 200,
            "messages": [{"role": "user", "content": content}],
        });
        let Ok(response) = gateway.chat(&body).send().await else { return };
        if !response.status().is_success() {
            eprintln!("the local model: {} {}", response.status(), response.text().await.unwrap_or_default());
            return;
        }
        let mut pieces = response.bytes_stream();
        while let Some(Ok(piece)) = pieces.next().await {
            let whole = piece.windows(2).filter(|two| two == b"\n\n").count();
            events.fetch_add(whole as u64, Ordering::Relaxed);
        }
        turn += 1;
    }
}

fn report(phases: &[Phase; 2], environment: &Value) -> Value {
    let [idle, busy] = phases;
    println!("## Isolation\n\n{}", machine::environment_line(environment));
    println!(
        "{RATE} hosted requests/s through Sluice and {RATE} straight to the upstream, open loop, {:.0} s idle and {:.0} s with {GENERATIONS} local generations; nothing is pinned\n",
        idle.hosted.took.as_secs_f64(),
        busy.hosted.took.as_secs_f64(),
    );
    let line = |name: &str, phase: &Phase, loaded: &Loaded| {
        let seconds = loaded.took.as_secs_f64();
        vec![
            name.to_owned(),
            format!("{:.2}", loaded.ms(0.5)),
            format!("{:.2}", loaded.ms(0.99)),
            format!("{:.2}", loaded.latency.max() as f64 / 1000.0),
            loaded.errors.to_string(),
            format!("{:.2}", phase.cpu.as_secs_f64() / seconds),
            format!("{:.1}", phase.events as f64 / seconds),
        ]
    };
    let lines = [
        line("hosted, local model idle", idle, &idle.hosted),
        line("hosted, local model busy", busy, &busy.hosted),
        line("no proxy, local model idle", idle, &idle.direct),
        line("no proxy, local model busy", busy, &busy.direct),
    ];
    let head = ["", "p50 ms", "p99 ms", "max ms", "errors", "cores Sluice used", "local tokens/s"];
    println!("{}", table(&head, &lines));
    let rise = busy.hosted.ms(0.99) - idle.hosted.ms(0.99);
    let machine = busy.direct.ms(0.99) - idle.direct.ms(0.99);
    println!(
        "hosted p99 {:.2} ms with the local model idle, {:.2} ms with it busy: rises by {rise:.2} ms; at most {MOST_MS:.0} ms: {}; without a proxy it rises by {machine:.2} ms",
        idle.hosted.ms(0.99),
        busy.hosted.ms(0.99),
        verdict(rise <= MOST_MS),
    );
    let shown = |loaded: &Loaded| json!({"p50_ms": loaded.ms(0.5), "p99_ms": loaded.ms(0.99), "errors": loaded.errors});
    json!({
        "environment": environment, "rise_ms": rise, "rise_without_proxy_ms": machine,
        "idle": shown(&idle.hosted), "busy": shown(&busy.hosted),
        "direct_idle": shown(&idle.direct), "direct_busy": shown(&busy.direct),
        "local_tokens_per_second": busy.events as f64 / busy.hosted.took.as_secs_f64(),
    })
}
