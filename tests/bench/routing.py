#!/usr/bin/env python3
"""What the shipped head is worth: prints the tables and writes them into the page. Run by scripts/bench-routing.

Figures and intervals come from the pack's own eval.py, scores from the built binary: nothing of the product's own
measuring is believed here. Needs numpy and scikit-learn (the script makes a virtual environment for them).
"""
import argparse, gzip, hashlib, json, os, pathlib, re, resource, subprocess, sys, tempfile, time
import numpy as np

ap = argparse.ArgumentParser(description=__doc__)
ap.add_argument("--data", required=True); ap.add_argument("--sluice", required=True); ap.add_argument("--out", required=True)
ap.add_argument("--cache", required=True); ap.add_argument("--draws", type=int, default=5); ap.add_argument("--only", help="one of dev, everyday, workloads, time, training"); ap.add_argument("--bootstrap", type=int, default=1000)
A = ap.parse_args()
sys.path.insert(0, A.data)
from eval import auroc, boot, calibration, ci, metrics  # noqa: E402

ROOT = pathlib.Path(__file__).resolve().parents[2]
EVERYDAY = [ROOT / "router/assets/everyday/part1.jsonl", ROOT / "router/assets/everyday/part2.jsonl"]
WORK = pathlib.Path(tempfile.mkdtemp(prefix="sluice-routing-"))
LINES = []


def say(line=""):
    print(line, flush=True)
    LINES.append(line)


def note(line):
    print(line, file=sys.stderr, flush=True)


def load(path):
    opened = gzip.open(path, "rt", encoding="utf-8") if str(path).endswith(".gz") else open(path, encoding="utf-8")
    with opened as f:
        return [json.loads(line) for line in f if line.strip()]


def write(name, rows):
    path = WORK / name
    with open(path, "w", encoding="utf-8") as f:
        for row in rows:
            f.write(json.dumps(row) + "\n")
    return path


def sluice(*arguments):
    done = subprocess.run([A.sluice, "classifier", *map(str, arguments)], capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"sluice classifier {arguments}: {done.stderr}")
    return done.stdout


def embeddings(encoder):
    return ["--embeddings", A.cache] if encoder else ["--no-encoder"]


def score(rows, head=None, encoder=True, heuristic=False):
    source = write("in.jsonl", [{k: r[k] for k in ("id", "prompt", "messages", "tools") if k in r} for r in rows])
    extra = ["--head", head] if head else []
    extra += ["--heuristic"] if heuristic else embeddings(encoder)
    sluice("score", "--in", source, "--out", WORK / "out.jsonl", *extra)
    found = {r["id"]: r["score"] for r in load(WORK / "out.jsonl")}
    return np.array([found[r["id"]] for r in rows])


def qualities(rows):
    return np.array([r["q_weak"] for r in rows], float), np.array([r["q_strong"] for r in rows], float)


def family(row):
    return "llmrouter" if row["source"].startswith("llmrouter") else row["source"]


def cell(value, interval, digits=3):
    return f"{value:.{digits}f} [{interval[0]:.{digits}f}, {interval[1]:.{digits}f}]"


def against(marks):
    """One line that says of each mark whether it is met: (what, value, mark, "least" or "most", how it is written)."""
    told = []
    for what, value, mark, side, form in marks:
        met = value >= mark if side == "least" else value <= mark
        told.append(f"{what} {form.format(value)}, at {side} {form.format(mark)}: {'met' if met else '**missed**'}")
    say()
    say("Marks: " + "; ".join(told) + ".")


def tfidf(train, rows):
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    words = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True, min_df=2)
    model = LogisticRegression(C=1.0, solver="liblinear")
    model.fit(words.fit_transform([r["prompt"] for r in train]), [r["need_strong"] for r in train])
    return model.predict_proba(words.transform([r["prompt"] for r in rows]))[:, 1]


def table_dev(train, dev):
    note("dev")
    rng = np.random.default_rng(0)
    length = np.log1p([len(r["prompt"]) for r in dev])
    shipped = {}
    judges = [
        ("random", rng.random(len(dev)), False),
        ("length of the prompt", (length - length.min()) / np.ptp(length), False),
        ("heuristic (hand-set weights, no training)", score(dev, heuristic=True), False),
        ("TF-IDF of words and pairs + logistic regression (scikit-learn)", tfidf(train, dev), True),
        ("**probe without encoder**", score(dev, encoder=False), True),
        ("**probe with encoder (as shipped)**", score(dev), True),
    ]
    families = ["all", "routellm_mmlu", "mmlu_pro", "llmrouter", "zeroeval_crux", "zeroeval_math-l5"]
    of = {f: np.array([i for i, r in enumerate(dev) if f in ("all", family(r))]) for f in families}
    weak, strong = qualities(dev)
    say("| APGR (random .5) | " + " | ".join(f"{f}, {len(of[f]):,}" for f in families) + " |")
    say("| --- |" + " --- |" * len(families))
    more = []
    for name, scores, _ in judges:
        cells = []
        for f in families:
            i = of[f]
            found = metrics(scores[i], weak[i], strong[i], ())
            drawn = boot([scores[i]], weak[i], strong[i], A.bootstrap, 1)[0]
            cells.append(cell(found["apgr"], ci(drawn["apgr"])))
            if "as shipped" in name:
                shipped[f] = found["apgr"]
            if f == "all":
                more.append((name, found, drawn, scores))
        say(f"| {name} | " + " | ".join(cells) + " |")
    say("| RouteLLM, published: best router | | .603 (MMLU), .622 (GSM8K), .802 (MT-Bench, 72 prompts) | | | | |")
    say()
    say("| all of dev | CPT(50) | CPT(80) | AUROC | Brier | ECE |")
    say("| --- | --- | --- | --- | --- | --- |")
    need = (strong > weak).astype(float)
    for name, found, drawn, scores in more:
        brier, ece = calibration(np.clip(scores, 0, 1), need)
        cells = [cell(found[k], ci(drawn[k])) for k in ("cpt50", "cpt80", "auroc_need")]
        say(f"| {name} | " + " | ".join(cells) + f" | {brier:.3f} | {ece:.3f} |")
        if "as shipped" in name:
            shipped["ece"] = ece
    base = dict((name, scores) for name, scores, _ in judges)
    pair = [base["**probe with encoder (as shipped)**"], base["TF-IDF of words and pairs + logistic regression (scikit-learn)"]]
    drawn = boot(pair, weak, strong, A.bootstrap, 2)
    difference = np.array(drawn[0]["apgr"]) - np.array(drawn[1]["apgr"])
    say()
    say(f"Probe with encoder less TF-IDF + logistic regression, pooled APGR: {difference.mean():+.3f} "
        f"[{ci(difference)[0]:+.3f}, {ci(difference)[1]:+.3f}].")
    goals = [("pooled", "all", .65, .67), ("MMLU", "routellm_mmlu", .63, .66), ("MMLU-Pro", "mmlu_pro", .59, .60)]
    against([(what, shipped[of], mark, "least", "{:.3f}") for what, of, mark, _ in goals]
            + [("ECE", shipped["ece"], .03, "most", "{:.3f}")]
            + [(f"stretch, {what}", shipped[of], stretch, "least", "{:.3f}") for what, of, _, stretch in goals])


def held_back(row):
    return hashlib.sha256(row["id"].encode()).digest()[0] % 2 == 1


def table_everyday():
    note("everyday")
    rows = [r for path in EVERYDAY for r in load(path) if held_back(r)]
    need = np.array([r["need"] for r in rows])
    clear = (need <= .25) | (need >= .7)
    greeting = np.array([r["category"] == "greeting" and r["need"] <= .25 for r in rows])
    told = json.loads(sluice("eval", "--data", EVERYDAY[0], "--bootstrap", 2, "--json", *embeddings(True)))
    plain = json.loads(sluice("eval", "--data", EVERYDAY[0], "--bootstrap", 2, "--json", "--no-encoder"))
    say(f"{len(rows)} held-back prompts, {int((need <= .25).sum())} of them easy (graded .25 or less), "
        f"{int((need >= .7).sum())} hard (.7 or more), {int(greeting.sum())} greetings.")
    say()
    counted = json.loads(sluice("eval", "--data", *EVERYDAY, "--bootstrap", 2, "--json", *embeddings(True)))
    say(f"The guard calls {counted['far']} of them far (with encoder).")
    say()
    say("| | AUROC easy against hard | share hosted, cold, goal 30% | of the easy | of the hard | greetings hosted |")
    say("| --- | --- | --- | --- | --- | --- |")
    rng = np.random.default_rng(3)
    length = np.log1p([len(r.get("prompt") or json.dumps(r["messages"])) for r in rows])
    for name, scores, threshold in [
        ("length", length, None),
        ("heuristic", score(rows, heuristic=True), None),
        ("probe without encoder", score(rows, encoder=False), plain["cold"][70]),
        ("probe with encoder", score(rows), told["cold"][70]),
    ]:
        value = auroc(scores[clear], need[clear] >= .7)
        drawn = []
        for _ in range(A.bootstrap):
            i = rng.choice(np.flatnonzero(clear), clear.sum())
            drawn.append(auroc(scores[i], need[i] >= .7))
        if threshold is None:
            say(f"| {name} | {cell(value, ci(drawn))} | | | | |")
            continue
        hosted = scores >= threshold
        say(f"| {name} | {cell(value, ci(drawn))} | {hosted.mean():.0%} | {hosted[need <= .25].mean():.0%} | "
            f"{hosted[need >= .7].mean():.0%} | {int(hosted[greeting].sum())} of {int(greeting.sum())} |")
    scores = score(rows)
    say()
    say("| kind of prompt (with encoder) | AUROC | prompts |")
    say("| --- | --- | --- |")
    for category in sorted({r["category"] for r in rows}):
        i = clear & np.array([r["category"] == category for r in rows])
        say(f"| {category} | {auroc(scores[i], need[i] >= .7):.2f} | {int(i.sum())} |")
    say()
    follow_ups(rows)


def follow_ups(rows):
    """Does a judgement stay with what a follow-up follows?"""
    turns = [r for r in rows if "messages" in r and sum(m["role"] == "user" for m in r["messages"]) > 1]
    if len(turns) < 10:
        return
    need = np.array([r["need"] for r in turns])
    alone = [{"id": r["id"], "prompt": [m["content"] for m in r["messages"] if m["role"] == "user"][-1]} for r in turns]
    whole, last = score(turns), score(alone)
    say(f"Follow-ups: {len(turns)} held-back conversations with an earlier user turn. Rank correlation of the score with the "
        f"grade {spearman(whole, need):.2f} when the conversation is read, {spearman(last, need):.2f} when the last turn is read alone.")


def spearman(a, b):
    rank = lambda v: np.argsort(np.argsort(v))
    return float(np.corrcoef(rank(a), rank(b))[0, 1])


def table_workloads(train, dev):
    note("new workloads")
    say("| left out | rows of its own | APGR of the base | adapted, before the gate | after the gate | accepted | gain after the gate |")
    say("| --- | --- | --- | --- | --- | --- | --- |")
    gains, worst = [], 1.0
    path = pathlib.Path(A.data) / "train.jsonl.gz"
    for source in ["mmlu_pro", "routellm_mmlu", "zeroeval_crux", "zeroeval_math-l5"]:
        base = WORK / f"without-{source}.head"
        sluice("train", "--data", path, *EVERYDAY, "--without", source, "--out", base, *embeddings(True))
        own = [r for r in train if r["source"] == source]
        found = {"base": [], "new": [], "kept": [], "accepted": []}
        for draw in range(A.draws):
            rng = np.random.default_rng(100 + draw)
            take = rng.permutation(len(own))
            rows = [own[i] for i in take[:400]]
            groups = {r["group"] for r in rows}
            rest = [own[i] for i in take[400:1900] if own[i]["group"] not in groups]
            test = rest + [r for r in dev if r["source"] == source and r["group"] not in groups]
            head = WORK / "adapted.head"
            told = json.loads(sluice("train", "--base", base, "--data", write("own.jsonl", rows), "--out", head, "--seed", draw + 1, "--name", "own", "--json", *embeddings(True)))
            weak, strong = qualities(test)
            apgr = lambda scores: metrics(scores, weak, strong, ())["apgr"]
            before, after = apgr(score(test, base)), apgr(score(test, head))
            found["base"].append(before); found["kept"].append(after); found["accepted"].append(told["accepted"])
            if told["accepted"]:
                found["new"].append(after)
            gains.append(after - before); worst = min(worst, after - before)
            note(f"  {source} {draw}: {before:.3f} -> {after:.3f} accepted {told['accepted']} gate {told['gate']}")
        mean = {k: np.mean(v) if v else float("nan") for k, v in found.items()}
        gain = np.array(found["kept"]) - np.array(found["base"])
        say(f"| {source} | {min(400, len(own))} | {mean['base']:.3f} | {mean['new']:.3f} | {mean['kept']:.3f} | "
            f"{sum(found['accepted'])} of {A.draws} | {gain.mean():+.3f} ({gain.min():+.3f} to {gain.max():+.3f}) |")
    drawn = [np.mean(np.random.default_rng(i).choice(gains, len(gains))) for i in range(1000)]
    say()
    say(f"Mean gain over {len(gains)} draws: {np.mean(gains):+.3f} [{ci(drawn)[0]:+.3f}, {ci(drawn)[1]:+.3f}]; worst draw {worst:+.3f}.")
    against([("mean gain", np.mean(gains), .04, "least", "{:+.3f}"), ("worst draw", worst, 0.0, "least", "{:+.3f}")])


def table_time():
    note("time")
    told = json.loads(sluice("time", "--json"))
    say("| one judgement, 107 tokens, one core | p50 | p99 |")
    say("| --- | --- | --- |")
    for row in told["rows"]:
        say(f"| {row['what']} | {row['p50_us'] / 1000:.4f} ms | {row['p99_us'] / 1000:.4f} ms |")
    # In the order of the rows: with the encoder, without, repeated.
    against([(row["what"], row["p50_us"] / 1000, mark, "most", "{:.4g} ms")
             for row, mark in zip(told["rows"], [12, .5, .05], strict=True)])


def table_training(train, dev, wanted=20_000):
    """How long 20,000 rows take: reading, embedding, five folds of every part, mixing. Nothing is taken from a cache."""
    note("training")
    rows = [train[at] for at in np.random.default_rng(1).permutation(len(train))[:wanted]]
    source, head = write("training.jsonl", rows), WORK / "training.head"
    used = lambda: sum(resource.getrusage(resource.RUSAGE_CHILDREN)[:2])
    busy, before, started = os.getloadavg()[0], used(), time.monotonic()
    told = json.loads(sluice("train", "--data", source, "--out", head, "--json"))
    took, cpu = time.monotonic() - started, used() - before
    cores = len(os.sched_getaffinity(0))
    weak, strong = qualities(dev)
    scores = score(dev, head)
    boots = boot([scores], weak, strong, A.bootstrap, 1)[0]
    apgr = lambda s, w, q: metrics(s, w, q, ())["apgr"]
    say("| rows | cores | seconds | processor seconds | load average before | APGR on dev |")
    say("| --- | --- | --- | --- | --- | --- |")
    say(f"| {told['rows']:,} | {cores} | {took:.0f} | {cpu:.0f} | {busy:.1f} | {cell(apgr(scores, weak, strong), ci(boots['apgr']))} |")
    against([("seconds", took, 300, "most", "{:.0f}")])


def main():
    train, dev = load(f"{A.data}/train.jsonl.gz"), load(f"{A.data}/dev.jsonl.gz")
    for title, table in [
        ("dev", lambda: table_dev(train, dev)),
        ("everyday", table_everyday),
        ("workloads", lambda: table_workloads(train, dev)),
        ("time", table_time),
        ("training", lambda: table_training(train, dev)),
    ]:
        if A.only not in (None, title):
            continue
        LINES.clear()
        table()
        print(flush=True)
        page = pathlib.Path(A.out)
        text = page.read_text(encoding="utf-8")
        marks = (f"<!-- {title}: made by scripts/bench-routing -->", f"<!-- end of {title} -->")
        if marks[0] not in text:
            raise SystemExit(f"{page} has no place for {title}")
        start, end = text.index(marks[0]) + len(marks[0]), text.index(marks[1])
        page.write_text(text[:start] + "\n" + "\n".join(LINES).strip() + "\n" + text[end:], encoding="utf-8")


main()
