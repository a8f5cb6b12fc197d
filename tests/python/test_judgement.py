"""Who judges: the local model itself, and the same decision wherever it is asked for."""

from __future__ import annotations

import json
import subprocess
from decimal import Decimal

import pytest

from harness import LOCAL, binary, environment, exact, hosted, router, said

# The local model has all the time it wants: how fast it judges is not the promise here.
CONFIG = LOCAL + hosted("gpt-4o", "echo") + router(
    local=["smollm2"], hosted=["gpt-4o"], classifier="slm", slm_deadline="30s"
)

PROMPT = said("What is the capital of France?")


def create(client, **fields):
    return client.chat.completions.with_raw_response.create(
        **{"model": "auto", "messages": PROMPT, "max_tokens": 4, **fields}
    )


def test_the_local_model_judges_and_its_score_is_told(client, gateway):
    raw = create(client)
    score = Decimal(raw.headers["x-sluice-score"])
    assert 0 <= score <= 1
    assert raw.headers["x-sluice-reason"] == "classifier"
    story = gateway.story(raw.headers["x-sluice-request-id"])
    assert story["score"] == score
    assert story["signals"]["judged_by"] == "slm"


def test_the_same_request_gets_the_same_score(client):
    assert create(client).headers["x-sluice-score"] == create(client).headers["x-sluice-score"]


@pytest.mark.parametrize("fields", [
    {"model": "smollm2"}, {"model": "gpt-4o"}, {"extra_headers": {"x-sluice-route": "hosted"}},
], ids=["pinned local", "pinned hosted", "route"])
def test_where_nothing_is_to_be_chosen_nothing_is_judged(client, fields):
    assert "x-sluice-score" not in create(client, **fields).headers


def test_the_decision_can_be_asked_for_without_dialling_or_charging(client, gateway, asked):
    before = gateway.api("/api/spend")["total"]
    status, headers, text = gateway.post("/v1/route", {"model": "auto", "messages": PROMPT})
    decision = exact(text)
    assert status == 200 and headers["x-sluice-request-id"]
    assert {"route", "model", "reason", "score", "candidates", "signals", "plan"} <= decision.keys()
    assert decision["model"] == decision["plan"][0]
    assert {row["model"] for row in decision["candidates"]} == {"smollm2", "gpt-4o"}
    assert all({"admitted", "refused_by", "rank"} <= row.keys() for row in decision["candidates"])
    assert asked() == []
    assert gateway.api("/api/spend")["total"] == before
    raw = create(client)
    assert raw.headers["x-sluice-score"] == f"{decision['score']:.4f}"


def test_a_candidate_that_is_struck_out_says_by_what(gateway):
    _, _, text = gateway.post("/v1/route", {"model": "auto", "messages": PROMPT}, {"x-sluice-data-class": "restricted"})
    decision = exact(text)
    assert (decision["route"], decision["plan"]) == ("local", ["smollm2"])
    [struck] = [row for row in decision["candidates"] if not row["admitted"]]
    assert (struck["model"], struck["refused_by"]) == ("gpt-4o", "residency")


def test_explain_shows_the_decision_on_the_command_line(gateway):
    done = subprocess.run(
        [str(binary()), "explain", "--config", str(gateway.config), "--json"],
        input=json.dumps({"model": "gpt-4o", "messages": PROMPT}), env=environment(), cwd=gateway.folder,
        capture_output=True, text=True, timeout=60, check=False,
    )
    assert done.returncode == 0, done.stderr
    decision = exact(done.stdout)
    assert (decision["route"], decision["model"], decision["reason"]) == ("hosted", "gpt-4o", "pinned")
    assert {"score", "candidates", "signals", "plan"} <= decision.keys()
