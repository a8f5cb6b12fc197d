//! What Sluice keeps in memory: idle without a model, with SmolLM2 after its warm-up, and with four local requests at once.

use super::Options;
use super::machine::{self, memory, table, verdict};
use super::proxy::Proxy;
use serde_json::{Value, json};
use std::time::{Duration, Instant};
use tokio::task::JoinSet;

/// Requests at once.
const AT_ONCE: usize = 4;
/// How often memory is looked at.
const LOOK: Duration = Duration::from_millis(10);
/// After `readyz`, memory is looked at for so long; the least counts, since an allocator gives back late.
const SETTLE: Duration = Duration::from_secs(2);

/// Nobody but the built-in provider; what judges brings the encoder along, or does not.
fn without_model(classifier: &str) -> String {
    format!(
        "[providers.simulated]\nkind = \"simulated\"\n[models.simulated]\nprovider = \"simulated\"\n\
         [router]\nhosted = [\"simulated\"]\nclassifier = \"{classifier}\"\n"
    )
}

/// The queue's clock is stopped: this is about memory, and a slow machine may take longer over four than it allows.
const WITH_MODEL: &str = r#"
[providers.in-process]
kind = "mistralrs"
source = "smollm2-135m"
[models.smollm2]
provider = "in-process"
[router]
local = ["smollm2"]
[timeouts]
queue = "10m"
"#;

struct Looked {
    name: &'static str,
    resident: f64,
    anonymous: f64,
    file: f64,
    most: f64,
    limit: Option<f64>,
}

/// Measures and prints.
pub async fn run(_options: &Options) -> Result<Value, String> {
    let binary = tests::gateway::binary();
    let environment = machine::environment(&binary);
    let mut looked = Vec::new();
    for (classifier, [idle, used], limits) in [
        ("heuristic", ["idle, no model, no encoder", "the same, after a request"], (Some(40.0), Some(45.0))),
        ("probe", ["idle, no model, the encoder", "the same with encoder, after a request"], (None, Some(85.0))),
    ] {
        let gateway = Proxy::sluice(&binary, &without_model(classifier), false, false)?;
        gateway.ready().await?;
        looked.push(look(idle, gateway.pid(), limits.0).await);
        let hello = json!({"model": "simulated", "messages": [{"role": "user", "content": "hello"}]});
        let answer = gateway.chat(&hello).send().await.map_err(|error| error.to_string())?;
        if !answer.status().is_success() {
            return Err(format!("the simulated provider says {}", answer.status()));
        }
        looked.push(look(used, gateway.pid(), limits.1).await);
    }
    let gateway = Proxy::sluice(&binary, WITH_MODEL, false, false)?;
    gateway.ready().await?;
    looked.push(look("SmolLM2, warmed up", gateway.pid(), Some(450.0)).await);
    let (most, took) = four(&gateway).await?;
    let after = look("the same, four requests at once", gateway.pid(), None).await;
    looked.push(Looked { resident: most, limit: Some(750.0), ..after });
    println!("## Memory\n\n{}\n", machine::environment_line(&environment));
    let lines: Vec<_> = looked
        .iter()
        .map(|at| {
            vec![
                at.name.to_owned(),
                format!("{:.1}", at.resident),
                format!("{:.1}", at.anonymous),
                format!("{:.1}", at.file),
                format!("{:.1}", at.most),
                at.limit.map_or("-".into(), |limit| format!("{limit:.0}: {}", verdict(at.resident < limit))),
            ]
        })
        .collect();
    println!("{}", table(&["MiB", "resident", "anonymous", "of files", "most since start", "below"], &lines));
    println!(
        "four requests of about 350 prompt and 32 answer tokens took {took:.1} s; their line shows the peak while they ran, anonymous and file memory after them"
    );
    Ok(json!({
        "environment": environment,
        "rows": looked.iter().map(|at| json!({
            "name": at.name, "resident_mib": at.resident, "anonymous_mib": at.anonymous, "file_mib": at.file,
            "most_mib": at.most, "limit_mib": at.limit,
        })).collect::<Vec<_>>(),
    }))
}

/// The least of a few looks.
async fn look(name: &'static str, pid: u32, limit: Option<f64>) -> Looked {
    let end = Instant::now() + SETTLE;
    let mut least = memory(pid, "VmRSS");
    while Instant::now() < end {
        tokio::time::sleep(LOOK).await;
        least = least.min(memory(pid, "VmRSS"));
    }
    Looked {
        name,
        resident: least,
        anonymous: memory(pid, "RssAnon"),
        file: memory(pid, "RssFile"),
        most: memory(pid, "VmHWM"),
        limit,
    }
}

/// Four local requests at once; gives the most memory seen and the time.
async fn four(gateway: &Proxy) -> Result<(f64, f64), String> {
    let start = Instant::now();
    let mut requests = JoinSet::new();
    for at in 0..AT_ONCE {
        // A token a word, nearly; each prompt is its own, so that nothing is shared.
        let sentence =
            format!("In year {at} the keeper of the northern lighthouse wrote down what the storm had taken. ");
        let prompt = sentence.repeat(17);
        let request = gateway.chat(&json!({
            "model": "smollm2", "max_tokens": 32,
            "messages": [{"role": "user", "content": format!("{prompt} Summarise this.")}],
        }));
        requests.spawn(async move {
            let response = request.send().await.map_err(|error| error.to_string())?;
            let status = response.status();
            let text = response.text().await.map_err(|error| error.to_string())?;
            if status.is_success() { Ok(text) } else { Err(format!("{status}: {text}")) }
        });
    }
    let mut most: f64 = 0.0;
    let mut right = 0;
    loop {
        most = most.max(memory(gateway.pid(), "VmRSS"));
        match tokio::time::timeout(LOOK, requests.join_next()).await {
            Err(_) => {}
            Ok(None) => break,
            Ok(Some(Ok(Ok(_)))) => right += 1,
            Ok(Some(Ok(Err(why)))) => return Err(why),
            Ok(Some(Err(error))) => return Err(error.to_string()),
        }
    }
    if right != AT_ONCE {
        return Err(format!("{right} of {AT_ONCE} answers"));
    }
    Ok((most, start.elapsed().as_secs_f64()))
}
