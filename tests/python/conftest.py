"""A gateway for each module, configured by the module's `CONFIG`, and one fake upstream for all."""

from __future__ import annotations

import os
import signal
import sys

import anthropic
import pytest

from harness import PATIENCE, UPSTREAM, Gateway, Upstream

# The official clients read these; the tests say everything themselves, and reach nothing but this machine.
for name in list(os.environ):
    if name.startswith(("OPENAI_", "ANTHROPIC_")) or name.upper() in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        del os.environ[name]


# Whoever ends the tests early ends what they started, too.
signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))


@pytest.fixture(scope="session")
def upstream():
    fake = Upstream()
    yield fake
    fake.stop()


@pytest.fixture(scope="module")
def gateway(request, tmp_path_factory):
    config = request.module.CONFIG
    if UPSTREAM in config:
        config = config.replace(UPSTREAM, request.getfixturevalue("upstream").url)
    running = Gateway(tmp_path_factory.mktemp("gateway"), config)
    yield running
    survived, log = running.running(), running.log()
    running.stop()
    assert survived, f"the gateway ended during the tests with {running.child.returncode}:\n{log}"
    assert "panicked at" not in log, log


@pytest.fixture(scope="module")
def client(gateway):
    with gateway.client() as client:
        yield client


@pytest.fixture(scope="module")
def claude(gateway):
    """The official client of Anthropic."""
    options = {"base_url": gateway.data, "api_key": "unused", "max_retries": 0, "timeout": PATIENCE}
    with anthropic.Anthropic(**options) as client:
        yield client


@pytest.fixture
def asked(upstream):
    """What the upstream was asked since the test began: call it."""
    before = len(upstream.asked())
    return lambda: upstream.asked()[before:]
