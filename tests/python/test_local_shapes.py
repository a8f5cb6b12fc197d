"""Answers of the real SmolLM2 in a shape that the client asks for: JSON schemas, expressions, tools."""

from __future__ import annotations

import enum
import json
import re

import openai
import pydantic
import pytest

from harness import LOCAL, router, said

CONFIG = LOCAL + router(local=["smollm2"])

GREEDY = {"model": "smollm2", "temperature": 0}


class Colour(enum.StrEnum):
    RED = "red"
    GREEN = "green"
    BLUE = "blue"


class Verdict(pydantic.BaseModel):
    """Every field is bounded, so that a small model comes to an end."""

    colour: Colour
    warm: bool
    reasons: list[Colour] = pydantic.Field(min_length=2, max_length=2)


ASKING = said("Describe the colour of the sky as JSON.")


def tool(name: str, field: str, values: list[str]) -> dict:
    schema = {"type": "object", "properties": {field: {"type": "string", "enum": values}}, "required": [field],
              "additionalProperties": False}
    function = {"name": name, "description": f"Looks up the {name} by {field}", "parameters": schema, "strict": True}
    return {"type": "function", "function": function}


WEATHER = tool("weather", "city", ["Paris", "London", "Rome"])
CLOCK = tool("clock", "zone", ["UTC", "CET"])
TOOLS = [WEATHER, CLOCK]
ALLOWED = {"weather": [{"city": city} for city in ("Paris", "London", "Rome")],
           "clock": [{"zone": zone} for zone in ("UTC", "CET")]}


def create(client, **fields):
    return client.chat.completions.create(**{**GREEDY, "max_tokens": 64, **fields})


# === JSON and expressions ===


def test_a_model_of_pydantic_is_parsed_from_the_answer(client):
    answer = client.chat.completions.parse(**GREEDY, messages=ASKING, response_format=Verdict, max_tokens=80)
    verdict = answer.choices[0].message.parsed
    assert isinstance(verdict, Verdict)
    assert answer.choices[0].finish_reason == "stop"
    assert Verdict.model_validate_json(answer.choices[0].message.content) == verdict


def test_a_model_of_pydantic_is_parsed_from_a_stream(client):
    with client.chat.completions.stream(**GREEDY, messages=ASKING, response_format=Verdict, max_tokens=80) as stream:
        pieces = [event.delta for event in stream if event.type == "content.delta"]
        final = stream.get_final_completion()
    assert len(pieces) > 5
    assert Verdict.model_validate_json("".join(pieces)) == final.choices[0].message.parsed


def test_a_schema_holds_at_a_high_temperature_too(client):
    for seed in range(2):
        answer = client.chat.completions.parse(
            model="smollm2", temperature=1.5, seed=seed, messages=ASKING, response_format=Verdict, max_tokens=80
        )
        assert answer.choices[0].message.parsed


def test_json_mode_gives_json(client):
    answer = create(client, messages=ASKING, response_format={"type": "json_object"}, max_tokens=60, temperature=0.5,
                    seed=1)
    if answer.choices[0].finish_reason == "stop":
        assert isinstance(json.loads(answer.choices[0].message.content), dict)
    else:
        assert answer.choices[0].message.content.lstrip().startswith("{")


def test_an_expression_holds(client):
    answer = create(client, messages=said("When was the moon landing?"), extra_body={"guided_regex": r"\d{4}-\d{2}"})
    assert re.fullmatch(r"\d{4}-\d{2}", answer.choices[0].message.content)
    assert answer.choices[0].finish_reason == "stop"


@pytest.mark.parametrize("schema", [{"type": "nonsense"}, {"$ref": "#/nowhere"}], ids=["type", "reference"])
def test_a_schema_that_cannot_be_understood_is_the_clients_fault(client, schema):
    shape = {"type": "json_schema", "json_schema": {"name": "odd", "schema": schema, "strict": True}}
    with pytest.raises(openai.BadRequestError) as caught:
        create(client, messages=ASKING, response_format=shape)
    assert caught.value.type == "invalid_request_error"


# === Tools ===


def test_a_required_tool_is_called_with_arguments_of_its_schema(client):
    answer = create(client, messages=said("What is the weather in Paris?"), tools=TOOLS, tool_choice="required")
    [call] = answer.choices[0].message.tool_calls
    assert json.loads(call.function.arguments) in ALLOWED[call.function.name]
    assert call.type == "function" and call.id
    assert answer.choices[0].finish_reason == "tool_calls"
    assert not answer.choices[0].message.content


@pytest.mark.parametrize("name", ["weather", "clock"])
def test_a_named_tool_is_the_one_that_is_called(client, name):
    choice = {"type": "function", "function": {"name": name}}
    answer = create(client, messages=said("What is the weather in Paris?"), tools=TOOLS, tool_choice=choice)
    [call] = answer.choices[0].message.tool_calls
    assert call.function.name == name
    assert json.loads(call.function.arguments) in ALLOWED[name]


def test_a_required_tool_is_called_in_a_stream(client):
    fields = {"messages": said("What is the weather in Paris?"), "tools": TOOLS, "tool_choice": "required"}
    [whole] = create(client, **fields).choices[0].message.tool_calls
    with client.chat.completions.stream(**GREEDY, max_tokens=64, **fields) as stream:
        done = [event for event in stream if event.type == "tool_calls.function.arguments.done"]
        final = stream.get_final_completion()
    [event] = done
    assert (event.name, json.loads(event.arguments)) == (whole.function.name, json.loads(whole.function.arguments))
    assert final.choices[0].finish_reason == "tool_calls"
    assert final.choices[0].message.tool_calls[0].id


def test_no_tool_is_called_when_none_may_be(client):
    answer = create(client, messages=said("What is the weather in Paris?"), tools=TOOLS, tool_choice="none")
    assert not answer.choices[0].message.tool_calls
    assert answer.choices[0].message.content


def test_a_named_tool_that_is_not_offered_is_a_bad_request(client):
    choice = {"type": "function", "function": {"name": "hammer"}}
    with pytest.raises(openai.BadRequestError):
        create(client, messages=said("Hello"), tools=TOOLS, tool_choice=choice)


def test_a_conversation_goes_on_with_the_results_of_tools(client):
    asking = said("What is the weather in Paris? Use the tool.")
    first = create(client, messages=asking, tools=TOOLS, tool_choice="required").choices[0].message
    [call] = first.tool_calls
    turns = [
        *asking,
        first.model_dump(exclude_none=True),
        {"role": "tool", "tool_call_id": call.id, "content": '{"sky": "sunny", "celsius": 21}'},
    ]
    answer = create(client, messages=turns, tools=TOOLS, tool_choice="none")
    without = create(client, messages=[*turns[:-1], {**turns[-1], "content": ""}], tools=TOOLS, tool_choice="none")
    assert answer.choices[0].message.content
    assert answer.usage.prompt_tokens > without.usage.prompt_tokens
