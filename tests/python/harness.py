"""The built binaries, each with a folder and ports of its own.

Nothing here waits for a fixed time: every wait is for a condition, up to a deadline.
"""

from __future__ import annotations

import atexit
import json
import os
import pathlib
import subprocess
import threading
import time
import urllib.error
import urllib.request
from decimal import Decimal

import openai
import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
# For what takes seconds on an idle machine: a busy one is no fault of the product.
def skip(what: str, why: str):
    """Skips a test for want of `what`, or fails it where that is a must: see tests/src/skip.rs."""
    must = [word.strip() for word in os.environ.get("SLUICE_TEST_MUST", "").split(",")]
    if "1" in must or what in must:
        pytest.fail(f"{what} is a must: {why}", pytrace=False)
    pytest.skip(f"skipped for want of {what}: {why}")


PATIENCE = 120.0


def binary() -> pathlib.Path:
    """The binary under test: `SLUICE_BIN`, else the release build."""
    named = os.environ.get("SLUICE_BIN")
    if named:
        return pathlib.Path(named).resolve()
    return (ROOT / os.environ.get("CARGO_TARGET_DIR", "target") / "release" / "sluice").resolve()


def environment() -> dict[str, str]:
    """The environment of what is started: nobody's settings and proxies leak in."""
    dropped = ("SLUICE_", "OPENAI_", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY")
    return {name: value for name, value in os.environ.items() if not name.upper().startswith(dropped)}


def eventually(what: str, probe, within: float = PATIENCE):
    """Asks until the answer is neither `None` nor `False`, and returns it."""
    end = time.monotonic() + within
    while True:
        found = probe()
        if found is not None and found is not False:
            return found
        assert time.monotonic() < end, f"not within {within} s: {what}"
        time.sleep(0.01)


def http(method: str, url: str, body=None, headers=None, within: float = PATIENCE):
    """One plain request: `(status, headers, text)`, whatever the status."""
    data = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
    request = urllib.request.Request(url, data, {"content-type": "application/json", **(headers or {})}, method=method)
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(request, timeout=within) as response:
            return response.status, response.headers, response.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.headers, error.read().decode()


def exact(text: str):
    """JSON whose numbers with a point are decimals, never floats."""
    return json.loads(text, parse_float=Decimal)


# === Pieces of configurations ===

# The fake upstream's address is put in when the gateway starts.
UPSTREAM = "@UPSTREAM@"

# What the fake's models cost, in dollars per token.
INPUT_USD = Decimal("2.50") / 1_000_000
OUTPUT_USD = Decimal("10.00") / 1_000_000

# The real model, in process.
LOCAL = """
[providers.in-process]
kind = "mistralrs"
source = "smollm2-135m"
[models.smollm2]
provider = "in-process"
"""


def hosted(model: str, plays: str, provider: str | None = None, priced: bool = True) -> str:
    """A hosted model whose upstream is the fake, in the role `plays`.

    Each has a provider of its own unless one is named: a provider that fails is left alone for a while, and a test of
    failures must not hit the next test.
    """
    text = f'[models."{model}"]\nprovider = "{provider or model}"\nupstream = "{plays}"\n'
    if priced:
        text += 'input_usd_per_mtok = "2.50"\noutput_usd_per_mtok = "10.00"\n'
    return text if provider else house(model) + text


def house(provider: str) -> str:
    """A hosted provider that is the fake upstream."""
    return f'[providers."{provider}"]\nkind = "openai"\nbase_url = "{UPSTREAM}"\nregion = "us"\n'


def router(**settings) -> str:
    """The section `[router]`."""
    return "[router]\n" + "".join(f"{name} = {json.dumps(value)}\n" for name, value in settings.items())


# === Programs ===


class Program:
    """A child process whose output is collected line by line."""

    def __init__(self, arguments, stream: str, cwd=None):
        pipes = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, stream: subprocess.PIPE}
        try:
            self.child = subprocess.Popen(
                [str(argument) for argument in arguments],
                stdin=subprocess.DEVNULL, cwd=cwd, env=environment(), text=True, encoding="utf-8", errors="replace",
                **pipes,
            )
        except FileNotFoundError as error:
            raise AssertionError(f"{error.filename} is missing: cargo build --release --workspace") from error
        # Also when a fixture fails halfway: nothing outlives the tests.
        atexit.register(self.child.kill)
        self.lines: list[str] = []
        self._reader = threading.Thread(target=self._read, args=(getattr(self.child, stream),), daemon=True)
        self._reader.start()

    def _read(self, pipe):
        for line in pipe:
            self.lines.append(line)

    def running(self) -> bool:
        return self.child.poll() is None

    def stop(self):
        self.child.kill()
        self.child.wait()
        atexit.unregister(self.child.kill)
        self._reader.join()
        for pipe in (self.child.stdout, self.child.stderr):
            if pipe:
                pipe.close()


class Upstream(Program):
    """The fake upstream: an OpenAI-compatible server that misbehaves on demand and counts for itself."""

    def __init__(self):
        super().__init__([binary().parent / "fake-upstream"], "stdout")
        first = eventually("the fake upstream's address", lambda: self.lines[:1] or None)
        said = json.loads(first[0])
        self.url, self._root = said["url"], said["root"]

    def asked(self) -> list[dict]:
        """Everything it was asked so far, in order: path, body, and the tokens it stated."""
        status, _, text = http("GET", f"{self._root}/__log")
        assert status == 200, text
        return json.loads(text)


class Gateway(Program):
    """A running gateway."""

    def __init__(self, folder: pathlib.Path, config: str):
        self.folder = folder
        self.config = folder / "sluice.toml"
        self.config.write_text('[server]\nlisten = "127.0.0.1:0"\nadmin_listen = "127.0.0.1:0"\n' + config)
        super().__init__([binary(), "serve", "--config", self.config], "stderr", cwd=folder)
        self.data = f"http://{self._listening('data')}"
        self.admin = f"http://{self._listening('admin')}"
        eventually("the gateway is ready", self._ready)

    def _listening(self, listener: str) -> str:
        return eventually(f"the {listener} listener", lambda: self._alive() and self._address(listener))

    def _address(self, listener: str):
        for line in self.lines:
            fields = json.loads(line).get("fields", {}) if line.startswith("{") and line.endswith("\n") else {}
            if fields.get("message") == "listening" and fields.get("listener") == listener:
                return fields["address"]
        return None

    def _ready(self) -> bool:
        return self._alive() and http("GET", f"{self.data}/readyz")[0] == 200

    def _alive(self) -> bool:
        assert self.running(), f"the gateway ended with {self.child.returncode}:\n{self.log()}"
        return True

    def log(self) -> str:
        return "".join(self.lines)

    def client(self, key: str = "unused", **options) -> openai.OpenAI:
        """The official client; it does not retry unless told to."""
        options = {"max_retries": 0, "timeout": PATIENCE, **options}
        return openai.OpenAI(base_url=f"{self.data}/v1", api_key=key, **options)

    def async_client(self, key: str = "unused", **options) -> openai.AsyncOpenAI:
        """The official client for asyncio."""
        options = {"max_retries": 0, "timeout": PATIENCE, **options}
        return openai.AsyncOpenAI(base_url=f"{self.data}/v1", api_key=key, **options)

    def post(self, path: str, body, headers=None):
        """A plain request to the data listener: `(status, headers, text)`."""
        return http("POST", self.data + path, body, headers)

    def api(self, path: str):
        """An answer of the admin API."""
        status, _, text = http("GET", self.admin + path)
        assert status == 200, f"{path}: {status} {text}"
        return exact(text)

    def story(self, request_id: str):
        """What the ledger says of a request."""
        return self.api(f"/api/requests/{request_id}")

    def known(self, request_id: str):
        """What the ledger says of a request; `None` while it does not know it."""
        status, _, text = http("GET", f"{self.admin}/api/requests/{request_id}")
        return exact(text) if status == 200 else None

    def outcome(self, request_id: str):
        """How a request's last attempt ended; `None` while it runs or is unknown."""
        attempts = (self.known(request_id) or {"attempt_log": []})["attempt_log"]
        return attempts[-1]["outcome"] if attempts else None

    def command(self, *arguments) -> subprocess.CompletedProcess:
        """A command of the binary, with this gateway's configuration, run to its end."""
        return subprocess.run(
            [str(binary()), *arguments, "--config", str(self.config)],
            cwd=self.folder, env=environment(), stdin=subprocess.DEVNULL, capture_output=True, text=True,
            timeout=PATIENCE, check=False,
        )

    def report(self, *arguments):
        """What a command that succeeds says as JSON."""
        done = self.command(*arguments, "--json")
        assert done.returncode == 0, f"{arguments}: {done.returncode}\n{done.stdout}{done.stderr}"
        return exact(done.stdout)


# === Streams ===


def text_of(chunks) -> str:
    """The text that a stream's chunks spell."""
    return "".join(
        (choice.delta.content or "") if hasattr(choice, "delta") else choice.text
        for chunk in chunks for choice in chunk.choices
    )


def said(prompt: str) -> list[dict]:
    """A conversation of one turn."""
    return [{"role": "user", "content": prompt}]
