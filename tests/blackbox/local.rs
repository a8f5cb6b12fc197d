//! The real SmolLM2 in process, beside a hosted fake: who answers when it is busy, full, slow or left.

use serde_json::{Value, json};
use std::process::Command;
use tests::hub::{File, Hub, Trouble};
use tests::{EASY, Gateway, HARD, Live, Upstream, chat, eventually, streamed};
use tokio::task::JoinSet;

/// SmolLM2 with these settings of its provider, beside `big`.
fn config(hosted: &Upstream, settings: &str, more: &str) -> String {
    format!(
        "{}[providers.in-process]\nkind = \"mistralrs\"\nsource = \"smollm2-135m\"\n{settings}\n[models.smollm2]\nprovider = \"in-process\"\n\
         [router]\nlocal = [\"smollm2\"]\nhosted = [\"big\"]\nclassifier = \"heuristic\"\nmax_first_token = \"600s\"\n{more}\n",
        hosted.provider("hosted", "hosted", &[("big", "echo")]),
    )
}

async fn start(settings: &str, more: &str) -> (Gateway, Upstream) {
    let hosted = Upstream::start().await;
    let gateway = Gateway::start(&config(&hosted, settings, more)).await;
    gateway.ready().await;
    (gateway, hosted)
}

/// A request that takes the local model a while, whatever it would like to say: whoever asks leaves before its end.
fn long(model: &str) -> Value {
    let mut body = streamed(model, "List the numbers from 1 to 100.");
    body["max_tokens"] = 1_000.into();
    body["temperature"] = 0.into();
    body["guided_regex"] = "(one, two, ){300}".into();
    body
}

/// A long stream that has begun.
async fn running(gateway: &Gateway) -> Live {
    let mut live = gateway.live(&long("smollm2")).await;
    assert_eq!(live.status, 200);
    assert!(live.next().await.is_some());
    live
}

#[tokio::test]
async fn easy_requests_are_answered_by_the_model_in_process_and_hard_ones_escalated() {
    let (gateway, hosted) = start("", "").await;
    let mut easy = chat("auto", "Name the capital of France.");
    easy["temperature"] = 0.into();
    easy["max_tokens"] = 40.into();
    let told = gateway.tell(&easy).await;
    assert_eq!((told.said("x-sluice-route"), told.said("x-sluice-model")), ("local", "smollm2"));
    assert!(told.answer().contains("Paris"), "{}", told.answer());
    assert_eq!(told.cost().as_deref(), Some("0.000000"));
    let usage = told.json()["usage"].clone();
    let line = tests::oracle::attempt(&gateway, told.id()).await;
    assert_eq!((&line["input_tokens"], &line["output_tokens"]), (&usage["prompt_tokens"], &usage["completion_tokens"]));
    assert!(tests::oracle::nanos(&line["baseline_usd"]).is_some_and(|saved| saved > 0), "{line}");
    assert_eq!(hosted.count(), 0);
    let told = gateway.tell(&chat("auto", HARD)).await;
    assert_eq!((told.said("x-sluice-route"), hosted.count()), ("hosted", 1));
}

#[tokio::test]
async fn a_client_that_leaves_stops_the_generation() {
    let (gateway, _hosted) = start("", "").await;
    let mut live = running(&gateway).await;
    let id = live.headers["x-sluice-request-id"].to_str().expect("text").to_owned();
    let mut read = 1;
    while read < 10 {
        let event = live.next().await.expect("it goes on");
        read += u64::from(event.data.is_some());
    }
    drop(live);
    // The engine serves one at a time: this one waits for as long as the other goes on.
    let mut short = chat("smollm2", "Say hello.");
    short["max_tokens"] = 4.into();
    assert_eq!(gateway.tell(&short).await.status, 200);
    let line = eventually("the line is closed", async || {
        let told = gateway.admin_get(&format!("/api/requests/{id}")).await;
        (told.status == 200).then(|| told.json()["attempt_log"][0].clone())
    })
    .await;
    assert_eq!(line["outcome"], "disconnected", "{line}");
    let output = line["output_tokens"].as_u64().expect("a count");
    // Two tokens after it is noticed; some more may have been on their way through the kernel.
    assert!((read - 2..read + 20).contains(&output), "{output} tokens for a client that read {read}");
}

#[tokio::test]
async fn when_the_queue_is_full_the_next_goes_hosted_and_restricted_data_waits_for_nobody() {
    let (gateway, hosted) = start("queue = 1\nconcurrency = 1", "").await;
    let first = running(&gateway).await;
    // One may wait: of two more, whichever comes second is refused at once, and the other stays in the queue.
    let mut more = JoinSet::new();
    for _ in 0..2 {
        let (client, data) = (gateway.client.clone(), gateway.data.clone());
        more.spawn(async move { Live::open(&client, &data, &long("smollm2"), &[]).await });
    }
    let refused = more.join_next().await.expect("two were sent").expect("it is answered").told().await;
    refused.error(503);
    assert!(refused.header("retry-after").is_some());
    let elsewhere = gateway.tell(&chat("auto", EASY)).await;
    assert_eq!((elsewhere.status, elsewhere.said("x-sluice-model")), (200, "big"));
    let count = hosted.count();
    let restricted = gateway.tell_with(&chat("auto", EASY), &[("x-sluice-data-class", "restricted")]).await;
    restricted.error(503);
    assert!(restricted.header("retry-after").is_some());
    assert_eq!(hosted.count(), count, "not even when nothing else is left");
    drop(first);
    let mut second = more.join_next().await.expect("one waits").expect("it gets its turn");
    assert_eq!(second.status, 200);
    assert!(second.next().await.is_some());
}

#[tokio::test]
async fn a_first_token_that_would_come_too_late_is_a_reason_to_go_hosted() {
    let hosted = Upstream::start().await;
    let rest = config(&hosted, "", "").replace("\"600s\"", "\"3s\"");
    let gateway = Gateway::start(&rest).await;
    gateway.ready().await;
    let long_prompt = format!("Hello! {} Thanks!", "hello there ".repeat(2_000));
    let told = gateway.tell(&chat("auto", &long_prompt)).await;
    assert_eq!((told.status, told.said("x-sluice-route")), (200, "hosted"), "{}", told.text());
    assert_eq!(told.said("x-sluice-reason"), "first_token");
    let pinned = gateway.tell(&chat("smollm2", &long_prompt)).await;
    assert!(matches!(pinned.status, 400 | 503), "{}", pinned.text());
    assert_eq!(gateway.tell(&chat("auto", EASY)).await.said("x-sluice-route"), "local", "a short one stays");
}

#[tokio::test]
async fn a_request_longer_than_the_context_window_is_400_before_it_starts() {
    let (gateway, hosted) = start("context_window = 512", "").await;
    let mut body = chat("smollm2", &"word ".repeat(600));
    body["max_tokens"] = 5.into();
    let told = gateway.tell(&body).await;
    assert_eq!(told.error(400)["code"], "context_length_exceeded");
    body["model"] = "auto".into();
    let auto = gateway.tell(&body).await;
    assert_eq!((auto.status, auto.said("x-sluice-route")), (200, "hosted"), "whoever has the room answers");
    assert_eq!(hosted.count(), 1);
}

#[tokio::test]
async fn sigterm_lets_a_local_answer_come_to_its_end() {
    let (mut gateway, _hosted) = start("", "").await;
    let mut body = streamed("smollm2", "Count from one to twenty.");
    body["max_tokens"] = 60.into();
    let mut live = gateway.live(&body).await;
    assert!(live.next().await.is_some());
    gateway.signal("TERM");
    let rest = live.rest().await;
    assert_eq!(rest.last().map(String::as_str), Some("[DONE]"));
    assert_eq!(gateway.ended().await.code(), Some(0));
}

#[tokio::test]
async fn local_streams_are_in_openais_form_to_the_last_event() {
    let (gateway, _hosted) = start("", "").await;
    let mut body = tests::streamed_with_usage("smollm2", "Name three colours.");
    body["max_tokens"] = 12.into();
    body["logprobs"] = true.into();
    body["top_logprobs"] = 2.into();
    body["seed"] = 7.into();
    let told = gateway.tell(&body).await;
    assert!(told.status == 200 && told.done(), "{}", told.text());
    let data = told.data();
    let chunks: Vec<async_openai::types::chat::CreateChatCompletionStreamResponse> = data[..data.len() - 1]
        .iter()
        .map(|data| serde_json::from_str(data).unwrap_or_else(|error| panic!("{error}: {data}")))
        .collect();
    let usage = chunks.last().and_then(|chunk| chunk.usage.clone()).expect("usage was asked for");
    assert!(usage.completion_tokens > 0 && usage.completion_tokens <= 12);
    let tokens: usize = chunks
        .iter()
        .flat_map(|chunk| &chunk.choices)
        .filter_map(|choice| choice.logprobs.as_ref()?.content.as_ref())
        .map(Vec::len)
        .sum();
    assert!(tokens > 0 && tokens <= 12, "a log-probability for each token: {tokens}");
    let mut regex = chat("smollm2", "Is water wet?");
    regex["guided_regex"] = json!("(yes|no)");
    let told = gateway.tell(&regex).await;
    assert!(["yes", "no"].contains(&told.answer().as_str()), "{}", told.text());
}

/// The tiny Llama of `models/make_tiny.py`, on a hub.
fn hub(folder: &std::path::Path) -> Hub {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/models/make_tiny.py");
    let python = std::env::var_os("SLUICE_TEST_PYTHON").unwrap_or_else(|| "python3".into());
    let made = Command::new(python).arg(script).arg(folder).arg("llama").status().expect("python");
    assert!(made.success());
    let files = std::fs::read_dir(folder.join("llama")).expect("a folder").map(|file| {
        let path = file.expect("a file").path();
        let digest = Command::new("sha256sum").arg(&path).output().expect("coreutils").stdout;
        let (name, bytes) = (path.file_name().expect("a name").to_string_lossy(), std::fs::read(&path).expect("read"));
        File { name: name.into_owned(), bytes, etag: String::from_utf8_lossy(&digest)[..64].to_owned() }
    });
    Hub::start("org/tiny", "rev", files.collect())
}

#[tokio::test]
async fn a_model_of_the_hub_is_fetched_loaded_and_not_fetched_again_and_a_broken_fetch_is_tried_anew() {
    let (made, hosted) = (tempfile::tempdir().expect("a folder"), Upstream::start().await);
    let hub = hub(made.path());
    let rest = config(&hosted, "", "").replace("smollm2-135m", "hf:org/tiny@rev");
    let folder = tests::gateway::folder(&rest);
    let cache = folder.path().join("cache").to_str().expect("text").to_owned();
    let environment = [("HF_ENDPOINT", hub.url.as_str()), ("HF_HOME", &cache), ("XDG_CACHE_HOME", &cache)];
    hub.trouble(Some(Trouble::Cut("model.safetensors".into())));
    let mut gateway = Gateway::serve(folder.clone(), &environment).await;
    let why = eventually("the fetch breaks off", async || {
        let ready = gateway.get("/readyz").await.json();
        let models = ready["models"].as_array()?.clone();
        models.iter().find(|model| model["model"] == "smollm2")?["why"].as_str().map(str::to_owned)
    })
    .await;
    assert!(why.contains("hf:org/tiny") && why.contains("model.safetensors"), "{why}");
    hub.trouble(None);
    let mut body = chat("smollm2", "hello there");
    body["max_tokens"] = 8.into();
    let told = eventually("the next try succeeds", async || {
        let told = gateway.tell(&body).await;
        (told.status == 200).then_some(told)
    })
    .await;
    assert_eq!(told.said("x-sluice-route"), "local");
    let evidence = gateway.admin_get("/api/evidence/export").await.text();
    let asked = hub.asked().len();
    gateway.stop().await;
    let gateway = Gateway::serve(folder, &environment).await;
    gateway.ready().await;
    assert_eq!(gateway.tell(&body).await.status, 200);
    assert_eq!(hub.asked().len(), asked, "what is there is not fetched again");
    let place = hub.url.trim_start_matches("http://");
    assert!(evidence.contains(&format!("{place}: hf:org/tiny@rev")), "the fetch is on the evidence log: {evidence}");
}
