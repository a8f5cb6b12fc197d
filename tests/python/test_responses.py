"""OpenAI's Responses API, the part without state, as the official client sees it."""

from __future__ import annotations

import json

import openai
import pytest

from harness import eventually, hosted, house, router

CONFIG = (
    house("big-house")
    + hosted("gpt-4o", "echo", provider="big-house") + hosted("with-tools", "echo-tools", provider="big-house")
    + hosted("slow", "echo-slow", provider="big-house") + hosted("broken", "error-event")
    + router(hosted=["gpt-4o"])
    + '[residency.classes.restricted]\nlocations = ["local"]\n'
)
PROMPT = "Name two big rivers"
ANSWER = "one two three four five"
PIECES = "word0 word1 word2 word3 word4 "
TOOL = {
    "type": "function", "name": "lookup", "description": "Looks up the weather", "strict": False,
    "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
}


def test_a_whole_answer_is_a_response_and_on_the_ledger(client, gateway, asked):
    raw = client.responses.with_raw_response.create(model="gpt-4o", input=PROMPT, instructions="Be brief", store=False)
    response = raw.parse()
    assert (response.output_text, response.status) == (ANSWER, "completed")
    assert (response.usage.input_tokens, response.usage.output_tokens) == (16, 5)
    assert (response.store if hasattr(response, "store") else False) is False
    assert asked()[0]["path"] == "/v1/chat/completions"
    assert gateway.outcome(raw.headers["x-sluice-request-id"]) == "ok"
    assert raw.headers["x-sluice-cost-usd"]


def test_a_stream_adds_up_to_the_response(client):
    text, names, last = "", [], None
    for event in client.responses.create(model="gpt-4o", input=PROMPT, stream=True):
        names.append(event.type)
        text += event.delta if event.type == "response.output_text.delta" else ""
        last = event
    assert names[:4] == [
        "response.created", "response.in_progress", "response.output_item.added", "response.content_part.added",
    ]
    assert names[-4:] == [
        "response.output_text.done", "response.content_part.done", "response.output_item.done", "response.completed",
    ]
    assert text == last.response.output_text == PIECES
    assert last.response.usage.total_tokens == 19


def test_the_clients_own_gatherer_is_content(client):
    with client.responses.stream(model="gpt-4o", input=PROMPT) as stream:
        assert stream.get_final_response().output_text == PIECES


def test_tools_are_called_and_their_results_come_back(client, asked):
    response = client.responses.create(model="with-tools", input=PROMPT, tools=[TOOL])
    call = response.output[-1]
    assert (call.type, call.name) == ("function_call", "lookup")
    assert json.loads(call.arguments)
    turns = [{"role": "user", "content": PROMPT}, *[item.to_dict() for item in response.output],
             {"type": "function_call_output", "call_id": call.call_id, "output": "sunny"}]
    assert client.responses.create(model="gpt-4o", input=turns, tools=[TOOL]).output_text == ANSWER
    sent = asked()[-1]["body"]["messages"]
    assert sent[-1] == {"role": "tool", "tool_call_id": call.call_id, "content": "sunny"}


@pytest.mark.parametrize("change, names", [
    ({"previous_response_id": "resp_1"}, "previous_response_id"),
    ({"store": True}, "store"),
    ({"background": True}, "background"),
    ({"tools": [{"type": "web_search"}]}, "tools[0].type"),
])
def test_what_needs_state_or_a_server_is_refused_by_name(client, asked, change, names):
    with pytest.raises(openai.BadRequestError, match="is") as raised:
        client.responses.create(**{"model": "gpt-4o", "input": PROMPT, **change})
    assert names in raised.value.message
    assert asked() == []


def test_what_is_found_in_the_input_keeps_it_in_the_house(client, asked):
    with pytest.raises(openai.PermissionDeniedError):
        client.responses.create(model="gpt-4o", input=[
            {"type": "function_call", "call_id": "c", "name": "lookup", "arguments": "{}"},
            {"type": "function_call_output", "call_id": "c", "output": "card 4111 1111 1111 1111"},
        ])
    assert asked() == []


def test_a_stream_that_breaks_off_ends_with_an_error_event_and_no_completion(client):
    names = []
    with pytest.raises(openai.APIConnectionError):
        for event in client.responses.create(model="broken", input=PROMPT, stream=True):
            names.append(event.type)
    assert names[-1] == "error" and "response.completed" not in names


def test_a_client_that_leaves_ends_the_attempt(client, gateway):
    raw = client.responses.with_raw_response.create(model="slow", input=PROMPT, stream=True)
    stream = raw.parse()
    next(iter(stream))
    stream.close()
    request = raw.headers["x-sluice-request-id"]
    assert eventually("it has ended", lambda: gateway.outcome(request)) == "disconnected"
