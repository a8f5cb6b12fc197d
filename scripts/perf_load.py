"""The requests of which `lint-perf` counts the instructions, and with which `build-shipped` trains the compiler.

Clients ask at once, so that ledger lines go in groups as under load; the upstream is the fake one of tests/.
"""

from __future__ import annotations

import concurrent.futures
import http.client
import json
import os
import pathlib
import subprocess
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
TARGET = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")) / "release"
WORDS = "Summarise what the committee decided about the harbour, and name who objected and why. "

CONFIG = """
[server]
listen = "127.0.0.1:0"
admin_listen = "127.0.0.1:0"
[providers.hosted]
kind = "openai"
base_url = "{url}"
region = "us"
[providers.house]
kind = "openai"
base_url = "{url}"
location = "local"
[models."gpt-4o"]
provider = "hosted"
input_usd_per_mtok = "2.50"
output_usd_per_mtok = "10.00"
[models.small]
provider = "house"
[router]
local = ["small"]
hosted = ["gpt-4o"]
classifier = "{classifier}"
[[budgets]]
scope = "org"
limit_usd = "1000000"
window = "month"
"""


def request(model: str, stream: bool) -> dict:
    """A prompt of 0.9 kB, as in `make bench`."""
    messages = [
        {"role": "system", "content": "You are a helpful assistant."},
        {"role": "user", "content": (WORDS * 12)[:900]},
    ]
    asked = {"model": model, "max_tokens": 16, "messages": messages}
    return {"stream": True, "stream_options": {"include_usage": True}, **asked} if stream else asked


CASES = {
    "whole": request("gpt-4o", False),
    "stream": request("gpt-4o", True),
    "auto": request("auto", False),
}


def ask(address: str, key: str, body: dict, times: int) -> None:
    """Asks over one connection; a wrong answer ends the run."""
    connection = http.client.HTTPConnection(address, timeout=120)
    headers = {"content-type": "application/json", "authorization": f"Bearer {key}"}
    for _ in range(times):
        connection.request("POST", "/v1/chat/completions", json.dumps(body), headers)
        answer = connection.getresponse()
        text = answer.read()
        if answer.status != 200:
            raise SystemExit(f"status {answer.status}: {text[:500]!r}")
    connection.close()


def crowd(clients: int, address: str, key: str, body: dict, times: int) -> None:
    """So many clients, each of which asks so many times."""
    with concurrent.futures.ThreadPoolExecutor(clients) as pool:
        for done in [pool.submit(ask, address, key, body, times) for _ in range(clients)]:
            done.result()


def fake_upstream() -> tuple[subprocess.Popen, str]:
    """The fake provider, built like any other program here, and its address."""
    process = subprocess.Popen([TARGET / "fake-upstream"], stdout=subprocess.PIPE, text=True)
    return process, json.loads(process.stdout.readline())["url"]


def set_up(folder: pathlib.Path, sluice: pathlib.Path, upstream: str, classifier: str) -> str:
    """Writes the configuration and makes a key; the key."""
    folder.mkdir(parents=True)
    (folder / "sluice.toml").write_text(CONFIG.format(url=upstream, classifier=classifier))
    made = subprocess.run(
        [sluice, "keys", "create", "--name", "perf", "--budget", "1000000 USD/month", "--json"],
        cwd=folder, check=True, capture_output=True, text=True,
    )
    return json.loads(made.stdout)["key"]


def listening(log: pathlib.Path, process: subprocess.Popen, until: float) -> str:
    """The address of the data listener, once the log says it."""
    while time.monotonic() < until:
        for line in log.read_text().splitlines():
            if '"listening"' in line and '"data"' in line:
                return json.loads(line)["fields"]["address"]
        if process.poll() is not None:
            break
        time.sleep(0.05)
    raise SystemExit(f"sluice does not listen:\n{log.read_text()[-2000:]}")
