//! From files to a running engine.
//!
//! **Promise.** Loading touches only the files that it is given: no hub, no token, no cache of mistral.rs's own (its loaders
//! are called with explicit paths). What makes its loaders panic or lie is looked at first: a cut-short GGUF, missing
//! files, an unknown architecture, OpenAI's Harmony templates (which download an encoding at the first request).
//!
//! **Failure behaviour.** Panics are caught by the caller, who runs this on a fresh thread: quantisation settings are
//! thread-locals in mistral.rs that are never cleared. Missing weights do not fail a load there, so the caller asks the
//! model for a token before it counts as ready.
//!
//! **What it does not do.** No pictures, no sound: the text loaders only. Gemma 3 is multimodal to mistral.rs and is not
//! loaded here; serve it with llama.cpp or vLLM as a *local* provider.

use super::gguf;
use super::line::Ends;
use super::spec::{LocalSpec, Quantize};
use super::template::{Specials, Template};
use super::{convert, lora};
use candle_core::Device;
use mistralrs_core::llguidance::ParserFactory;
use mistralrs_core::{
    AdapterPaths, ChatTemplate, DefaultSchedulerMethod, DeviceMapSetting, GGUFLoaderBuilder, GGUFSpecificConfig,
    IsqType, LocalModelPaths, MistralRs, MistralRsBuilder, ModelDType, ModelGenerationDefaults, ModelPaths,
    NormalLoaderBuilder, NormalSpecificConfig, Pipeline, Request, SchedulerConfig,
};
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokenizers::Tokenizer;
use tokio::sync::mpsc::Sender;

/// Architectures of GGUF files that mistral.rs runs; it panics on others.
const GGUF_ARCHITECTURES: &[&str] = &["llama", "mistral3", "phi2", "phi3", "starcoder2", "qwen2", "qwen3", "qwen3moe"];
/// Classes of safetensors folders that are text models there.
const CLASSES: &[&str] = &[
    "MistralForCausalLM",
    "MixtralForCausalLM",
    "GemmaForCausalLM",
    "Gemma2ForCausalLM",
    "LlamaForCausalLM",
    "PhiForCausalLM",
    "Phi3ForCausalLM",
    "Qwen2ForCausalLM",
    "Qwen3ForCausalLM",
    "Qwen3MoeForCausalLM",
    "Starcoder2ForCausalLM",
    "SmolLM3ForCausalLM",
    "DeepseekV2ForCausalLM",
    "DeepseekV3ForCausalLM",
    "Glm4ForCausalLM",
    "GraniteMoeHybridForCausalLM",
];
/// Tokens that end an answer wherever they are special tokens of a vocabulary.
const ENDS: &[&str] = &[
    "<|endoftext|>",
    "<|im_end|>",
    "</s>",
    "<eos>",
    "<end_of_turn>",
    "<|end_of_text|>",
    "<|eot_id|>",
    "<|end|>",
    "<|eom_id|>",
];
/// The KV cache grows in blocks of so many tokens and fails when the last one is not whole.
const CACHE_BLOCK: u64 = 512;

/// What is needed to speak to a model: immutable, shared with every request.
pub(super) struct Voice {
    pub(super) tokenizer: Arc<Tokenizer>,
    pub(super) template: Option<Template>,
    pub(super) grammars: Option<Arc<ParserFactory>>,
    pub(super) ends: Ends,
    /// Prompt and answer together, in tokens.
    pub(super) window: u64,
    /// The first token of bare prompts, where the model wants one.
    pub(super) bos: Option<u32>,
    pub(super) defaults: ModelGenerationDefaults,
    /// In bytes.
    pub(super) longest_token: u64,
}

/// A running engine.
pub(super) struct Loaded {
    pub(super) voice: Arc<Voice>,
    pub(super) sender: Sender<Request>,
    /// Dropping it ends the engine's thread.
    pub(super) engine: Arc<MistralRs>,
    /// Size of the files that were loaded.
    pub(super) bytes: u64,
    /// What was loaded.
    pub(super) path: PathBuf,
}

/// The weights of a model folder; also checks the rest of it.
pub(super) fn weights_in(folder: &Path) -> Result<Vec<PathBuf>, String> {
    let shown = folder.display();
    let files = std::fs::read_dir(folder).map_err(|error| format!("cannot read `{shown}`: {error}"))?;
    let mut weights: Vec<PathBuf> = files
        .flatten()
        .map(|file| file.path())
        .filter(|path| path.extension().is_some_and(|end| end == "safetensors"))
        .filter(|path| path.file_name().and_then(|name| name.to_str()).is_some_and(|name| name.starts_with("model")))
        .collect();
    weights.sort();
    if weights.is_empty() {
        return Err(format!("`{shown}` is no model folder: it has no model*.safetensors"));
    }
    for name in ["config.json", "tokenizer.json"] {
        if !folder.join(name).is_file() {
            return Err(format!("`{shown}` is no model folder: it has no {name}"));
        }
    }
    let config: serde_json::Value = std::fs::read(folder.join("config.json"))
        .ok()
        .and_then(|text| serde_json::from_slice(&text).ok())
        .ok_or_else(|| format!("`{shown}/config.json` is not JSON"))?;
    let class = config.pointer("/architectures/0").and_then(serde_json::Value::as_str).unwrap_or("none");
    if !CLASSES.contains(&class) {
        return Err(format!(
            "the engine does not run models of the class `{class}` (`{shown}`): serve it with vLLM or llama.cpp as a local provider"
        ));
    }
    Ok(weights)
}

/// Loads a model; blocks. `progress` hears the share done.
pub(super) fn load(spec: &LocalSpec, source: &Path, progress: &(dyn Fn(f32) + Sync)) -> Result<Loaded, String> {
    let pipeline =
        if source.is_file() { from_gguf(spec, source, progress)? } else { from_folder(spec, source, progress)? };
    progress(0.9);
    start(spec, pipeline)
}

struct Piped {
    pipeline: Arc<tokio::sync::Mutex<dyn Pipeline>>,
    bytes: u64,
    path: PathBuf,
    add_bos: bool,
    file_context: Option<u64>,
}

fn from_gguf(spec: &LocalSpec, source: &Path, progress: &dyn Fn(f32)) -> Result<Piped, String> {
    if !spec.lora.is_empty() {
        return Err("a LoRA adapter needs a safetensors base: the weights of a GGUF file are already rounded".into());
    }
    let header = gguf::read(source).map_err(|error| error.to_string())?;
    if !GGUF_ARCHITECTURES.contains(&header.architecture.as_str()) {
        return Err(format!(
            "the engine does not run GGUF files of the architecture `{}`: serve it with llama.cpp as a local provider",
            header.architecture
        ));
    }
    let path = convert::convert(source, spec.quantize, &spec.cache_dir, &|share| progress(share * 0.6))?;
    progress(0.6);
    let beside = |name: &str| source.parent().map(|folder| folder.join(name)).filter(|path| path.is_file());
    let paths: Box<dyn ModelPaths> = Box::new(LocalModelPaths::<PathBuf> {
        tokenizer_filename: PathBuf::new(),
        config_filename: PathBuf::new(),
        template_filename: None,
        filenames: vec![path.clone()],
        adapter_paths: AdapterPaths::None,
        gen_conf: beside("generation_config.json"),
        preprocessor_config: None,
        processor_config: None,
        chat_template_json_filename: None,
    });
    let name = spec.source.to_string();
    let loader =
        GGUFLoaderBuilder::new(None, None, name, vec![], GGUFSpecificConfig::default(), false, jinja(spec)).build();
    let pipeline = loader
        .load_model_from_path(&paths, &ModelDType::Auto, &Device::Cpu, true, DeviceMapSetting::dummy(), None, None)
        .map_err(|error| format!("{error:#}"))?;
    let bytes = std::fs::metadata(&path).map_or(0, |found| found.len());
    Ok(Piped { pipeline, bytes, path, add_bos: header.add_bos.unwrap_or(false), file_context: header.context_length })
}

fn from_folder(spec: &LocalSpec, source: &Path, progress: &dyn Fn(f32)) -> Result<Piped, String> {
    weights_in(source)?;
    let merged = lora::merge(&spec.lora, source, &spec.cache_dir, &|share| progress(share * 0.5))?;
    let folder = merged.as_deref().unwrap_or(source);
    let weights = weights_in(folder)?;
    progress(0.5);
    let has = |name: &str| Some(folder.join(name)).filter(|path| path.is_file());
    let bytes = weights.iter().filter_map(|path| std::fs::metadata(path).ok()).map(|found| found.len()).sum();
    let paths: Box<dyn ModelPaths> = Box::new(LocalModelPaths::<PathBuf> {
        tokenizer_filename: folder.join("tokenizer.json"),
        config_filename: folder.join("config.json"),
        template_filename: has("chat_template.jinja").or_else(|| has("tokenizer_config.json")),
        filenames: weights,
        adapter_paths: AdapterPaths::None,
        gen_conf: has("generation_config.json"),
        preprocessor_config: None,
        processor_config: None,
        chat_template_json_filename: has("chat_template.json"),
    });
    let isq = match spec.quantize {
        // The folder's numbers are read as 32 bits wide, so that is what these leave them.
        Quantize::Off | Quantize::Dense => None,
        Quantize::Auto | Quantize::Q8_0 => Some(IsqType::Q8_0),
        Quantize::Q4_0 => Some(IsqType::Q4_0),
        Quantize::Q4K => Some(IsqType::Q4K),
        Quantize::Q6K => Some(IsqType::Q6K),
    };
    let loader = NormalLoaderBuilder::new(
        NormalSpecificConfig::default(),
        None,
        None,
        Some(spec.source.to_string()),
        false,
        jinja(spec),
    )
    .build(None)
    .map_err(|error| format!("{error:#}"))?;
    let pipeline = loader
        .load_model_from_path(&paths, &ModelDType::F32, &Device::Cpu, true, DeviceMapSetting::dummy(), isq, None)
        .map_err(|error| format!("{error:#}"))?;
    Ok(Piped { pipeline, bytes, path: folder.to_owned(), add_bos: false, file_context: None })
}

fn jinja(spec: &LocalSpec) -> Option<String> {
    spec.chat_template.as_ref().map(|path| path.display().to_string())
}

fn start(spec: &LocalSpec, piped: Piped) -> Result<Loaded, String> {
    let (tokenizer, chat, metadata, defaults) = {
        let pipeline = piped.pipeline.try_lock().map_err(|error| error.to_string())?;
        let tokenizer = pipeline.tokenizer().ok_or("the model has no tokenizer")?;
        (
            tokenizer,
            pipeline.get_chat_template(),
            pipeline.get_metadata(),
            pipeline.generation_defaults().unwrap_or_default(),
        )
    };
    if chat.as_ref().is_some_and(|chat| chat.is_harmony_format()) {
        return Err("models that speak OpenAI's Harmony format are not run in process: serve this one with vLLM or llama.cpp as a local provider".into());
    }
    let Some(engine_end) = metadata.eos_tok.first().copied() else {
        return Err("the model names no end token".into());
    };
    let mut ends = metadata.eos_tok.clone();
    let known = tokenizer.get_added_tokens_decoder();
    ends.extend(
        known.iter().filter(|(_, token)| token.special && ENDS.contains(&token.content.as_str())).map(|(id, _)| *id),
    );
    ends.sort_unstable();
    ends.dedup();

    let own = piped.file_context.unwrap_or(metadata.max_seq_len as u64).min(metadata.max_seq_len as u64);
    let whole_blocks = if own >= CACHE_BLOCK { own / CACHE_BLOCK * CACHE_BLOCK } else { own };
    let window = spec.context_window.map_or(whole_blocks, |lower| lower.min(whole_blocks)).max(2);
    let bos = chat
        .as_ref()
        .and_then(|chat| chat.bos_tok())
        .filter(|_| piped.add_bos)
        .and_then(|bos| tokenizer.token_to_id(&bos));
    let vocabulary = tokenizer.get_vocab_size(true);
    let longest_token = tokenizer.get_vocab(true).keys().map(|token| token.len() as u64).max().unwrap_or(1);
    let voice = Voice {
        template: chat.as_deref().map(compile).transpose()?.flatten(),
        tokenizer,
        grammars: metadata.llg_factory.clone(),
        ends: Ends { tokens: ends.into(), engine: engine_end, vocabulary },
        window,
        bos,
        defaults,
        longest_token,
    };
    // Together, sequences would share the first one's cache: see `DEFAULT_CONCURRENCY`.
    let method = SchedulerConfig::DefaultScheduler { method: DefaultSchedulerMethod::Fixed(NonZeroUsize::MIN) };
    // Without the prefix cache: on a CPU it never evicts, and its hits change what greedy decoding says.
    let builder = MistralRsBuilder::new(piped.pipeline, method, false, None).with_no_prefix_cache(true);
    let engine = futures::executor::block_on(builder.build());
    let sender = engine.get_sender(None).map_err(|error| error.to_string())?;
    Ok(Loaded { voice: Arc::new(voice), sender, engine, bytes: piped.bytes, path: piped.path })
}

/// Compiles the template; models may have one for tools beside the usual one.
fn compile(chat: &ChatTemplate) -> Result<Option<Template>, String> {
    let specials = Specials { bos: chat.bos_tok(), eos: chat.eos_tok(), unk: chat.unk_tok() };
    let Some(source) = &chat.chat_template else { return Ok(None) };
    if let Some(one) = source.0.as_ref().left() {
        return Template::new(one, None, specials).map(Some);
    }
    let named = |wanted: &str| {
        source.0.as_ref().right().and_then(|list| {
            let entry = list.iter().find(|entry| entry.get("name").is_some_and(|name| name == wanted));
            entry.and_then(|entry| entry.get("template")).or_else(|| list.iter().find_map(|entry| entry.get(wanted)))
        })
    };
    match named("default") {
        Some(plain) => Template::new(plain, named("tool_use").map(String::as_str), specials).map(Some),
        None => Err("the model has several chat templates and none is named `default`".into()),
    }
}
