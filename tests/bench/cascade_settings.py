#!/usr/bin/env python3
"""What `[router.cascade] samples = 2` and `hedge = true` win, and what they cost.

usage: cascade_settings.py [--tasks N] [--delay MS] [--stand-in] [--only samples|hedge]

Samples: one gateway that observes, with two samples, so that every local answer is kept and can be marked. Of each whole
answer the record says its doubt and, where that was near the threshold, whether a second sample agreed. The verdict with two samples
sends a share of the tasks to a hosted model that is always right; beside it stands the same share picked by doubt alone, and by
the prompt's need alone. The interval is a 95% bootstrap over tasks, in which the share is counted anew each time.

Hedge: two gateways that escalate, one of them hedging, are asked the same prompts in turn, streamed, never both at once. The
hosted model is a server in this program: it says nothing for `--delay` milliseconds (500 unless told), then the right
answer. Reported are times to the first text, and how often it was called.

`--stand-in` takes a local model out of this program, too, that guesses and says how sure it is: for a binary without the
engine. It tells whether the benchmark runs; its figures say nothing of any model.
"""
import argparse
import hashlib
import json
import pathlib
import random
import statistics
import sys
import tempfile
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np

from first_token import first_text
from harness import LOCAL, Gateway
from tasks import split

CONFIG = """
{local}
[providers.far]
kind = "openai"
base_url = "{far}/far/v1"
region = "us"
[models.far]
provider = "far"
input_usd_per_mtok = "2.50"
output_usd_per_mtok = "10.00"
[router]
local = "smollm2"
hosted = "far"
classifier = "probe"
hosted_share = "50%"
[router.cascade]
width = "50%"
{cascade}
"""
STAND_IN = """
[providers.house]
kind = "openai"
base_url = "{far}/house/v1"
location = "local"
[models.smollm2]
provider = "house"
"""


# === The server ===


class Far(BaseHTTPRequestHandler):
    """The hosted model, and the stand-in for the local one; `server` has the answers, the delay and the counts."""

    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def do_GET(self):
        self.send_error(404)

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        house = self.path.startswith("/house/")
        prompt = body["messages"][-1]["content"]
        if house:
            words = guess(prompt, self.server.answers.get(prompt, "nothing"), body.get("temperature", 1))
        else:
            with self.server.lock:
                self.server.calls += 1
            time.sleep(self.server.delay)
            words = [(self.server.answers.get(prompt, "nothing"), 0.0)]
        stream = body.get("stream", False)
        try:
            self.stream(words, body) if stream else self.whole(words, body)
        except (BrokenPipeError, ConnectionResetError):
            # A hedged call that nobody needed.
            self.close_connection = True

    def head(self, kind, length=None):
        self.send_response(200)
        self.send_header("content-type", kind)
        if length is None:
            self.send_header("connection", "close")
            self.close_connection = True
        else:
            self.send_header("content-length", str(length))
        self.end_headers()

    def stream(self, words, body):
        self.head("text/event-stream")
        for at, (word, sure) in enumerate(words):
            choice = {"index": 0, "delta": {"content": (" " if at else "") + word}, "finish_reason": None}
            if body.get("logprobs"):
                choice["logprobs"] = {"content": [told(word, sure)]}
            self.event(body, [choice])
        self.event(body, [{"index": 0, "delta": {}, "finish_reason": "stop"}])
        self.event(body, [], usage(len(words)))
        self.wfile.write(b"data: [DONE]\n\n")

    def event(self, body, choices, spent=None):
        event = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": body["model"], "choices": choices}
        if spent:
            event["usage"] = spent
        self.wfile.write(f"data: {json.dumps(event)}\n\n".encode())
        self.wfile.flush()

    def whole(self, words, body):
        choice = {"index": 0, "finish_reason": "stop",
                  "message": {"role": "assistant", "content": " ".join(word for word, _ in words)}}
        if body.get("logprobs"):
            choice["logprobs"] = {"content": [told(word, sure) for word, sure in words]}
        answer = {"id": "c", "object": "chat.completion", "created": 1, "model": body["model"], "choices": [choice],
                  "usage": usage(len(words))}
        text = json.dumps(answer).encode()
        self.head("application/json", len(text))
        self.wfile.write(text)


def usage(words):
    return {"prompt_tokens": 10, "completion_tokens": words, "total_tokens": 10 + words}


def told(word, sure):
    return {"token": word, "logprob": sure, "bytes": None,
            "top_logprobs": [{"token": word, "logprob": sure, "bytes": None}, {"token": "?", "logprob": -3.0, "bytes": None}]}


def guess(prompt, answer, temperature):
    """Right in half of the cases, surer then; what is wrong comes out otherwise when it is drawn hot."""
    rng = random.Random(hashlib.sha256(prompt.encode()).digest())
    right = rng.random() < 0.5
    sure = -rng.uniform(0.0, 0.6 if right else 1.6)
    text = answer if right else f"perhaps {rng.randint(0, 9) if temperature < 0.5 else random.randint(0, 9)}"
    return [(word, sure) for word in text.split()]


def serve(answers, delay):
    server = ThreadingHTTPServer(("127.0.0.1", 0), Far)
    server.daemon_threads = True
    server.answers, server.delay, server.calls, server.lock = answers, delay, 0, threading.Lock()
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server


# === Two samples ===


def observed(gateway, tasks):
    """Of each task whose whole answer was looked at: need, doubt, verdicts without and with a second sample, agreement, wrong."""
    rows = []
    with gateway.client() as client:
        for at, task in enumerate(tasks):
            if at % 50 == 0:
                print(f"samples: {at} of {len(tasks)}", file=sys.stderr, flush=True)
            raw = client.chat.completions.with_raw_response.create(
                model="auto", messages=[{"role": "user", "content": task.prompt}], max_tokens=32, temperature=0
            )
            text = raw.parse().choices[0].message.content or ""
            look = gateway.story(raw.headers["x-sluice-request-id"])["cascade"]
            if look:
                features = dict(look["features"])
                doubt, threshold = float(look["wrong"]), float(look["threshold"])
                rows.append((float(features["need"]), doubt, doubt >= threshold, look["verdict"] != "kept",
                             look.get("agreement"), not task.right(text)))
    return rows


def picked(score, wrong, share):
    """Share of right answers when those with the highest scores go to somebody who is always right."""
    left = wrong.astype(float).copy()
    left[np.argsort(-score, kind="stable")[: round(share * len(score))]] = 0
    return 1 - left.mean()


def samples(rows):
    need, doubt = (np.array([row[at] for row in rows], float) for at in (0, 1))
    one, two, wrong = (np.array([row[at] for row in rows], bool) for at in (2, 3, 5))
    random_ = np.random.default_rng(0)
    print(f"{len(rows)} whole answers, {wrong.mean():.0%} wrong\n")
    print("| verdict | hosted | right | the same share by doubt | difference | by need | difference |")
    print("|---|---:|---:|---:|---:|---:|---:|")
    for name, gone in (("one sample", one), ("two samples", two)):
        def figures(i):
            share = gone[i].mean()
            right = 1 - (wrong[i] & ~gone[i]).mean()
            return share, right, picked(doubt[i], wrong[i], share), picked(need[i], wrong[i], share)
        share, right, by_doubt, by_need = figures(np.arange(len(rows)))
        drawn = np.array([figures(random_.integers(0, len(rows), len(rows))) for _ in range(1000)])
        def interval(other):
            low, high = np.percentile(drawn[:, 1] - drawn[:, other], [2.5, 97.5])
            return f"{right - (by_doubt if other == 2 else by_need):+.3f} [{low:+.3f}, {high:+.3f}]"
        print(f"| {name} | {share:.0%} | {right:.3f} | {by_doubt:.3f} | {interval(2)} | {by_need:.3f} | {interval(3)} |")
    print()
    for word in ("agreed", "differed", "failed"):
        of = [row[5] for row in rows if row[4] == word]
        if of:
            print(f"{word}: {len(of)}, of which {sum(of)} were wrong")


# === Hedging ===


def hedge(plain, hedging, servers, tasks):
    """Milliseconds to the first text and the route, of both, for each task."""
    rows = []
    with plain.client() as one, hedging.client() as other:
        for at, task in enumerate(tasks):
            if at % 25 == 0:
                print(f"hedge: {at} of {len(tasks)}", file=sys.stderr, flush=True)
            turn = [(one, False), (other, True)]
            found = {}
            for client, hedged in turn if at % 2 else reversed(turn):
                took, route, _ = first_text(client, task.prompt)
                found[hedged] = (took, route)
            rows.append((found[False], found[True]))
    return rows, [server.calls for server in servers]


def shown(name, values):
    if len(values) < 2:
        return f"| {name} | {len(values)} | – | – |"
    return f"| {name} | {len(values)} | {statistics.median(values):.0f} | {statistics.quantiles(values, n=20)[-1]:.0f} |"


def report(rows, calls, delay):
    print(f"\n| first text, ms; the hosted model begins after {delay * 1000:.0f} ms | answers | p50 | p95 |\n|---|---:|---:|---:|")
    for route, what in (("hosted", "escalated"), ("local", "accepted")):
        for at, name in ((0, "without"), (1, "with hedging")):
            print(shown(f"{what}, {name}", [row[at][0] for row in rows if row[at][1] == route and row[at][0]]))
    for route, what in (("hosted", "escalated"), ("local", "accepted")):
        pairs = [(a[0] - b[0]) for a, b in rows if a[1] == b[1] == route and a[0] and b[0]]
        if len(pairs) > 1:
            random_ = np.random.default_rng(0)
            medians = [np.median(random_.choice(pairs, len(pairs))) for _ in range(1000)]
            low, high = np.percentile(medians, [2.5, 97.5])
            print(f"\n{what} by both ({len(pairs)} prompts): hedging wins {np.median(pairs):+.0f} ms in the median "
                  f"[{low:+.0f}, {high:+.0f}]")
    print(f"\nhosted calls for {len(rows)} requests: {calls[0]} without, {calls[1]} with hedging")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tasks", type=int, default=200)
    parser.add_argument("--delay", type=float, default=500)
    parser.add_argument("--stand-in", action="store_true")
    parser.add_argument("--only", choices=["samples", "hedge"])
    options = parser.parse_args()
    tasks = split(7, "check")
    answers = {task.prompt: task.answer for task in tasks}
    delay = options.delay / 1000
    # The first ones set the running median of doubts; they are not counted.
    warm, tasks = tasks[:20], tasks[20 : 20 + options.tasks]
    with tempfile.TemporaryDirectory() as folder:

        def started(name, cascade):
            server = serve(answers, delay)
            url = f"http://127.0.0.1:{server.server_port}"
            place = pathlib.Path(folder) / name
            place.mkdir()
            local = STAND_IN.format(far=url) if options.stand_in else LOCAL
            return Gateway(place, CONFIG.format(local=local, far=url, cascade=cascade)), server

        if options.only != "hedge":
            gateway, _ = started("samples", 'mode = "observe"\nsamples = 2\n')
            try:
                observed(gateway, warm)
                samples(observed(gateway, tasks))
            finally:
                gateway.stop()
        if options.only != "samples":
            (plain, one), (hedging, two) = started("plain", 'mode = "on"\n'), started("hedge", 'mode = "on"\nhedge = true\n')
            try:
                hedge(plain, hedging, (one, two), warm)
                one.calls = two.calls = 0
                rows, calls = hedge(plain, hedging, (one, two), tasks)
                report(rows, calls, delay)
            finally:
                plain.stop()
                hedging.stop()


if __name__ == "__main__":
    main()
