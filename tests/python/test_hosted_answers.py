"""Answers of a hosted provider, whole and streamed, as the official client sees them."""

from __future__ import annotations

import asyncio
import json
import re
from decimal import Decimal

import openai
import pytest

from harness import INPUT_USD, OUTPUT_USD, eventually, hosted, house, router, said, text_of

MODELS = {"gpt-4o": "echo", "with-tools": "echo-tools", "no-usage": "echo-nousage", "slow": "echo-slow"}
CONFIG = (
    house("big-house")
    + "".join(hosted(name, plays, provider="big-house") for name, plays in MODELS.items())
    + hosted("no-price", "echo", provider="big-house", priced=False)
    + router(hosted=["gpt-4o"])
)

# Four words, so the fake states 14 tokens in and 5 out.
PROMPT = said("Name two big rivers")
COST = 14 * INPUT_USD + 5 * OUTPUT_USD
ANSWER = "one two three four five"
PIECES = "word0 word1 word2 word3 word4 "
TOOLS = [{
    "type": "function",
    "function": {
        "name": "lookup",
        "description": "Looks up the weather",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}]


def test_a_whole_answer_is_the_upstreams(client):
    answer = client.chat.completions.create(model="gpt-4o", messages=PROMPT)
    assert answer.choices[0].message.content == ANSWER
    assert answer.choices[0].message.role == "assistant"
    assert answer.choices[0].finish_reason == "stop"
    assert answer.id == "chatcmpl-fake"
    assert (answer.usage.prompt_tokens, answer.usage.completion_tokens, answer.usage.total_tokens) == (14, 5, 19)


def test_the_model_in_the_answer_is_the_upstreams_own_word(client):
    raw = client.chat.completions.with_raw_response.create(model="gpt-4o", messages=PROMPT)
    assert raw.parse().model == "echo"
    assert raw.headers["x-sluice-model"] == "gpt-4o"


def test_a_whole_answer_says_who_answered_why_and_for_how_much(client, gateway):
    raw = client.chat.completions.with_raw_response.create(model="gpt-4o", messages=PROMPT)
    assert raw.headers["x-sluice-route"] == "hosted"
    assert raw.headers["x-sluice-provider"] == "big-house"
    assert raw.headers["x-sluice-reason"] == "pinned"
    assert raw.headers["x-sluice-attempts"] == "1"
    assert Decimal(raw.headers["x-sluice-overhead-ms"]) >= 0
    assert "x-sluice-score" not in raw.headers
    assert re.fullmatch(r"\d+\.\d{6,}", raw.headers["x-sluice-cost-usd"])
    assert Decimal(raw.headers["x-sluice-cost-usd"]) == COST
    story = gateway.story(raw.headers["x-sluice-request-id"])
    assert (story["route"], story["model"], story["reason"], story["status"]) == ("hosted", "gpt-4o", "pinned", 200)


def test_auto_with_one_hosted_model_is_answered_by_it(client):
    raw = client.chat.completions.with_raw_response.create(model="auto", messages=PROMPT)
    assert (raw.headers["x-sluice-model"], raw.headers["x-sluice-route"]) == ("gpt-4o", "hosted")


def test_a_model_without_a_price_is_unpriced_never_free(client, gateway):
    raw = client.chat.completions.with_raw_response.create(model="no-price", messages=PROMPT)
    assert raw.headers["x-sluice-cost-usd"] == "unpriced"
    attempt = gateway.story(raw.headers["x-sluice-request-id"])["attempt_log"][0]
    assert attempt["cost_usd"] is None
    assert (attempt["input_tokens"], attempt["output_tokens"]) == (14, 5)


def test_tokens_that_the_upstream_does_not_state_are_counted_and_charged(client, gateway):
    raw = client.chat.completions.with_raw_response.create(model="no-usage", messages=PROMPT)
    assert raw.parse().usage is None
    attempt = gateway.story(raw.headers["x-sluice-request-id"])["attempt_log"][0]
    assert attempt["counted"] == "at_least"
    assert attempt["input_tokens"] >= 4 and attempt["output_tokens"] >= 5
    assert Decimal(raw.headers["x-sluice-cost-usd"]) == Decimal(attempt["cost_usd"]) > 0


def test_a_request_id_of_the_clients_own_is_kept(client, gateway):
    raw = client.chat.completions.with_raw_response.create(
        model="gpt-4o", messages=PROMPT, extra_headers={"x-request-id": "mine-1"}
    )
    assert raw.headers["x-sluice-request-id"] == "mine-1"
    assert raw.parse()._request_id == "mine-1"
    assert gateway.outcome("mine-1") == "ok"


def test_a_session_and_tags_are_on_the_ledger(client, gateway):
    headers = {"x-sluice-session": "talk-7", "x-sluice-tags": "job=nightly,owner=ada"}
    raw = client.chat.completions.with_raw_response.create(model="gpt-4o", messages=PROMPT, extra_headers=headers)
    story = gateway.story(raw.headers["x-sluice-request-id"])
    assert story["session"] == "talk-7"
    assert story["tags"] == {"job": "nightly", "owner": "ada"}


# === Streams ===


def test_a_stream_arrives_event_by_event_and_ends(client):
    chunks = list(client.chat.completions.create(model="gpt-4o", messages=PROMPT, stream=True))
    assert text_of(chunks) == PIECES
    assert chunks[0].choices[0].delta.role == "assistant"
    assert [chunk.choices[0].finish_reason for chunk in chunks] == [None] * 5 + ["stop"]


def test_the_client_for_asyncio_gets_whole_and_streamed_answers(gateway):
    async def both():
        async with gateway.async_client() as client:
            async def streamed():
                stream = await client.chat.completions.create(model="gpt-4o", messages=PROMPT, stream=True)
                return [chunk async for chunk in stream]

            return await asyncio.gather(
                client.chat.completions.create(model="gpt-4o", messages=PROMPT), streamed(), streamed()
            )

    whole, *streams = asyncio.run(both())
    assert whole.choices[0].message.content == ANSWER
    assert [text_of(chunks) for chunks in streams] == [PIECES, PIECES]


def test_a_stream_has_no_usage_unless_it_was_asked_for(client, asked):
    chunks = list(client.chat.completions.create(model="gpt-4o", messages=PROMPT, stream=True))
    assert all(chunk.usage is None and chunk.choices for chunk in chunks)
    # Sluice asks for its own account; the client does not notice.
    assert asked()[0]["body"]["stream_options"]["include_usage"] is True


def test_a_stream_has_usage_when_it_was_asked_for(client):
    options = {"include_usage": True}
    chunks = list(client.chat.completions.create(model="gpt-4o", messages=PROMPT, stream=True, stream_options=options))
    assert [chunk.usage for chunk in chunks[:-1]] == [None] * (len(chunks) - 1)
    assert chunks[-1].choices == []
    assert (chunks[-1].usage.prompt_tokens, chunks[-1].usage.completion_tokens) == (14, 5)


def test_a_stream_is_billed_alike_whether_usage_was_asked_for_or_not(client, gateway):
    costs = set()
    for options in (openai.omit, {"include_usage": False}, {"include_usage": True}):
        raw = client.chat.completions.with_raw_response.create(
            model="gpt-4o", messages=PROMPT, stream=True, stream_options=options
        )
        assert text_of(raw.parse()) == PIECES
        costs.add(gateway.story(raw.headers["x-sluice-request-id"])["attempt_log"][0]["cost_usd"])
    assert {Decimal(cost) for cost in costs} == {COST}


def test_a_stream_carries_the_headers_and_its_cost_in_a_comment_before_the_end(client, gateway):
    with client.chat.completions.with_streaming_response.create(model="gpt-4o", messages=PROMPT, stream=True) as raw:
        assert raw.headers["content-type"].startswith("text/event-stream")
        for name, value in {"route": "hosted", "model": "gpt-4o", "provider": "big-house", "reason": "pinned",
                            "attempts": "1"}.items():
            assert raw.headers[f"x-sluice-{name}"] == value
        assert Decimal(raw.headers["x-sluice-overhead-ms"]) >= 0
        assert "x-sluice-cost-usd" not in raw.headers
        lines = [line for line in raw.iter_lines() if line]
        request_id = raw.headers["x-sluice-request-id"]
    assert lines[-1] == "data: [DONE]"
    assert lines[-2].startswith(": sluice-cost-usd=")
    assert Decimal(lines[-2].partition("=")[2]) == COST
    assert Decimal(gateway.story(request_id)["attempt_log"][0]["cost_usd"]) == COST


def test_a_client_that_closes_a_stream_early_is_on_the_ledger_as_disconnected(client, gateway):
    with client.chat.completions.with_streaming_response.create(
        model="slow", messages=PROMPT, stream=True
    ) as slow:
        next(slow.iter_lines())
        request_id = slow.headers["x-sluice-request-id"]
    eventually("a disconnected attempt", lambda: gateway.outcome(request_id) == "disconnected")


# === Tools, unknown fields, other endpoints ===


def test_tool_calls_come_through_whole(client, asked):
    answer = client.chat.completions.create(
        model="with-tools", messages=PROMPT, tools=TOOLS, tool_choice="required", parallel_tool_calls=False
    )
    [call] = answer.choices[0].message.tool_calls
    assert answer.choices[0].finish_reason == "tool_calls"
    assert (call.id, call.function.name, json.loads(call.function.arguments)) == ("call_1", "lookup", {"city": "Paris"})
    sent = asked()[0]["body"]
    assert (sent["tools"], sent["tool_choice"], sent["parallel_tool_calls"]) == (TOOLS, "required", False)


def test_tool_calls_come_through_streamed(client):
    with client.chat.completions.stream(model="with-tools", messages=PROMPT, tools=TOOLS) as stream:
        done = [event for event in stream if event.type == "tool_calls.function.arguments.done"]
        final = stream.get_final_completion()
    assert [(event.name, json.loads(event.arguments)) for event in done] == [("lookup", {"city": "Paris"})]
    assert final.choices[0].finish_reason == "tool_calls"


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
def test_unknown_fields_reach_the_upstream_as_they_are(client, asked, stream):
    unknown = {"x_new_knob": {"deep": [1, 2.5, None, "ü"]}, "x_flag": False}
    answer = client.chat.completions.create(
        model="gpt-4o", messages=[{"role": "user", "content": "hi", "x_note": 1}], stream=stream, extra_body=unknown
    )
    if stream:
        list(answer)
    sent = asked()[0]["body"]
    assert sent["x_new_knob"] == unknown["x_new_knob"] and sent["x_flag"] is False
    assert sent["messages"] == [{"role": "user", "content": "hi", "x_note": 1}]
    assert sent["model"] == "echo"


def test_unknown_fields_of_the_answer_reach_the_client_to_the_last_digit(client):
    raw = client.chat.completions.with_raw_response.create(model="gpt-4o", messages=PROMPT)
    assert re.search(r'"x_unknown":\{"kept":\[1,2\.50?\]\}', raw.text)
    answer = raw.parse()
    assert answer.model_extra["x_unknown"] == {"kept": [1, 2.5]}
    assert answer.service_tier == "default"


def test_known_fields_reach_the_upstream(client, asked):
    fields = {"temperature": 0.25, "top_p": 0.5, "seed": 7, "stop": ["x"], "max_tokens": 9, "user": "ada",
              "frequency_penalty": 0.5, "response_format": {"type": "json_object"}, "logprobs": True}
    client.chat.completions.create(model="gpt-4o", messages=PROMPT, **fields)
    sent = asked()[0]
    assert sent["path"] == "/v1/chat/completions"
    assert {name: sent["body"][name] for name in fields} == fields


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
def test_the_completions_endpoint_is_relayed_to_the_upstreams(client, asked, stream):
    raw = client.completions.with_raw_response.create(model="gpt-4o", prompt="Once", max_tokens=5, stream=stream)
    answer = raw.parse()
    if stream:
        assert text_of(answer) == PIECES
    else:
        assert answer.choices[0].text == ANSWER
        assert (answer.usage.prompt_tokens, answer.usage.completion_tokens) == (10, 5)
        assert Decimal(raw.headers["x-sluice-cost-usd"]) == 10 * INPUT_USD + 5 * OUTPUT_USD
    assert (raw.headers["x-sluice-route"], raw.headers["x-sluice-model"]) == ("hosted", "gpt-4o")
    [sent] = asked()
    assert (sent["path"], sent["body"]["prompt"], sent["body"]["model"]) == ("/v1/completions", "Once", "echo")


def test_the_models_are_auto_and_the_configured_names(client):
    listed = {model.id: model for model in client.models.list()}
    assert set(listed) == {"auto", "no-price", *MODELS}
    assert all(model.object == "model" and model.owned_by for model in listed.values())


@pytest.mark.parametrize("name", ["gpt-4o", "auto"])
def test_one_model_can_be_retrieved(client, name):
    assert client.models.retrieve(name).id == name


def test_a_model_that_is_not_configured_cannot_be_retrieved(client):
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve("gpt-99")


# === Repeats ===


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
def test_a_repeat_with_the_same_idempotency_key_is_answered_and_billed_once(client, gateway, asked, stream):
    tag = f"repeat={stream}"
    headers = {"idempotency-key": f"order-{stream}", "x-sluice-tags": tag}
    texts = []
    for _ in range(3):
        answer = client.chat.completions.create(model="gpt-4o", messages=PROMPT, stream=stream, extra_headers=headers)
        texts.append(text_of(answer) if stream else answer.choices[0].message.content)
    assert texts == [PIECES if stream else ANSWER] * 3
    assert len(asked()) == 1
    [row] = [row for row in gateway.api("/api/spend?group_by=tag")["rows"] if row["group"] == tag]
    assert (row["requests"], Decimal(row["cost_usd"])) == (1, COST)


def test_requests_with_different_idempotency_keys_are_answered_each(client, asked):
    for key in ("one", "two"):
        client.chat.completions.create(model="gpt-4o", messages=PROMPT, extra_headers={"idempotency-key": key})
    assert len(asked()) == 2
