//! Whether clients notice that their requests are shadowed: the same load through two gateways in turns, one of which has every
//! request answered by the local model in process, too, at idle priority; the upstream takes 200 ms.

use super::Options;
use super::load::{Loaded, Target};
use super::machine::{self, cpu, table, verdict};
use super::proxy::Proxy;
use super::upstream::Upstream;
use serde_json::{Value, json};
use std::time::Duration;

/// Requests a second.
const RATE: u32 = 20;
/// How long the upstream takes.
const DELAY: Duration = Duration::from_millis(200);
/// With and without take turns so often.
const ROUNDS: u32 = 4;
/// The most that the p99 may rise by, as a share.
const MOST: f64 = 0.05;
/// Over this span a process is looked at, and below that share of a core it is idle.
const IDLE: (Duration, f64) = (Duration::from_millis(500), 0.05);

/// One of the two gateways.
struct Side {
    gateway: Proxy,
    target: Target,
    loaded: Loaded,
    cpu: Duration,
}

/// Measures and prints.
pub async fn run(options: &Options) -> Result<Value, String> {
    let upstream = Upstream::slow(DELAY).await;
    let binary = tests::gateway::binary();
    let environment = machine::environment(&binary);
    let mut sides = [
        Side::start(&binary, &upstream, "").await?,
        Side::start(
            &binary,
            &upstream,
            "[experiments.all]\nkind = \"shadow\"\nshare = \"100%\"\njudge = \"normalised\"\n",
        )
        .await?,
    ];
    let slice = options.time / ROUNDS;
    for round in 0..ROUNDS {
        // Whoever is first has the quieter machine, so that is taken in turns.
        let order = if round % 2 == 0 { [0, 1] } else { [1, 0] };
        for at in order {
            for side in &sides {
                side.idle().await;
            }
            sides[at].load(slice).await?;
        }
    }
    sides[1].idle().await;
    let shown = sides[1].gateway.admin_get("/api/experiments/all").await.ok_or("the experiment is not told")?;
    let spent = sides[1].gateway.ledger().await.unwrap_or_default();
    Ok(report(&sides, &shown, &spent, &environment))
}

fn config(upstream: &Upstream, more: &str) -> String {
    format!(
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
        classifier = "heuristic"
        hosted_share = "100%"
        {more}"#,
        upstream.address
    )
}

// === impl Side ===

impl Side {
    async fn start(binary: &std::path::Path, upstream: &Upstream, more: &str) -> Result<Self, String> {
        let gateway = Proxy::sluice(binary, &config(upstream, more), false, false)?;
        gateway.ready().await?;
        let target = Target::new(gateway.whole, "auto", None, false);
        let verified = target.clone();
        tokio::task::spawn_blocking(move || verified.verify()).await.map_err(|error| error.to_string())??;
        Ok(Self { gateway, target, loaded: Loaded::nothing(), cpu: Duration::ZERO })
    }

    /// Waits until the process has nothing to do any longer: copies of the last round included.
    async fn idle(&self) {
        let (span, share) = IDLE;
        loop {
            let before = cpu(self.gateway.pid());
            tokio::time::sleep(span).await;
            if cpu(self.gateway.pid()).saturating_sub(before) < span.mul_f64(share) {
                return;
            }
        }
    }

    async fn load(&mut self, time: Duration) -> Result<(), String> {
        let (target, before) = (self.target.clone(), cpu(self.gateway.pid()));
        let loaded = tokio::task::spawn_blocking(move || target.open(RATE, time)).await;
        self.loaded.then(&loaded.map_err(|error| error.to_string())?);
        self.cpu += cpu(self.gateway.pid()).saturating_sub(before);
        Ok(())
    }
}

fn report(sides: &[Side; 2], shown: &Value, spent: &Value, environment: &Value) -> Value {
    let [off, on] = sides;
    println!("## Shadows\n\n{}", machine::environment_line(environment));
    println!(
        "{RATE} requests/s to a hosted model that takes {} ms, open loop, {:.0} s each way in {ROUNDS} turns; all are to be answered by the local model in process, too; nothing is pinned\n",
        DELAY.as_millis(),
        off.loaded.took.as_secs_f64(),
    );
    let line = |name: &str, side: &Side| {
        vec![
            name.to_owned(),
            format!("{:.2}", side.loaded.ms(0.5)),
            format!("{:.2}", side.loaded.ms(0.99)),
            format!("{:.2}", side.loaded.latency.max() as f64 / 1000.0),
            side.loaded.answers.to_string(),
            side.loaded.errors.to_string(),
            format!("{:.2}", side.cpu.as_secs_f64() / side.loaded.took.as_secs_f64().max(1e-9)),
        ]
    };
    let head = ["", "p50 ms", "p99 ms", "max ms", "answers", "errors", "cores Sluice used"];
    println!("{}", table(&head, &[line("shadow off", off), line("shadow at 100%", on)]));
    let (without, with) = (off.loaded.ms(0.99), on.loaded.ms(0.99));
    let ratio = with / without.max(1e-9);
    let copies = shown["recorded"].as_u64().unwrap_or(0);
    println!(
        "p99 {without:.2} ms without and {with:.2} ms with shadows: ratio {ratio:.3}; at most {:.2}: {}; {copies} of {} requests were shadowed, for the others there was no place",
        1.0 + MOST,
        verdict(ratio <= 1.0 + MOST),
        on.loaded.answers,
    );
    let figures = |side: &Side| {
        json!({
            "p50_ms": side.loaded.ms(0.5), "p99_ms": side.loaded.ms(0.99), "answers": side.loaded.answers,
            "errors": side.loaded.errors, "cpu_s": side.cpu.as_secs_f64(),
        })
    };
    json!({
        "environment": environment, "ratio": ratio, "off": figures(off), "on": figures(on), "shadowed": copies,
        "attempts_on_ledger": spent["requests"],
    })
}
