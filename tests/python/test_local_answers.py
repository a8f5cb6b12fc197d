"""Answers of the real SmolLM2, in process, through the official client."""

from __future__ import annotations

import asyncio
import concurrent.futures

import openai
import pytest

from harness import LOCAL, eventually, router, said, text_of

CONFIG = LOCAL + router(local=["smollm2"])

# Long, at temperature 0, and not the same word for ever.
COUNTING = said("List the numbers from 1 to 100.")
SHORT = said("What is 2+2?")
GREEDY = {"model": "smollm2", "temperature": 0}


def create(client, **fields):
    return client.chat.completions.create(**{**GREEDY, "messages": COUNTING, "max_tokens": 16, **fields})


def content(answer) -> str:
    return answer.choices[0].message.content


def test_a_whole_answer_is_text_with_its_usage(client):
    answer = create(client, messages=SHORT, max_tokens=24)
    assert "4" in content(answer)
    assert answer.choices[0].message.role == "assistant"
    assert answer.object == "chat.completion" and answer.id and answer.created > 1_700_000_000
    usage = answer.usage
    assert usage.prompt_tokens > 5 and 0 < usage.completion_tokens <= 24
    assert usage.total_tokens == usage.prompt_tokens + usage.completion_tokens


def test_a_whole_answer_says_that_it_is_local_and_costs_nothing(client, gateway):
    raw = client.chat.completions.with_raw_response.create(**GREEDY, messages=COUNTING, max_tokens=4)
    for name, value in {"route": "local", "model": "smollm2", "provider": "in-process", "reason": "pinned",
                        "attempts": "1", "cost-usd": "0.000000"}.items():
        assert raw.headers[f"x-sluice-{name}"] == value
    [attempt] = gateway.story(raw.headers["x-sluice-request-id"])["attempt_log"]
    usage = raw.parse().usage
    assert (attempt["input_tokens"], attempt["output_tokens"]) == (usage.prompt_tokens, usage.completion_tokens)
    assert (attempt["outcome"], attempt["counted"], attempt["cost_usd"]) == ("ok", "exact", "0.000000")


def test_a_stream_spells_the_whole_answer_at_temperature_zero(client):
    options = {"include_usage": True}
    whole = create(client, max_tokens=24)
    chunks = list(create(client, max_tokens=24, stream=True, stream_options=options))
    assert text_of(chunks) == content(whole) != ""
    finishes = [chunk.choices[0].finish_reason for chunk in chunks if chunk.choices]
    assert finishes == [None] * (len(finishes) - 1) + [whole.choices[0].finish_reason]
    assert chunks[-1].usage.model_dump() == whole.usage.model_dump()
    assert len({chunk.id for chunk in chunks}) == 1


def test_a_stream_has_no_usage_unless_it_was_asked_for(client):
    assert all(chunk.usage is None and chunk.choices for chunk in create(client, stream=True))


def test_the_client_for_asyncio_gets_a_stream(gateway):
    async def streamed():
        async with gateway.async_client() as client:
            stream = await client.chat.completions.create(**GREEDY, messages=COUNTING, max_tokens=8, stream=True)
            return [chunk async for chunk in stream]

    with gateway.client() as client:
        assert text_of(asyncio.run(streamed())) == content(create(client, max_tokens=8))


# === What a client may say ===


@pytest.mark.parametrize("count", [1, 7, 20])
@pytest.mark.parametrize("field", ["max_tokens", "max_completion_tokens"])
def test_max_tokens_is_exact_and_the_finish_reason_says_so(client, field, count):
    fields = {"max_tokens": openai.omit, field: count}
    answer = create(client, **fields)
    assert (answer.usage.completion_tokens, answer.choices[0].finish_reason) == (count, "length")


def test_max_tokens_is_exact_in_a_stream(client):
    options = {"include_usage": True}
    *chunks, last = create(client, max_tokens=7, stream=True, stream_options=options)
    assert last.usage.completion_tokens == 7
    assert chunks[-1].choices[0].finish_reason == "length"


@pytest.mark.parametrize("stop", ["5", ["never said", "5"], [" 5,"]], ids=["one", "several", "across tokens"])
def test_a_stop_sequence_ends_the_answer_before_it(client, stop):
    answer = create(client, max_tokens=24, stop=stop)
    end = "1, 2, 3, 4," if stop == [" 5,"] else "1, 2, 3, 4, "
    assert (content(answer), answer.choices[0].finish_reason) == (end, "stop")
    assert answer.usage.completion_tokens < 24
    streamed = list(create(client, max_tokens=24, stop=stop, stream=True))
    assert (text_of(streamed), streamed[-1].choices[0].finish_reason) == (end, "stop")


def test_an_answer_that_is_complete_finishes_with_stop(client):
    answer = create(client, messages=SHORT, max_tokens=200)
    assert answer.choices[0].finish_reason == "stop"
    assert answer.usage.completion_tokens < 200
    assert "<|im_end|>" not in content(answer)


def test_the_same_seed_gives_the_same_answer_and_another_seed_another(client):
    fields = {"messages": said("Tell me a story about a dog."), "temperature": 1.2, "max_tokens": 12}
    seven, again, eight = (content(create(client, seed=seed, **fields)) for seed in (7, 7, 8))
    assert seven == again != eight


def test_a_frequency_penalty_makes_words_rarer(client):
    commas = [content(create(client, frequency_penalty=penalty, max_tokens=32)).count(",") for penalty in (0, 2.0)]
    assert commas[0] > commas[1]


def test_a_system_message_and_earlier_turns_are_read(client):
    hello = said("Say hello.")
    french = [{"role": "system", "content": "Answer in French."}, *hello]
    named = [*said("My name is Ada."), {"role": "assistant", "content": "Hello, Ada!"}, *hello]
    plain, bonjour, ada = (content(create(client, messages=turns, max_tokens=8)) for turns in (hello, french, named))
    assert "Bonjour" in bonjour and "Ada" in ada
    assert "Bonjour" not in plain and "Ada" not in plain


# === Log-probabilities ===


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
def test_logprobs_are_those_of_the_tokens_of_the_answer(client, stream):
    answer = create(client, max_tokens=10, logprobs=True, top_logprobs=3, stream=stream)
    if stream:
        chunks = list(answer)
        text = text_of(chunks)
        found = [chunk.choices[0].logprobs.content for chunk in chunks if chunk.choices[0].logprobs]
        tokens = [token for tokens in found for token in tokens or []]
    else:
        text, tokens = content(answer), answer.choices[0].logprobs.content
    assert len(tokens) == 10
    assert b"".join(bytes(token.bytes) for token in tokens).decode() == text
    for token in tokens:
        tops = [top.logprob for top in token.top_logprobs]
        assert len(tops) == 3 and tops == sorted(tops, reverse=True)
        # Greedy: the likeliest was chosen.
        assert token.token == token.top_logprobs[0].token
        assert token.logprob == pytest.approx(tops[0]) and token.logprob <= 0


def test_without_being_asked_for_there_are_no_logprobs(client):
    assert create(client, max_tokens=4).choices[0].logprobs is None


def test_logprobs_without_alternatives_have_none(client):
    tokens = create(client, max_tokens=4, logprobs=True).choices[0].logprobs.content
    assert [token.top_logprobs for token in tokens] == [[]] * 4


# === The completions endpoint ===


def test_the_completions_endpoint_continues_a_text(client):
    fields = {**GREEDY, "prompt": "The capital of France is", "max_tokens": 8}
    answer = client.completions.create(**fields)
    assert answer.object == "text_completion"
    assert "Paris" in answer.choices[0].text
    assert (answer.usage.completion_tokens, answer.choices[0].finish_reason) == (8, "length")
    # The bare text: no chat template around it.
    assert answer.usage.prompt_tokens == 5
    assert text_of(client.completions.create(**fields, stream=True)) == answer.choices[0].text


# === What is refused ===


def test_several_choices_are_not_to_be_had_locally(client):
    with pytest.raises(openai.UnprocessableEntityError) as caught:
        create(client, model="auto", n=2, extra_headers={"x-sluice-route": "local"})
    assert caught.value.code == "no_eligible_model"
    assert caught.value.response.headers["x-sluice-reason"] == "capability"


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
def test_a_prompt_beyond_the_context_window_is_refused_before_it_starts(client, gateway, stream):
    with pytest.raises(openai.BadRequestError) as caught:
        create(client, messages=said("alpha beta gamma " * 5_000), stream=stream)
    assert caught.value.code == "context_length_exceeded"
    assert caught.value.type == "invalid_request_error"
    request_id = caught.value.response.headers["x-sluice-request-id"]
    story = eventually("the refusal is on record", lambda: gateway.known(request_id))
    assert sum(attempt["output_tokens"] for attempt in story["attempt_log"]) == 0


def test_a_hosted_route_is_not_to_be_had_where_there_is_none(client):
    with pytest.raises(openai.UnprocessableEntityError):
        create(client, model="auto", extra_headers={"x-sluice-route": "hosted"})


# === Several at once, and those who leave ===


def test_four_at_once_get_the_answers_they_would_get_alone(client):
    prompts = ["What is the capital of Italy?", "Name a colour.", "What do cows eat?", "Who wrote Hamlet?"]
    alone = [content(create(client, messages=said(prompt))) for prompt in prompts]
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        together = list(pool.map(lambda prompt: content(create(client, messages=said(prompt))), prompts))
    assert together == alone
    assert len(set(alone)) == 4


def test_a_client_that_leaves_a_stream_stops_it_and_the_gateway_goes_on(client, gateway):
    with client.chat.completions.with_streaming_response.create(
        **GREEDY, messages=COUNTING, max_tokens=2_000, stream=True, extra_body={"ignore_eos": True}
    ) as raw:
        lines = (line for line in raw.iter_lines() if line.startswith("data:"))
        read = [next(lines) for _ in range(4)]
        request_id = raw.headers["x-sluice-request-id"]
    eventually("a disconnected attempt", lambda: gateway.outcome(request_id) == "disconnected", within=10)
    [attempt] = gateway.story(request_id)["attempt_log"]
    assert len(read) == 4 and 0 < attempt["output_tokens"] < 100
    assert content(create(client, max_tokens=4))
    assert gateway.outcome(request_id) == "disconnected"
