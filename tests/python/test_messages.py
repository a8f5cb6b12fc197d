"""Anthropic's Messages API, as the official client of Anthropic sees it: the same models, accounts and rules as chat."""

from __future__ import annotations

import json
from decimal import Decimal

import anthropic
import pytest

from harness import INPUT_USD, OUTPUT_USD, eventually, hosted, house, http, router

MODELS = {"gpt-4o": "echo", "with-tools": "echo-tools", "slow": "echo-slow"}
CONFIG = (
    house("big-house")
    + "".join(hosted(name, plays, provider="big-house") for name, plays in MODELS.items())
    + hosted("broken", "error-event") + hosted("refusing", "status-400") + hosted("down", "status-500")
    + router(hosted=["gpt-4o"])
    + """
[residency.classes.restricted]
locations = ["local"]
[[budgets]]
scope = "tag:purse=empty"
limit_usd = "0.000001"
window = "total"
"""
)
PROMPT = [{"role": "user", "content": "Name two big rivers"}]
# Four words, so the fake states 14 tokens in and 5 out.
COST = 14 * INPUT_USD + 5 * OUTPUT_USD
ANSWER = "one two three four five"
PIECES = "word0 word1 word2 word3 word4 "
TOOL = {
    "name": "lookup",
    "description": "Looks up the weather",
    "input_schema": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
}


def test_a_whole_answer_is_a_message_and_on_the_ledger(claude, gateway, asked):
    raw = claude.messages.with_raw_response.create(model="gpt-4o", max_tokens=64, system="Be brief", messages=PROMPT)
    message = raw.parse()
    assert [block.text for block in message.content] == [ANSWER]
    assert (message.role, message.stop_reason, message.stop_sequence) == ("assistant", "end_turn", None)
    assert (message.usage.input_tokens, message.usage.output_tokens) == (16, 5)
    assert raw.headers["x-sluice-model"] == "gpt-4o"
    (sent,) = asked()
    assert sent["path"] == "/v1/chat/completions"
    assert sent["body"]["messages"] == [{"role": "system", "content": "Be brief"}, *PROMPT]
    story = gateway.known(raw.headers["x-sluice-request-id"])
    assert story["attempt_log"][-1]["outcome"] == "ok"
    assert Decimal(raw.headers["x-sluice-cost-usd"]) == COST + 2 * INPUT_USD


def test_a_stream_is_the_documented_sequence_of_events(claude, gateway):
    with claude.messages.with_raw_response.create(
        model="gpt-4o", max_tokens=64, messages=PROMPT, stream=True
    ).parse() as stream:
        events = [event.type for event in stream]
    assert events[:2] == ["message_start", "content_block_start"]
    assert set(events[2:-3]) == {"content_block_delta"}
    assert events[-3:] == ["content_block_stop", "message_delta", "message_stop"]


def test_a_stream_adds_up_to_the_message(claude):
    with claude.messages.stream(model="gpt-4o", max_tokens=64, messages=PROMPT) as stream:
        text = "".join(stream.text_stream)
        message = stream.get_final_message()
    assert text == message.content[0].text == PIECES
    assert (message.usage.input_tokens, message.usage.output_tokens) == (14, 5)
    assert message.stop_reason == "end_turn"


@pytest.mark.parametrize("streamed", [False, True])
def test_tools_are_called_and_their_results_come_back(claude, asked, streamed):
    wanted = {"model": "with-tools", "max_tokens": 64, "messages": PROMPT, "tools": [TOOL]}
    if streamed:
        with claude.messages.stream(**wanted) as stream:
            message = stream.get_final_message()
    else:
        message = claude.messages.create(**wanted)
    assert message.stop_reason == "tool_use"
    call = message.content[-1]
    assert (call.type, call.name) == ("tool_use", "lookup")
    assert isinstance(call.input, dict) and call.input
    result = {"type": "tool_result", "tool_use_id": call.id, "content": "sunny"}
    turns = [*PROMPT, {"role": "assistant", "content": message.content}, {"role": "user", "content": [result]}]
    assert claude.messages.create(model="gpt-4o", max_tokens=64, messages=turns, tools=[TOOL]).content[0].text == ANSWER
    sent = asked()[-1]["body"]["messages"]
    assert json.loads(sent[1]["tool_calls"][0]["function"]["arguments"]) == call.input
    assert sent[2] == {"role": "tool", "tool_call_id": call.id, "content": "sunny"}


def test_pictures_reach_the_upstream_as_data_urls(claude, asked):
    source = {"type": "base64", "media_type": "image/png", "data": "iVBORw0KGgo="}
    turn = {"role": "user", "content": [{"type": "image", "source": source}, {"type": "text", "text": "What is it?"}]}
    claude.messages.create(model="gpt-4o", max_tokens=64, messages=[turn])
    assert asked()[0]["body"]["messages"][0]["content"][0]["image_url"] == {"url": "data:image/png;base64,iVBORw0KGgo="}


def test_tokens_are_counted_without_a_call(claude, asked, gateway):
    counted = claude.messages.count_tokens(model="gpt-4o", messages=PROMPT, system="Be brief", tools=[TOOL])
    assert 5 < counted.input_tokens < 200
    assert asked() == []
    longer = claude.messages.count_tokens(model="gpt-4o", messages=[{"role": "user", "content": "word " * 500}])
    assert longer.input_tokens > 400
    with pytest.raises(anthropic.NotFoundError):
        claude.messages.count_tokens(model="nobody", messages=PROMPT)


@pytest.mark.parametrize("model, change, error, kind", [
    ("nobody", {}, anthropic.NotFoundError, "not_found_error"),
    ("gpt-4o", {"tools": [{"type": "web_search_20250305", "name": "web_search"}]},
     anthropic.BadRequestError, "invalid_request_error"),
    ("gpt-4o", {"thinking": {"type": "enabled", "budget_tokens": 1024}},
     anthropic.BadRequestError, "invalid_request_error"),
    ("gpt-4o", {"max_tokens": 0}, anthropic.BadRequestError, "invalid_request_error"),
    ("gpt-4o", {"extra_body": {"temperature": 0.5}}, anthropic.BadRequestError, "invalid_request_error"),
    ("refusing", {}, anthropic.BadRequestError, "invalid_request_error"),
    ("down", {}, anthropic.InternalServerError, "api_error"),
    ("gpt-4o", {"extra_headers": {"x-sluice-tags": "purse=empty"}}, anthropic.APIStatusError, "billing_error"),
    ("gpt-4o", {"extra_headers": {"anthropic-version": "1999-01-01"}},
     anthropic.BadRequestError, "invalid_request_error"),
])
def test_errors_have_anthropics_shape(claude, model, change, error, kind):
    with pytest.raises(error) as raised:
        claude.messages.create(**{"model": model, "max_tokens": 64, "messages": PROMPT, **change})
    assert raised.value.body["type"] == "error"
    assert raised.value.body["error"]["type"] == kind
    assert raised.value.body["error"]["message"]


def test_what_is_found_in_a_message_keeps_it_in_the_house(claude, asked):
    for content in (
        "My card is 4111 1111 1111 1111",
        [{"type": "text", "text": "My card is 4111 1111"}, {"type": "text", "text": "1111 1111"}],
    ):
        with pytest.raises(anthropic.PermissionDeniedError):
            claude.messages.create(model="gpt-4o", max_tokens=64, messages=[{"role": "user", "content": content}])
    result = {"type": "tool_result", "tool_use_id": "c", "content": "card 4111 1111 1111 1111"}
    use = {"type": "tool_use", "id": "c", "name": "lookup", "input": {}}
    turns = [*PROMPT, {"role": "assistant", "content": [use]}, {"role": "user", "content": [result]}]
    with pytest.raises(anthropic.PermissionDeniedError):
        claude.messages.create(model="gpt-4o", max_tokens=64, messages=turns, tools=[TOOL])
    assert asked() == []


def test_a_stream_that_breaks_off_ends_with_an_error_event(claude, gateway):
    with pytest.raises(anthropic.APIStatusError) as raised:
        for _ in claude.messages.create(model="broken", max_tokens=64, messages=PROMPT, stream=True):
            pass
    assert raised.value.body["error"]["type"] == "api_error"


def test_a_client_that_leaves_ends_the_attempt(claude, gateway):
    raw = claude.messages.with_raw_response.create(model="slow", max_tokens=64, messages=PROMPT, stream=True)
    stream = raw.parse()
    next(iter(stream))
    stream.close()
    request = raw.headers["x-sluice-request-id"]
    assert eventually("it has ended", lambda: gateway.outcome(request)) == "disconnected"


def test_a_repeat_gets_the_same_message(claude, gateway, asked):
    headers = {"idempotency-key": "again"}
    body = {"model": "gpt-4o", "max_tokens": 64, "messages": PROMPT}
    first = http("POST", f"{gateway.data}/v1/messages", body, headers)
    again = http("POST", f"{gateway.data}/v1/messages", body, headers)
    assert first[2] == again[2] and json.loads(first[2])["type"] == "message"
    assert len(asked()) == 1
