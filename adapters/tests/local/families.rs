//! The families that users ask for, each as a tiny randomly initialised model in its real on-disk format.
//!
//! Their answers mean nothing; that they load, stream, count and end is what is shown.

use crate::support::{chat, runtime, variable};
use adapters::local::{LocalEngine, LocalSpec, LoraSpec, Quantize, Source, SpecError, validate};
use policies::Readiness;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, OnceLock};

const FAMILIES: [&str; 7] = ["llama", "mistral", "qwen2", "qwen3", "phi3", "gemma", "gemma2"];

fn models() -> &'static Path {
    static MODELS: OnceLock<(tempfile::TempDir, PathBuf)> = OnceLock::new();
    let (_, path) = MODELS.get_or_init(|| {
        let folder = tempfile::tempdir().unwrap();
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/models/make_tiny.py");
        let made =
            Command::new(variable("SLUICE_TEST_PYTHON", "python3")).arg(script).arg(folder.path()).status().unwrap();
        assert!(made.success());
        let path = folder.path().to_owned();
        (folder, path)
    });
    path
}

fn spec(family: &str) -> LocalSpec {
    LocalSpec::new("in-process".into(), Source::Path(models().join(family)), models().join("cache"))
}

fn load(spec: LocalSpec) -> Arc<LocalEngine> {
    validate(&spec).unwrap();
    let engine = LocalEngine::spawn(spec.clone());
    assert_eq!(runtime().block_on(engine.settled()), Readiness::Ready, "{:?}", spec.source);
    engine
}

fn prompt(more: Value) -> Value {
    let mut body = json!({"model": "m", "messages": [{"role": "system", "content": "s"}, {"role": "user", "content": "hello there"}], "temperature": 0, "max_tokens": 12});
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    body
}

#[test]
fn every_family_loads_and_answers_through_the_same_path() {
    for family in FAMILIES {
        for quantize in [Quantize::Auto, Quantize::Off] {
            let engine = load(LocalSpec { quantize, ..spec(family) });
            let answer = chat(&engine, prompt(json!({}))).unwrap();
            assert!(
                answer.completion == 12 && answer.finish == "length" || answer.finish == "stop",
                "{family}: {answer:?}"
            );
            assert_eq!(answer.whole["usage"]["prompt_tokens"], answer.prompt);
            assert_eq!(chat(&engine, prompt(json!({}))).unwrap().text, answer.text, "{family}: greedy repeats");
            let digits = chat(&engine, prompt(json!({"guided_regex": "[0-9]{4}"}))).unwrap();
            assert!(digits.text.len() == 4 && digits.text.chars().all(|c| c.is_ascii_digit()), "{family}: {digits:?}");
        }
    }
}

#[test]
fn an_adapter_is_merged_once_and_changes_the_answer() {
    let more = || json!({"max_tokens": 24, "logprobs": true});
    let base = chat(&load(spec("llama")), prompt(more())).unwrap();
    let with =
        |scale: f32| LocalSpec { lora: vec![LoraSpec { path: models().join("llama-lora"), scale }], ..spec("llama") };
    let adapted = chat(&load(with(1.0)), prompt(more())).unwrap();
    assert_ne!(adapted.whole["choices"], base.whole["choices"]);
    let nothing = chat(&load(with(0.0)), prompt(more())).unwrap();
    assert_eq!(nothing.whole["choices"], base.whole["choices"], "an adapter of weight 0 changes nothing");
    let merged = || std::fs::read_dir(models().join("cache/merged")).unwrap().count();
    let before = merged();
    assert_eq!(chat(&load(with(1.0)), prompt(more())).unwrap().whole["choices"], adapted.whole["choices"]);
    assert_eq!(merged(), before, "the merged copy is used again");
}

#[test]
fn an_adapter_that_does_not_fit_is_found_before_loading() {
    let lora = |path: PathBuf| vec![LoraSpec { path, scale: 1.0 }];
    let says = |spec: &LocalSpec| {
        let Err(SpecError::Adapter(says)) = validate(spec) else { panic!("it fits") };
        says
    };
    let phi = LocalSpec { lora: lora(models().join("llama-lora")), ..spec("phi3") };
    assert!(says(&phi).contains("does not have"), "{}", says(&phi));
    let none = LocalSpec { lora: lora(models().join("qwen2")), ..spec("llama") };
    assert!(says(&none).contains("no LoRA adapter"), "{}", says(&none));
    let gguf = LocalSpec { lora: lora(models().join("llama-lora")), ..crate::support::smollm2_spec() };
    assert!(says(&gguf).contains("safetensors"), "{}", says(&gguf));
}

#[test]
fn folders_that_are_no_models_are_named() {
    let says =
        |path: PathBuf| validate(&LocalSpec { source: Source::Path(path), ..spec("llama") }).unwrap_err().to_string();
    assert!(says(models().to_owned()).contains("no model*.safetensors"));
    let strange = models().join("strange");
    std::fs::create_dir_all(&strange).unwrap();
    for file in ["model.safetensors", "tokenizer.json"] {
        std::fs::copy(models().join("llama").join(file), strange.join(file)).unwrap();
    }
    std::fs::write(strange.join("config.json"), r#"{"architectures":["BertModel"]}"#).unwrap();
    assert!(says(strange).contains("BertModel"));
}
