"""A provider that speaks Anthropic's API, behind the official clients of OpenAI and of Anthropic."""

from __future__ import annotations

from decimal import Decimal

import anthropic
import openai
import pytest

from harness import INPUT_USD, OUTPUT_USD, UPSTREAM, hosted, router, said, text_of

MODELS = {"claude": "echo", "with-tools": "echo-tools", "down": "status-529", "broken": "error-event"}
CONFIG = (
    "".join(f'[providers."{name}"]\nkind = "anthropic"\nbase_url = "{UPSTREAM}"\nregion = "us"\n' for name in MODELS)
    + "".join(hosted(name, plays, provider=name) for name, plays in MODELS.items())
    + router(hosted=["claude"])
)
PROMPT = said("Name two big rivers")
# Four words, so the fake states 14 tokens in and 5 out.
COST = 14 * INPUT_USD + 5 * OUTPUT_USD
ANSWER = "one two three four five"
PIECES = "word0 word1 word2 word3 word4 "


def test_a_chat_is_answered_whole_and_streamed(client, gateway, asked):
    raw = client.chat.completions.with_raw_response.create(model="claude", messages=PROMPT, max_tokens=64)
    answer = raw.parse()
    assert (answer.choices[0].message.content, answer.choices[0].finish_reason) == (ANSWER, "stop")
    assert (answer.usage.prompt_tokens, answer.usage.completion_tokens) == (14, 5)
    assert Decimal(raw.headers["x-sluice-cost-usd"]) == COST
    options = {"include_usage": True}
    chunks = list(client.chat.completions.create(model="claude", messages=PROMPT, stream=True, stream_options=options))
    assert text_of(chunks) == PIECES
    assert chunks[-1].usage.total_tokens == 19
    assert [sent["path"] for sent in asked()] == ["/v1/messages"] * 2


@pytest.mark.parametrize("streamed", [False, True])
def test_both_clients_can_call_tools(client, claude, streamed):
    schema = {"type": "object", "properties": {"city": {"type": "string"}}}
    tools = [{"type": "function", "function": {"name": "lookup", "parameters": schema}}]
    wanted = {"model": "with-tools", "messages": PROMPT, "tools": tools}
    if streamed:
        with client.chat.completions.stream(**wanted) as stream:
            choice = stream.get_final_completion().choices[0]
    else:
        choice = client.chat.completions.create(**wanted).choices[0]
    assert choice.finish_reason == "tool_calls"
    assert choice.message.tool_calls[0].function.arguments == '{"city":"Paris"}'
    tool = {"name": "lookup", "input_schema": schema}
    wanted = {"model": "with-tools", "max_tokens": 64, "messages": PROMPT, "tools": [tool]}
    if streamed:
        with claude.messages.stream(**wanted) as stream:
            message = stream.get_final_message()
    else:
        message = claude.messages.create(**wanted)
    assert (message.stop_reason, message.content[0].input) == ("tool_use", {"city": "Paris"})
    assert message.usage.input_tokens == 14


def test_its_errors_are_errors_of_both_clients(client, claude):
    with pytest.raises(openai.InternalServerError):
        client.chat.completions.create(model="down", messages=PROMPT)
    with pytest.raises(anthropic.InternalServerError):
        claude.messages.create(model="down", max_tokens=9, messages=PROMPT)
    with pytest.raises(openai.APIError):
        list(client.chat.completions.create(model="broken", messages=PROMPT, stream=True))
