#!/usr/bin/env python3
"""What the second look costs in time: first tokens of accepted local answers, with and without the cascade.

usage: first_token.py [--tasks N]

Two gateways with the real SmolLM2 and the settings as shipped, one with the cascade and one without, are asked the same
prompts in turn, streamed, never both at once. In the one every request is too close to call, so every local answer is
looked at; in the other nothing is. Both judge the prompt first. Reported are the accepted answers: the time from the
request to the first text that the client sees, and the same pair by pair.
"""
import argparse
import pathlib
import statistics
import sys
import tempfile
import time

from harness import LOCAL, Gateway
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
"""
WITH = CONFIG + 'hosted_share = "50%"\n[router.cascade]\nmode = "on"\nwidth = "50%"\n'
WITHOUT = CONFIG + 'hosted_share = "0%"\n[router.cascade]\nmode = "off"\n'
# The aim: at most so many times as long, or so many milliseconds more.
TIMES, MORE_MS = 1.5, 150.0


def first_text(client, prompt):
    """Milliseconds to the first text, the route, and the request's id."""
    began = time.perf_counter()
    raw = client.chat.completions.with_raw_response.create(
        model="auto", messages=[{"role": "user", "content": prompt}], max_tokens=32, temperature=0, stream=True
    )
    first = None
    for chunk in raw.parse():
        if first is None and chunk.choices and chunk.choices[0].delta.content:
            first = (time.perf_counter() - began) * 1000
    return first, raw.headers["x-sluice-route"], raw.headers["x-sluice-request-id"]


def measure(looking, plain, tasks):
    """Pairs of milliseconds of accepted answers, how many were rejected, and the tokens that were held."""
    pairs, rejected, held = [], 0, []
    with looking.client() as one, plain.client() as other:
        for at, task in enumerate(tasks):
            if at % 25 == 0:
                print(f"{at} of {len(tasks)}", file=sys.stderr, flush=True)
            # In turn: whoever is asked first has warmer caches.
            turn = [(one, True), (other, False)]
            times = {}
            for client, looks in turn if at % 2 else reversed(turn):
                times[looks] = first_text(client, task.prompt)
            took, route, request = times[True]
            look = looking.story(request)["cascade"]
            if route != "local":
                rejected += 1
            elif look and took and times[False][0]:
                pairs.append((took, times[False][0]))
                held.append(look["tokens"])
    return pairs, rejected, held


def shown(name, values):
    cut = statistics.quantiles(values, n=20)
    return f"| {name} | {statistics.median(values):.0f} | {cut[-1]:.0f} |"


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tasks", type=int, default=120)
    options = parser.parse_args()
    # The first ones set the running median of doubts; they are not counted.
    tasks = split(7, "check")
    with tempfile.TemporaryDirectory() as folder:
        places = [pathlib.Path(folder) / name for name in ("with", "without")]
        for place in places:
            place.mkdir()
        looking, plain = Gateway(places[0], WITH), Gateway(places[1], WITHOUT)
        try:
            measure(looking, plain, tasks[:20])
            pairs, rejected, held = measure(looking, plain, tasks[20 : 20 + options.tasks])
        finally:
            looking.stop()
            plain.stop()
    looked, bare = [pair[0] for pair in pairs], [pair[1] for pair in pairs]
    print("| first text of accepted local answers | p50 ms | p95 ms |\n|---|---:|---:|")
    print(shown("with the cascade", looked))
    print(shown("without", bare))
    within = sum(a <= TIMES * b or a <= b + MORE_MS for a, b in pairs)
    ratio = statistics.median(a / b for a, b in pairs)
    more = statistics.median(a - b for a, b in pairs)
    print(f"\n{len(pairs)} accepted, {rejected} rejected, {statistics.mean(held):.1f} tokens held on average; "
          f"pair by pair {ratio:.2f} times, {more:+.0f} ms in the median; {within} of {len(pairs)} within {TIMES} times "
          f"or {MORE_MS:.0f} ms more")


if __name__ == "__main__":
    main()
