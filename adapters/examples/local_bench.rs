//! Measures the local engine: prefill, decode, four at once, memory. Prints one JSON object.
//!
//! `cargo run --release --workspace --example local_bench -- SOURCE [auto|off|q8_0|q4_0|q4k|q6k|dense]` (docs/local-speed.md).
#![expect(clippy::print_stdout, reason = "a program that prints its result")]

use adapters::local::{LocalEngine, LocalSpec, Quantize, Source};
use adapters::wire::WireRequest;
use adapters::{Backend, Call, Event};
use futures::StreamExt;
use policies::{Counted, Endpoint, Readiness, RequestId};
use serde_json::{Value, json};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

const ANSWER: u64 = 64;

struct Timed {
    prompt: u64,
    answer: u64,
    first: Duration,
    rest: Duration,
}

async fn timed(engine: &LocalEngine, prompt: &str, answer: u64) -> Result<Timed, String> {
    let body = json!({"model": "bench", "prompt": prompt, "max_tokens": answer, "temperature": 0});
    let request =
        WireRequest::parse(Endpoint::Completions, body.to_string().into()).map_err(|error| error.to_string())?;
    let classes = policies::Classes::standard();
    let here = (&"bench".into(), policies::Location::Local);
    let call = Call {
        permit: classes.permit(classes.highest(), here.0, here.1, None)?,
        request: Arc::new(request),
        id: RequestId::from("bench"),
        model: "bench".into(),
        stream: true,
        max_output: None,
        masked: None,
        traceparent: None,
        watch: false,
    };
    let started = Instant::now();
    let mut events = engine.call(call).await.map_err(|error| error.to_string())?;
    let mut timed = Timed { prompt: 0, answer: 0, first: Duration::ZERO, rest: Duration::ZERO };
    while let Some(event) = events.next().await {
        if let Event::Delta { seen, .. } = event.map_err(|error| error.to_string())? {
            if timed.first.is_zero() {
                timed.first = started.elapsed();
            }
            if let Some(Counted::Exact(usage)) = seen.usage {
                timed.prompt = usage.input.0;
                timed.answer = usage.output.0;
            }
        }
    }
    timed.rest = started.elapsed().saturating_sub(timed.first);
    Ok(timed)
}

/// Resident memory and its peak, in MiB.
fn memory() -> (u64, u64) {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let field = |name: &str| {
        let line = status.lines().find(|line| line.starts_with(name))?;
        line.split_whitespace().nth(1)?.parse::<u64>().ok().map(|kib| kib / 1024)
    };
    (field("VmRSS:").unwrap_or(0), field("VmHWM:").unwrap_or(0))
}

fn words(count: usize) -> String {
    (0..count).map(|at| ["the", "cat", "sat", "on", "a", "mat"][at % 6]).collect::<Vec<_>>().join(" ")
}

async fn measure(engine: &LocalEngine) -> Result<Value, String> {
    let loaded = memory();
    let mut prefill = Vec::new();
    for wanted in [57, 146, 344] {
        let mut best = f64::MAX;
        let mut tokens = 0;
        for _ in 0..5 {
            let run = timed(engine, &words(wanted), 1).await?;
            best = best.min(run.first.as_secs_f64());
            tokens = run.prompt;
        }
        prefill.push(json!({"tokens": tokens, "per_second": (tokens as f64 / best).round()}));
    }
    let mut decode = f64::MAX;
    for _ in 0..5 {
        let run = timed(engine, &words(16), ANSWER).await?;
        decode = decode.min(run.rest.as_secs_f64() / (run.answer - 1) as f64);
    }
    let alone = memory();
    let started = Instant::now();
    let prompt = words(57);
    let four = futures::future::join_all((0..4).map(|_| timed(engine, &prompt, ANSWER))).await;
    let tokens: u64 = four.into_iter().map(|run| run.map(|run| run.answer)).sum::<Result<u64, String>>()?;
    let together = tokens as f64 / started.elapsed().as_secs_f64();
    Ok(json!({
        "prefill": prefill,
        "decode_per_second": (10.0 / decode).round() / 10.0,
        "four_at_once_per_second": (10.0 * together).round() / 10.0,
        "mib_loaded": loaded.0,
        "mib_after": alone.0,
        "mib_after_four": memory().0,
        "mib_peak": memory().1,
    }))
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let source = arguments.next().unwrap_or_else(|| "smollm2-135m".into());
    let quantize = arguments.next().as_deref().and_then(Quantize::parse).unwrap_or_default();
    let cache = std::env::var_os("XDG_CACHE_HOME")
        .map(PathBuf::from)
        .or_else(|| std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".cache")));
    let cache = cache.ok_or("neither XDG_CACHE_HOME nor HOME is set")?.join("sluice");
    let started = Instant::now();
    let engine =
        LocalEngine::spawn(LocalSpec { quantize, ..LocalSpec::new("bench".into(), Source::parse(&source), cache) });
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let readiness = runtime.block_on(engine.settled());
    if readiness != Readiness::Ready {
        return Err(format!("{readiness:?}").into());
    }
    let ready = started.elapsed();
    let mut figures = runtime.block_on(measure(&engine))?;
    figures["source"] = source.into();
    figures["quantize"] = quantize.word().into();
    figures["seconds_to_ready"] = ((ready.as_secs_f64() * 10.0).round() / 10.0).into();
    println!("{figures}");
    Ok(())
}
