#!/usr/bin/env python3
"""Writes tiny randomly initialised models in their real on-disk format (config, tokenizer, template, safetensors), one
folder each for Llama, Mistral, Qwen2, Qwen3, Phi-3, Gemma and Gemma 2, and a LoRA adapter for the Llama one.

usage: make_tiny.py OUT [ARCHITECTURE ...]

Needs the standard library only. Shapes and names are those of transformers, as mistral.rs 0.8.1 reads them. The vocabulary
is ASCII on purpose: random bytes would end inside UTF-8 characters."""
import json, os, random, struct, sys

H, L, HEADS, KV, HD, INTER, CTX = 64, 2, 4, 2, 16, 128, 2048        # CTX: a multiple of 512 (KV cache grows by 512)

def byte_map():                                                      # GPT-2 bytes_to_unicode
    keep = list(range(33, 127)) + list(range(161, 173)) + list(range(174, 256))
    m, n = {b: chr(b) for b in keep}, 0
    for b in range(256):
        if b not in m:
            m[b] = chr(256 + n); n += 1
    return m

def tokenizer(ascii_only=True, size=300):
    m = byte_map()
    bytes_ = ([9, 10, 13] + list(range(32, 127))) if ascii_only else list(range(256))
    toks, merges = [m[b] for b in bytes_], []
    pieces = [x + y for x in "etaoinshrdlcumwfgypbvk" for y in "eaoithnsr"]
    specials = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<pad>"]
    for p in pieces:
        if len(toks) + len(specials) >= size: break
        if p not in toks:
            toks.append(p); merges.append([p[0], p[1]])
    vocab = {t: i for i, t in enumerate(toks)}
    added = [{"id": len(toks) + i, "content": s, "single_word": False, "lstrip": False, "rstrip": False,
              "normalized": False, "special": True} for i, s in enumerate(specials)]
    for a in added: vocab[a["content"]] = a["id"]
    bl = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
    return {"version": "1.0", "truncation": None, "padding": None, "added_tokens": added, "normalizer": None,
            "pre_tokenizer": bl, "post_processor": None, "decoder": bl,
            "model": {"type": "BPE", "dropout": None, "unk_token": None, "continuing_subword_prefix": None,
                      "end_of_word_suffix": None, "fuse_unk": False, "byte_fallback": False, "ignore_merges": False,
                      "vocab": vocab, "merges": merges}}

TEMPLATE = ("{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
            "{% if tools %}<|im_start|>system\n{{ tools | tojson }}<|im_end|>\n{% endif %}"
            "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}")

def config(arch, vocab):
    c = {"architectures": [{"llama": "LlamaForCausalLM", "mistral": "MistralForCausalLM", "qwen2": "Qwen2ForCausalLM",
                            "qwen3": "Qwen3ForCausalLM", "phi3": "Phi3ForCausalLM", "gemma": "GemmaForCausalLM",
                            "gemma2": "Gemma2ForCausalLM"}[arch]],
         "model_type": arch, "vocab_size": vocab, "hidden_size": H, "intermediate_size": INTER, "num_hidden_layers": L,
         "num_attention_heads": HEADS, "num_key_value_heads": KV, "hidden_act": "silu", "max_position_embeddings": CTX,
         "rms_norm_eps": 1e-6, "rope_theta": 10000.0, "tie_word_embeddings": False}
    if arch == "qwen3": c |= {"head_dim": HD, "use_sliding_window": False, "max_window_layers": L, "sliding_window": None}
    if arch == "qwen2": c |= {"sliding_window": None}
    if arch == "mistral": c |= {"sliding_window": None, "head_dim": HD}
    if arch == "phi3": c |= {"original_max_position_embeddings": CTX, "sliding_window": None, "rope_scaling": None}
    if arch in ("gemma", "gemma2"):
        c |= {"attention_bias": False, "head_dim": HD, "hidden_activation": None, "hidden_act": "gelu_pytorch_tanh",
              "tie_word_embeddings": True}
    if arch == "gemma2":
        c |= {"sliding_window": 1024, "attn_logit_softcapping": 50.0, "final_logit_softcapping": 30.0,
              "query_pre_attn_scalar": HD}
    return c

def tensors(arch, vocab):
    q, kv = HEADS * HD, KV * HD
    t = {"model.embed_tokens.weight": (vocab, H), "model.norm.weight": (H,)}
    if arch not in ("gemma", "gemma2"): t["lm_head.weight"] = (vocab, H)
    for i in range(L):
        p = f"model.layers.{i}."
        t[p + "input_layernorm.weight"] = (H,); t[p + "post_attention_layernorm.weight"] = (H,)
        t[p + "self_attn.o_proj.weight"] = (H, q); t[p + "mlp.down_proj.weight"] = (H, INTER)
        if arch == "phi3":
            t[p + "self_attn.qkv_proj.weight"] = (q + 2 * kv, H); t[p + "mlp.gate_up_proj.weight"] = (2 * INTER, H)
            continue
        t[p + "self_attn.q_proj.weight"] = (q, H)
        t[p + "self_attn.k_proj.weight"] = (kv, H); t[p + "self_attn.v_proj.weight"] = (kv, H)
        t[p + "mlp.gate_proj.weight"] = (INTER, H); t[p + "mlp.up_proj.weight"] = (INTER, H)
        if arch == "qwen2":
            t[p + "self_attn.q_proj.bias"] = (q,); t[p + "self_attn.k_proj.bias"] = (kv,); t[p + "self_attn.v_proj.bias"] = (kv,)
        if arch == "qwen3":
            t[p + "self_attn.q_norm.weight"] = (HD,); t[p + "self_attn.k_norm.weight"] = (HD,)
        if arch == "gemma2":
            t[p + "pre_feedforward_layernorm.weight"] = (H,); t[p + "post_feedforward_layernorm.weight"] = (H,)
    return t

def save(path, shapes, gemma, seed):
    rnd, head, blobs, off = random.Random(seed), {}, [], 0
    for name, shape in shapes.items():
        n = 1
        for d in shape: n *= d
        if "norm" in name: vals = [0.0 if gemma else 1.0] * n          # Gemma applies w + 1
        else: vals = [rnd.gauss(0, 0.3) for _ in range(n)]             # 0.3: peaked enough to be interesting
        b = struct.pack(f"<{n}f", *vals)
        head[name] = {"dtype": "F32", "shape": list(shape), "data_offsets": [off, off + len(b)]}
        blobs.append(b); off += len(b)
    h = json.dumps(head).encode(); h += b" " * (-len(h) % 8)
    with open(path, "wb") as f:
        f.write(struct.pack("<Q", len(h)) + h)
        for b in blobs: f.write(b)

def lora(out, rank=4):
    """An adapter in PEFT's format that changes q_proj and v_proj of the Llama model."""
    d = os.path.join(out, "llama-lora"); os.makedirs(d, exist_ok=True)
    config = {"peft_type": "LORA", "r": rank, "lora_alpha": 2 * rank, "target_modules": ["q_proj", "v_proj"],
              "bias": "none", "fan_in_fan_out": False, "base_model_name_or_path": "llama", "task_type": "CAUSAL_LM"}
    json.dump(config, open(os.path.join(d, "adapter_config.json"), "w"), indent=1)
    shapes = {}
    for i in range(L):
        for name, rows in (("q_proj", HEADS * HD), ("v_proj", KV * HD)):
            p = f"base_model.model.model.layers.{i}.self_attn.{name}."
            shapes[p + "lora_A.weight"] = (rank, H); shapes[p + "lora_B.weight"] = (rows, rank)
    save(os.path.join(d, "adapter_model.safetensors"), shapes, False, 11)

def main(out, archs):
    lora(out)
    for arch in archs:
        d = os.path.join(out, arch); os.makedirs(d, exist_ok=True)
        tok = tokenizer(); vocab = len(tok["model"]["vocab"])
        dump = lambda n, v: json.dump(v, open(os.path.join(d, n), "w"), ensure_ascii=False, indent=1)
        dump("tokenizer.json", tok); dump("config.json", config(arch, vocab))
        dump("tokenizer_config.json", {"bos_token": None, "eos_token": "<|endoftext|>", "unk_token": None,
                                       "pad_token": "<pad>", "chat_template": TEMPLATE, "model_max_length": CTX})
        eos = [a["id"] for a in tok["added_tokens"] if a["content"] in ("<|endoftext|>", "<|im_end|>")]
        dump("generation_config.json", {"eos_token_id": eos})
        save(os.path.join(d, "model.safetensors"), tensors(arch, vocab), arch.startswith("gemma"), 7)

if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:] or ["llama", "mistral", "qwen2", "qwen3", "phi3", "gemma", "gemma2"])
