"""What goes wrong with a hosted provider, as the official client sees it: the right exception, never a silent end."""

from __future__ import annotations

import json
import socket
import time
import urllib.parse

import openai
import pytest

from harness import PATIENCE, eventually, hosted, router, said

PROMPT = said("Name two big rivers")

# Each model has a provider of its own, so that what one test breaks no other test notices.
CONFIG = (
    "".join(hosted(name, name.partition("+")[0]) for name in (
        "echo", "echo-slow", "hang", "hang+1", "hang+2", "stall", "stall-first", "error-event", "error-event+1",
        "named-error", "bare-error", "early-end", "html", "ok-error", "status-400",
        "status-401", "status-403", "status-429", "status-500", "status-500+1", "status-500+2", "status-503",
    ))
    + """
[providers.gone]
kind = "openai"
base_url = "http://127.0.0.1:9/v1"
region = "us"
[models.gone]
provider = "gone"

[timeouts]
first_event = "2s"
idle = "1s"

[[budgets]]
scope = "tag:purse=empty"
limit_usd = "0.000001"
window = "total"

[[budgets]]
scope = "tag:purse=small"
limit_usd = "0.009"
window = "total"
"""
    + router(hosted=["status-500+2", "echo"])
)


def create(client, **fields):
    return client.chat.completions.create(**{"model": "echo", "messages": PROMPT, **fields})


def refusal(client, kind, **fields):
    with pytest.raises(kind) as caught:
        create(client, **fields)
    return caught.value


def on_record(gateway, error):
    """What the ledger says of a refused request: written behind the answer, so a moment later."""
    request_id = error.response.headers["x-sluice-request-id"]
    return eventually("the refusal is on record", lambda: gateway.known(request_id), within=20)


# === The request's own fault ===


@pytest.mark.parametrize(("fields", "param"), [
    ({"temperature": "hot"}, "temperature"),
    ({"max_tokens": "many"}, "max_tokens"),
    ({"max_tokens": -1}, "max_tokens"),
    ({"messages": []}, "messages"),
    ({"messages": "hello"}, "messages"),
    ({"messages": [{"role": "nobody", "content": "x"}]}, "messages"),
    ({"stream": "yes"}, "stream"),
    ({"model": 7}, "model"),
    ({"tools": "hammer"}, "tools"),
])
def test_wrong_types_are_a_bad_request_that_names_the_field(client, asked, fields, param):
    body = {"model": "echo", "messages": PROMPT, **fields}
    with pytest.raises(openai.BadRequestError) as caught:
        client.post("/chat/completions", body=body, cast_to=object)
    assert caught.value.type == "invalid_request_error"
    assert caught.value.param.startswith(param)
    assert caught.value.message and caught.value.code
    assert asked() == []


def test_a_request_that_is_not_json_is_a_bad_request(gateway, asked):
    status, headers, text = gateway.post("/v1/chat/completions", b'{"model": ')
    assert status == 400 and '"invalid_request_error"' in text
    assert headers["x-sluice-request-id"]
    assert asked() == []


def test_a_model_that_nobody_configured_is_not_found(client, asked):
    error = refusal(client, openai.NotFoundError, model="gpt-99")
    assert (error.code, error.param, error.type) == ("model_not_found", "model", "invalid_request_error")
    assert "gpt-99" in error.message
    assert asked() == []


def test_restricted_data_may_not_go_to_a_hosted_model(client, asked):
    error = refusal(client, openai.PermissionDeniedError, extra_headers={"x-sluice-data-class": "restricted"})
    assert error.code == "residency" and "restricted" in error.message
    assert error.response.headers["x-sluice-reason"] == "residency"
    assert "x-sluice-route" not in error.response.headers
    assert asked() == []


def test_a_route_that_policy_forbids_cannot_be_wished_for(client, asked):
    headers = {"x-sluice-data-class": "restricted", "x-sluice-route": "hosted"}
    assert refusal(client, openai.PermissionDeniedError, model="auto", extra_headers=headers).code == "residency"
    assert asked() == []


@pytest.mark.parametrize("name", [f"x-sluice-{name}" for name in ("request-id", "reason", "attempts", "overhead-ms")])
@pytest.mark.parametrize("fields", [{"model": "gpt-99"}, {"messages": []}], ids=["unknown model", "malformed"])
def test_refusals_carry_the_headers_of_every_answer(client, fields, name):
    assert refusal(client, openai.APIStatusError, **fields).response.headers.get(name)


@pytest.mark.parametrize("fields", [
    {"model": "gpt-99"}, {"model": "status-400"}, {"model": "status-429"}, {"model": "gone"}, {"model": "stall-first"},
    {"extra_headers": {"x-sluice-data-class": "restricted"}}, {"extra_headers": {"x-sluice-data-class": "unheard-of"}},
    {"extra_headers": {"x-sluice-tags": "purse=empty"}},
], ids=["404", "400", "429", "502", "504", "403", "unknown class", "402"])
def test_the_ledger_says_which_status_and_reason_the_client_got(client, gateway, fields):
    error = refusal(client, openai.APIStatusError, stream=fields.get("model") == "stall-first", **fields)
    headers = error.response.headers
    story = on_record(gateway, error)
    assert (story["status"], story["reason"]) == (error.status_code, headers["x-sluice-reason"])
    assert len(story["attempt_log"]) == int(headers["x-sluice-attempts"])


# === Money ===


def test_a_spent_budget_is_402_and_the_client_does_not_try_again(gateway, asked):
    sent = []
    hooks = {"request": [sent.append]}
    with openai.DefaultHttpxClient(event_hooks=hooks) as transport:
        client = gateway.client(max_retries=openai.DEFAULT_MAX_RETRIES, http_client=transport)
        error = refusal(client, openai.APIStatusError, extra_headers={"x-sluice-tags": "purse=empty"})
    assert openai.DEFAULT_MAX_RETRIES > 0
    assert (error.status_code, error.code) == (402, "budget_exceeded")
    assert error.response.headers["x-should-retry"] == "false"
    assert error.response.headers["x-sluice-reason"] == "budget"
    assert len(sent) == 1
    assert asked() == []


def test_money_that_running_calls_hold_is_a_rate_limit_with_a_time_to_come_back(client, gateway):
    # A ceiling of 0.005 and some for each: one fits into 0.009, two do not.
    fields = {"max_tokens": 500, "extra_headers": {"x-sluice-tags": "purse=small"}}
    with create(client, model="echo-slow", stream=True, **fields) as stream:
        next(stream)
        error = refusal(client, openai.RateLimitError, **fields)
        assert error.code == "budget_held"
        assert int(error.response.headers["retry-after"]) >= 1
    again = eventually("the money is back", lambda: _answered(client, fields))
    assert again.choices[0].finish_reason == "stop"
    assert on_record(gateway, error)["status"] == 429


def _answered(client, fields):
    try:
        return create(client, **fields)
    except openai.RateLimitError:
        return None


# === The upstream's fault ===


def test_an_upstreams_rate_limit_is_ours_with_its_time(client, asked):
    error = refusal(client, openai.RateLimitError, model="status-429")
    assert error.response.headers["retry-after"] == "7"
    assert len(asked()) == 1


def test_what_the_upstream_says_of_a_bad_request_reaches_the_client(client):
    error = refusal(client, openai.BadRequestError, model="status-400")
    assert error.code == "scripted" and "scripted" in error.message


@pytest.mark.parametrize("model", ["status-500", "status-401", "status-403", "status-503", "html", "ok-error", "gone"])
def test_an_upstream_that_fails_is_a_502(client, model):
    error = refusal(client, openai.InternalServerError, model=model)
    assert error.status_code == 502
    assert error.type == "server_error" and error.code and error.message
    assert error.response.headers["x-sluice-attempts"] == "1"
    assert "x-sluice-route" not in error.response.headers


def test_a_stream_whose_upstream_fails_before_the_first_event_is_an_error_not_a_stream(client):
    error = refusal(client, openai.InternalServerError, model="status-500+1", stream=True)
    assert error.status_code == 502


@pytest.mark.parametrize(("model", "stream"), [("hang", False), ("hang+1", True)], ids=["whole", "streamed"])
def test_an_upstream_that_is_silent_is_a_504(client, model, stream):
    began = time.monotonic()
    error = refusal(client, openai.InternalServerError, model=model, stream=stream)
    assert (error.status_code, error.type) == (504, "server_error")
    # By the configured clock of 2 s, not the default one of 30 s.
    assert 1.9 < time.monotonic() - began < 25


def test_a_client_that_does_not_wait_times_out_and_is_on_the_ledger_as_disconnected(client, gateway):
    headers = {"x-request-id": "impatient-1"}
    with pytest.raises(openai.APITimeoutError):
        create(client.with_options(timeout=0.5), model="hang+2", extra_headers=headers)
    eventually("a disconnected attempt", lambda: gateway.outcome("impatient-1") == "disconnected")
    assert create(client).choices[0].finish_reason == "stop"


@pytest.mark.parametrize("model", ["error-event", "named-error", "bare-error", "stall", "early-end"])
def test_an_error_in_the_midst_of_a_stream_raises_after_what_came(client, gateway, model):
    raw = client.chat.completions.with_raw_response.create(model=model, messages=PROMPT, stream=True)
    chunks = []
    with pytest.raises(openai.APIError) as caught:
        chunks.extend(_noting(raw.parse(), chunks))
    assert [chunk.choices[0].delta.content for chunk in chunks] == ["word0 ", "word1 "]
    assert caught.value.type == "server_error" and caught.value.code and caught.value.message
    assert gateway.outcome(raw.headers["x-sluice-request-id"]) == "truncated"


def _noting(stream, chunks):
    for chunk in stream:
        chunks.append(chunk)
    return []


def test_a_broken_stream_has_one_error_event_and_no_done_and_the_connection_closes(gateway):
    body = json.dumps({"model": "error-event+1", "messages": PROMPT, "stream": True}).encode()
    address = urllib.parse.urlsplit(gateway.data)
    head = (f"POST /v1/chat/completions HTTP/1.1\r\nhost: {address.netloc}\r\ncontent-type: application/json\r\n"
            f"content-length: {len(body)}\r\n\r\n")
    with socket.create_connection((address.hostname, address.port), timeout=PATIENCE) as connection:
        connection.sendall(head.encode() + body)
        # To the end of the connection, not of the body: a gateway that kept it open would run into the timeout.
        received = b"".join(iter(lambda: connection.recv(65_536), b"")).decode()
    assert received.startswith("HTTP/1.1 200")
    events = [line for line in received.splitlines() if line.startswith("data:")]
    assert [event.startswith('data: {"error":') for event in events] == [False, False, True]
    assert "[DONE]" not in received


# === Falling back ===


def test_the_next_hosted_model_answers_when_the_first_cannot(client, gateway, asked):
    raw = client.chat.completions.with_raw_response.create(model="auto", messages=PROMPT)
    assert raw.parse().choices[0].message.content == "one two three four five"
    assert raw.headers["x-sluice-model"] == "echo"
    assert (raw.headers["x-sluice-reason"], raw.headers["x-sluice-attempts"]) == ("fallback", "2")
    assert [entry["body"]["model"] for entry in asked()] == ["status-500", "echo"]
    attempts = gateway.story(raw.headers["x-sluice-request-id"])["attempt_log"]
    ends = [(attempt["model"], attempt["outcome"]) for attempt in attempts]
    assert ends == [("status-500+2", "error"), ("echo", "ok")]
