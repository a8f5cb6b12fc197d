"""Embeddings, as the official client of OpenAI sees them: relayed from a hosted provider, and made in the process."""

from __future__ import annotations

import math
from decimal import Decimal

import openai
import pytest

from harness import house, router

CONFIG = (
    house("big-house")
    + '[models.vectors]\nprovider = "big-house"\nupstream = "text-embedding-3-small"\n'
    + '[models.chatty]\nprovider = "big-house"\nupstream = "echo"\n'
    + '[providers.minilm]\nkind = "encoder"\n[models.house]\nprovider = "minilm"\n'
    + router(hosted=["chatty"])
)


@pytest.mark.parametrize("form", ["float", "base64", openai.NOT_GIVEN])
def test_hosted_vectors_come_in_every_form(client, asked, form):
    answer = client.embeddings.create(model="vectors", input=["two words", "three more words"], encoding_format=form)
    vectors = [entry.embedding for entry in answer.data]
    # Asked for base64, the client gives what came; left to itself it asks for base64 and unpacks it.
    if form == "base64":
        assert all(isinstance(vector, str) for vector in vectors)
    else:
        assert vectors == [[0.0, 0.5, -0.25], [1.0, 0.5, -0.25]]
    assert (answer.usage.prompt_tokens, answer.usage.total_tokens) == (5, 5)
    (sent,) = asked()
    assert (sent["path"], sent["body"]["model"]) == ("/v1/embeddings", "text-embedding-3-small")


def test_tokens_may_be_sent_in_place_of_texts(client, gateway):
    raw = client.embeddings.with_raw_response.create(model="vectors", input=[[1, 2, 3], [4, 5]], dimensions=3)
    assert len(raw.parse().data) == 2
    assert Decimal(raw.headers["x-sluice-cost-usd"]) == 5 * Decimal("0.02") / 1_000_000
    assert gateway.story(raw.headers["x-sluice-request-id"])["endpoint"] == "embeddings"


@pytest.mark.parametrize("form", ["float", openai.NOT_GIVEN])
def test_the_encoder_in_the_process_makes_vectors(client, asked, form):
    texts = ["How do I reset my password?", "I forgot my login, help me", "The harvest of olives was good"]
    answer = client.embeddings.create(model="house", input=texts, encoding_format=form)
    vectors = [entry.embedding for entry in answer.data]
    assert [entry.index for entry in answer.data] == [0, 1, 2]
    product = lambda one, other: math.fsum(a * b for a, b in zip(one, other, strict=True))  # noqa: E731
    assert all(len(vector) == 384 and abs(product(vector, vector) - 1) < 1e-4 for vector in vectors)
    assert product(vectors[0], vectors[1]) > product(vectors[0], vectors[2]) + 0.2
    assert answer.usage.prompt_tokens > 20
    assert asked() == []


@pytest.mark.parametrize("model, change, error", [
    ("auto", {}, openai.BadRequestError),
    ("nobody", {}, openai.NotFoundError),
    ("chatty", {}, openai.UnprocessableEntityError),
    ("vectors", {"input": []}, openai.BadRequestError),
    ("house", {"dimensions": 64}, openai.BadRequestError),
    ("house", {"input": "word " * 300}, openai.BadRequestError),
    ("house", {"input": [1, 2, 3]}, openai.UnprocessableEntityError),
])
def test_what_cannot_be_done_is_said(client, asked, model, change, error):
    with pytest.raises(error) as raised:
        client.embeddings.create(**{"model": model, "input": "x", **change})
    assert raised.value.body["message"]
    assert asked() == []


def test_a_chat_on_an_embedding_model_is_refused(client):
    with pytest.raises(openai.UnprocessableEntityError) as raised:
        client.chat.completions.create(model="vectors", messages=[{"role": "user", "content": "hello"}])
    assert "/v1/embeddings" in raised.value.body["message"]
