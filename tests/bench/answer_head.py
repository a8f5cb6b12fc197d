#!/usr/bin/env python3
"""Fits the heads that judge local answers, on answers of the default local model to tasks with known answers.

usage: answer_head.py [--tasks N] [--out FILE]
       answer_head.py --check [--tasks N]

Each task is asked twice through the gateway in observing mode: streamed, with a beginning held back (the prefix head's
features), and whole (the whole head's). The features are those that the gateway puts on record, so what is fitted is
what is computed later. A logistic regression (L2, Newton's method) on standardised features; figures are from five-fold
cross-validation.

--check measures the heads in the binary on other tasks: how well doubt tells wrong answers from right ones, and the quality
at equal hosted share when the doubtful go to a hosted model that is always right, beside the prompt's need alone.
"""
import argparse
import json
import pathlib
import subprocess
import sys
import tempfile

import numpy as np

from harness import LOCAL, ROOT, Gateway
from tasks import split

CONFIG = LOCAL + """
[providers.other]
kind = "simulated"
[models.other]
provider = "other"
[router]
local = "smollm2"
hosted = "other"
classifier = "probe"
hosted_share = "50%"
[router.cascade]
mode = "observe"
width = "50%"
hold = "20s"
hold_tokens = {hold}
"""


def looks(gateway, tasks, stream):
    """Features and whether the answer was wrong, for each task whose answer was looked at."""
    rows = []
    with gateway.client() as client:
        for at, task in enumerate(tasks):
            if at % 50 == 0:
                print(f"{'prefix' if stream else 'whole'}: {at} of {len(tasks)}", file=sys.stderr, flush=True)
            call = dict(model="auto", messages=[{"role": "user", "content": task.prompt}], max_tokens=32, temperature=0)
            if stream:
                raw = client.chat.completions.with_raw_response.create(**call, stream=True)
                request = raw.headers["x-sluice-request-id"]
                text = "".join(c.choices[0].delta.content or "" for c in raw.parse() if c.choices)
            else:
                raw = client.chat.completions.with_raw_response.create(**call)
                request = raw.headers["x-sluice-request-id"]
                text = raw.parse().choices[0].message.content
            look = gateway.story(request)["cascade"]
            if look:
                features = [float(value) for _, value in look["features"]]
                names = [name for name, _ in look["features"]]
                rows.append((features, not task.right(text), look["whole"], task.kind, names, float(look["wrong"])))
    return rows


def logistic(x, y, strength=3.0):
    """Weights and bias that minimise the log loss with an L2 penalty on the weights."""
    x = np.hstack([x, np.ones((len(x), 1))])
    penalty = np.full(x.shape[1], strength)
    penalty[-1] = 1e-6
    w = np.zeros(x.shape[1])
    for _ in range(50):
        p = 1 / (1 + np.exp(-x @ w))
        gradient = x.T @ (p - y) + penalty * w
        step = np.linalg.solve((x * (p * (1 - p))[:, None]).T @ x + np.diag(penalty), gradient)
        w -= step
        if np.abs(step).max() < 1e-8:
            break
    return w


def auroc(score, y):
    order = np.argsort(score, kind="stable")
    rank = np.empty(len(score))
    rank[order] = np.arange(1, len(score) + 1)
    positive = int(y.sum())
    return (rank[y.astype(bool)].sum() - positive * (positive + 1) / 2) / (positive * (len(y) - positive))


def fit(rows):
    x = np.array([row[0] for row in rows])
    y = np.array([row[1] for row in rows], float)
    mean, scale = x.mean(0), x.std(0)
    # A feature that never varied says nothing, and must not say much when it does for the first time.
    scale[scale < 1e-6] = 1.0
    z = (x - mean) / scale
    folds = np.arange(len(y)) % 5
    held = np.zeros(len(y))
    for fold in range(5):
        w = logistic(z[folds != fold], y[folds != fold])
        held[folds == fold] = 1 / (1 + np.exp(-(z[folds == fold] @ w[:-1] + w[-1])))
    w = logistic(z, y)
    head = {
        "bias": round(float(w[-1]), 5),
        "mean": [round(float(value), 5) for value in mean],
        "scale": [round(float(value), 5) for value in scale],
        "weights": [round(float(value), 5) for value in w[:-1]],
    }
    figures = {"answers": len(y), "wrong": round(float(y.mean()), 3), "auroc": round(float(auroc(held, y)), 3)}
    return head, figures


def quality(score, wrong, share):
    """Share of right answers when those with the highest scores go to somebody who is always right."""
    go = np.argsort(-score, kind="stable")[: round(share * len(score))]
    left = wrong.astype(float).copy()
    left[go] = 0
    return 1 - left.mean()


def check(rows, what):
    wrong = np.array([row[1] for row in rows])
    doubt = np.array([row[5] for row in rows])
    need = np.array([row[0][row[4].index("need")] for row in rows])
    print(f"{what}: {len(rows)} answers, {wrong.mean():.0%} wrong; AUROC of doubt {auroc(doubt, wrong):.3f}, "
          f"of need alone {auroc(need, wrong):.3f}")
    random = np.random.default_rng(0)
    for share in (0.3, 0.5):
        gains = []
        for _ in range(1000):
            i = random.integers(0, len(rows), len(rows))
            gains.append(quality(doubt[i], wrong[i], share) - quality(need[i], wrong[i], share))
        low, high = np.percentile(gains, [2.5, 97.5])
        print(f"  {share:.0%} hosted: right {quality(doubt, wrong, share):.3f} by doubt, {quality(need, wrong, share):.3f} by "
              f"need; difference {np.mean(gains):+.3f} [{low:+.3f}, {high:+.3f}]")


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tasks", type=int, default=300)
    parser.add_argument("--out", default=str(ROOT / "router/assets/heads/answer.json"))
    parser.add_argument("--check", action="store_true")
    options = parser.parse_args()
    tasks = split(7, "check" if options.check else "fit")[: options.tasks]
    with tempfile.TemporaryDirectory() as folder:
        streamed, whole = [], []
        # Beginnings of two lengths: one head judges them all.
        for hold in (3, 10):
            place = pathlib.Path(folder) / str(hold)
            place.mkdir()
            gateway = Gateway(place, CONFIG.format(hold=hold))
            try:
                streamed += looks(gateway, tasks, True)
                whole += looks(gateway, tasks, False) if hold == 3 else []
            finally:
                gateway.stop()
    prefix = [row for row in streamed if not row[2]]
    if options.check:
        check(prefix, "beginnings")
        check(whole, "whole answers")
        return
    whole += [row for row in streamed if row[2]]
    (prefix_head, prefix_figures), (whole_head, whole_figures) = fit(prefix), fit(whole)
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, cwd=ROOT).stdout.strip()
    head = {
        "version": f"answer-{commit}",
        "made": {
            "by": "scripts/train-answer-head",
            "model": "SmolLM2-135M-Instruct, Q8_0",
            "features": streamed[0][4],
            "prefix": prefix_figures,
            "whole": whole_figures,
        },
        "prefix": prefix_head,
        "whole": whole_head,
    }
    pathlib.Path(options.out).write_text(json.dumps(head, indent=1) + "\n")
    print(json.dumps(head["made"], indent=1))


if __name__ == "__main__":
    main()
