//! LoRA adapters, merged into a safetensors base once.
//!
//! **Promise.** The merged weights are `W + scale * (alpha / r) * B A`, computed in F32 and stored in the base's own type,
//! in a folder of the cache whose name carries the digests of base and adapters; the base is not touched. An adapter
//! that asks for more than that (DoRA, trained biases, whole modules, other layouts) is refused instead of half applied.
//!
//! **Why not mistral.rs's own.** It asks the hub even for local folders and ignores `use_rslora` and rank patterns.
//!
//! **What it does not do.** No switching of adapters per request: base and base with adapter are two local models.

use super::convert::fingerprint;
use super::spec::LoraSpec;
use super::store::settle;
use candle_core::{DType, Device, Tensor};
use serde::Deserialize;
use serde_json::Value;
use sha2::{Digest, Sha256};
use std::collections::HashMap;
use std::path::{Path, PathBuf};

/// Changes when the same inputs would be merged differently.
const VERSION: u32 = 1;

/// What is read of `adapter_config.json`.
#[derive(Debug, Deserialize)]
pub(super) struct Config {
    r: u32,
    lora_alpha: f64,
    #[serde(default)]
    peft_type: Option<String>,
    #[serde(default)]
    use_rslora: Option<bool>,
    #[serde(default)]
    use_dora: Option<bool>,
    #[serde(default)]
    fan_in_fan_out: Option<bool>,
    #[serde(default)]
    bias: Option<String>,
    #[serde(default)]
    modules_to_save: Option<Vec<String>>,
    #[serde(default)]
    rank_pattern: Option<HashMap<String, Value>>,
    #[serde(default)]
    alpha_pattern: Option<HashMap<String, Value>>,
}

/// Both halves of a delta, and what to multiply it with.
struct Delta {
    a: Tensor,
    b: Tensor,
    scale: f64,
    transposed: bool,
}

/// Reads and checks an adapter's configuration.
pub(super) fn check_config(folder: &Path) -> Result<Config, String> {
    let shown = folder.display();
    let text = std::fs::read(folder.join("adapter_config.json"))
        .map_err(|error| format!("`{shown}` is no LoRA adapter: adapter_config.json: {error}"))?;
    let config: Config =
        serde_json::from_slice(&text).map_err(|error| format!("`{shown}/adapter_config.json`: {error}"))?;
    if !folder.join("adapter_model.safetensors").is_file() {
        return Err(format!("`{shown}` is no LoRA adapter: it has no adapter_model.safetensors"));
    }
    let full = |map: &Option<HashMap<String, Value>>| map.as_ref().is_some_and(|map| !map.is_empty());
    let refused = [
        (config.peft_type.as_deref().is_some_and(|kind| kind != "LORA"), "is not of the type LORA"),
        (config.use_dora == Some(true), "uses DoRA"),
        (config.bias.as_deref().is_some_and(|bias| bias != "none"), "trains biases"),
        (config.modules_to_save.as_ref().is_some_and(|modules| !modules.is_empty()), "replaces whole modules"),
        (full(&config.rank_pattern) || full(&config.alpha_pattern), "has ranks or alphas by pattern"),
        (config.r == 0, "has rank 0"),
    ];
    match refused.into_iter().find(|(bad, _)| *bad) {
        Some((_, why)) => Err(format!("the adapter `{shown}` {why}, which cannot be merged")),
        None => Ok(config),
    }
}

/// Checks that an adapter fits a base, by names and shapes, without reading the base's weights.
pub(super) fn check(folder: &Path, base: &Path) -> Result<(), String> {
    let config = check_config(folder)?;
    let deltas = deltas(&LoraSpec { path: folder.to_owned(), scale: 1.0 }, &config)?;
    let mut shapes = HashMap::new();
    for path in super::load::weights_in(base)? {
        shapes.extend(shapes_in(&path)?);
    }
    for (name, delta) in &deltas {
        let Some(shape) = shapes.get(name) else {
            return Err(format!(
                "the adapter `{}` changes `{name}`, which the base `{}` does not have",
                folder.display(),
                base.display()
            ));
        };
        if *shape != delta.shape() {
            return Err(format!(
                "the adapter `{}` does not fit the base: `{name}` is {shape:?} there and {:?} here",
                folder.display(),
                delta.shape()
            ));
        }
    }
    Ok(())
}

/// The base with its adapters merged, from the cache or made now; `None` without adapters.
pub(super) fn merge(
    adapters: &[LoraSpec],
    base: &Path,
    cache: &Path,
    progress: &dyn Fn(f32),
) -> Result<Option<PathBuf>, String> {
    if adapters.is_empty() {
        return Ok(None);
    }
    let weights = super::load::weights_in(base)?;
    let to = cache.join("merged").join(name(adapters, base, &weights)?);
    if to.join("config.json").is_file() {
        return Ok(Some(to));
    }
    let mut merged: Vec<HashMap<String, Delta>> = Vec::new();
    for adapter in adapters {
        check(&adapter.path, base)?;
        merged.push(deltas(adapter, &check_config(&adapter.path)?)?);
    }
    let text = |error: std::io::Error| error.to_string();
    let workshop = to.with_extension(format!("tmp-{}", std::process::id()));
    std::fs::create_dir_all(&workshop).map_err(text)?;
    for (at, path) in weights.iter().enumerate() {
        let mut tensors = candle_core::safetensors::load(path, &Device::Cpu).map_err(|error| error.to_string())?;
        for deltas in &merged {
            for (name, delta) in deltas {
                if let Some(weight) = tensors.get_mut(name) {
                    *weight = delta.add_to(weight).map_err(|error| format!("cannot merge `{name}`: {error}"))?;
                }
            }
        }
        let file = path.file_name().map(|name| workshop.join(name)).ok_or("a weights file without a name")?;
        candle_core::safetensors::save(&tensors, &file).map_err(|error| error.to_string())?;
        std::fs::File::open(&file).and_then(|file| file.sync_all()).map_err(text)?;
        progress((at + 1) as f32 / weights.len() as f32);
    }
    for file in std::fs::read_dir(base).map_err(text)?.flatten() {
        let beside = file.path().extension().is_some_and(|end| end == "json" || end == "jinja");
        if beside && file.file_name() != "model.safetensors.index.json" {
            std::fs::copy(file.path(), workshop.join(file.file_name())).map_err(text)?;
        }
    }
    settle(&workshop, &to).map_err(|error| error.to_string())?;
    Ok(Some(to))
}

fn name(adapters: &[LoraSpec], base: &Path, weights: &[PathBuf]) -> Result<String, String> {
    let mut hasher = Sha256::new();
    hasher.update(VERSION.to_le_bytes());
    for path in weights {
        hasher.update(fingerprint(path).map_err(|error| error.to_string())?);
    }
    for adapter in adapters {
        for file in ["adapter_config.json", "adapter_model.safetensors"] {
            hasher.update(
                fingerprint(&adapter.path.join(file))
                    .map_err(|error| format!("`{}/{file}`: {error}", adapter.path.display()))?,
            );
        }
        hasher.update(adapter.scale.to_le_bytes());
    }
    // What stands beside the weights decides how they are used.
    for file in ["config.json", "tokenizer.json", "tokenizer_config.json", "generation_config.json"] {
        hasher.update(std::fs::read(base.join(file)).unwrap_or_default());
    }
    let stem = base.file_name().and_then(|name| name.to_str()).unwrap_or("model");
    Ok(format!("{stem}-{}", &hex::encode(hasher.finalize())[..16]))
}

fn shapes_in(path: &Path) -> Result<HashMap<String, Vec<usize>>, String> {
    use std::io::Read;
    let text = |error: std::io::Error| format!("`{}`: {error}", path.display());
    let mut file = std::fs::File::open(path).map_err(text)?;
    let size = file.metadata().map_err(text)?.len();
    let mut len = [0; 8];
    file.read_exact(&mut len).map_err(text)?;
    let len = u64::from_le_bytes(len);
    if len > size {
        return Err(format!("`{}` is truncated or no safetensors file", path.display()));
    }
    let mut head = vec![0; len as usize];
    file.read_exact(&mut head).map_err(text)?;
    let head: HashMap<String, Value> =
        serde_json::from_slice(&head).map_err(|error| format!("`{}`: {error}", path.display()))?;
    let shape = |value: &Value| serde_json::from_value(value.get("shape")?.clone()).ok();
    Ok(head.iter().filter_map(|(name, value)| Some((name.clone(), shape(value)?))).collect())
}

fn deltas(adapter: &LoraSpec, config: &Config) -> Result<HashMap<String, Delta>, String> {
    let path = adapter.path.join("adapter_model.safetensors");
    let mut tensors = candle_core::safetensors::load(&path, &Device::Cpu)
        .map_err(|error| format!("`{}`: {error}", path.display()))?;
    let strange =
        |name: &str| format!("the adapter `{}` has a tensor `{name}`, which cannot be merged", adapter.path.display());
    let firsts: Vec<String> = tensors.keys().filter(|name| name.contains(".lora_A.")).cloned().collect();
    let mut deltas = HashMap::new();
    for first in firsts {
        let second = first.replace(".lora_A.", ".lora_B.");
        let (Some(a), Some(b)) = (tensors.remove(&first), tensors.remove(&second)) else { return Err(strange(&first)) };
        let module = first.split(".lora_A.").next().unwrap_or(&first);
        let module = module.strip_prefix("base_model.model.").unwrap_or(module);
        let (Ok(a), Ok(b)) = (a.to_dtype(DType::F32), b.to_dtype(DType::F32)) else { return Err(strange(&first)) };
        if a.rank() != 2 || b.rank() != 2 || a.dims()[0] != b.dims()[1] {
            return Err(strange(&first));
        }
        let rank = f64::from(config.r);
        let by = if config.use_rslora == Some(true) { rank.sqrt() } else { rank };
        let scale = config.lora_alpha / by * f64::from(adapter.scale);
        deltas
            .insert(format!("{module}.weight"), Delta { a, b, scale, transposed: config.fan_in_fan_out == Some(true) });
    }
    match tensors.keys().next() {
        Some(left) => Err(strange(left)),
        None if deltas.is_empty() => Err(format!("the adapter `{}` is empty", adapter.path.display())),
        None => Ok(deltas),
    }
}

// === impl Delta ===

impl Delta {
    fn shape(&self) -> Vec<usize> {
        let (out, into) = (self.b.dims()[0], self.a.dims()[1]);
        if self.transposed { vec![into, out] } else { vec![out, into] }
    }

    fn add_to(&self, weight: &Tensor) -> candle_core::Result<Tensor> {
        let product = (self.b.matmul(&self.a)? * self.scale)?;
        let product = if self.transposed { product.t()?.contiguous()? } else { product };
        (weight.to_dtype(DType::F32)? + product)?.to_dtype(weight.dtype())
    }
}
