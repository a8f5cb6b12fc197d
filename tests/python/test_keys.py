"""Virtual keys, made and revoked on the command line while the gateway runs."""

from __future__ import annotations

import time
from decimal import Decimal

import openai
import pytest

from harness import hosted, house, http, router, said

PROMPT = said("Name two big rivers")

CONFIG = (
    house("big-house")
    + "".join(hosted(name, "echo", provider="big-house") for name in ("gpt-4o", "gpt-4o-mini"))
    + router(hosted=["gpt-4o", "gpt-4o-mini"])
)


@pytest.fixture(scope="module")
def make(gateway):
    """Makes a key; from the first on, every request needs one."""

    def make(name, *options):
        made = gateway.report("keys", "create", "--name", name, *options)
        within_a_second(lambda: accepted(gateway, made["key"]))
        return made

    make("first")
    within_a_second(lambda: not accepted(gateway, "unused"))
    return make


def create(gateway, key, **fields):
    with gateway.client(key) as client:
        return client.chat.completions.with_raw_response.create(
            **{"model": "gpt-4o", "messages": PROMPT, **fields}
        )


def accepted(gateway, key) -> bool:
    with gateway.client(key) as client:
        try:
            return bool(client.models.list().data)
        except openai.AuthenticationError:
            return False


def within_a_second(holds):
    """A request that begins more than a second after the command has ended must see its effect."""
    ended = time.monotonic()
    while True:
        began = time.monotonic()
        if holds():
            return
        assert began - ended <= 1.0, "no effect after a second"


# This test comes first: from the first key on, it would be another promise.
def test_without_any_key_this_machine_is_served_and_a_presented_key_is_ignored(gateway):
    assert create(gateway, "sk-whatever").headers["x-sluice-model"] == "gpt-4o"


def test_once_a_key_exists_no_other_is_accepted(gateway, make, asked):
    for key in ("sk-whatever", "sk-sluice-" + "0" * 43):
        with pytest.raises(openai.AuthenticationError) as caught:
            create(gateway, key)
        assert (caught.value.status_code, caught.value.code) == (401, "invalid_api_key")
        assert key not in str(caught.value)
    assert asked() == []


def test_once_a_key_exists_a_request_without_one_is_refused(gateway, make, asked):
    status, headers, text = gateway.post("/v1/chat/completions", {"model": "gpt-4o", "messages": PROMPT})
    assert status == 401 and '"authentication_error"' in text
    assert headers["x-sluice-request-id"]
    assert asked() == []


@pytest.mark.parametrize("name", ["x-sluice-reason", "x-sluice-attempts", "x-sluice-overhead-ms"])
def test_an_unauthorized_answer_carries_the_headers_of_every_answer(gateway, make, name):
    with pytest.raises(openai.AuthenticationError) as caught:
        create(gateway, "sk-whatever")
    assert caught.value.response.headers.get(name)


def test_health_is_open_without_a_key(gateway, make):
    assert [http("GET", f"{gateway.data}{path}")[0] for path in ("/livez", "/readyz")] == [200, 200]


def test_a_key_is_accepted_in_either_header(gateway, make):
    key = make("either")["key"]
    assert key.startswith("sk-sluice-")
    assert create(gateway, key).headers["x-sluice-route"] == "hosted"
    body = {"model": "gpt-4o", "messages": PROMPT}
    assert gateway.post("/v1/chat/completions", body, {"x-api-key": key})[0] == 200


def test_a_key_is_shown_once_and_stored_hashed(gateway, make):
    made = make("secret", "--team", "research")
    listed = gateway.command("keys", "list", "--json").stdout
    assert made["id"] in listed and "research" in listed and made["key"] not in listed
    files = [path for path in gateway.folder.iterdir() if path.is_file()]
    assert any(path.name == "sluice.db" for path in files)
    assert all(made["key"].encode() not in path.read_bytes() for path in files)


def test_a_revoked_key_is_refused_within_a_second(gateway, make):
    made = make("leaver")
    assert create(gateway, made["key"]).headers["x-sluice-route"] == "hosted"
    gateway.report("keys", "revoke", made["id"])
    within_a_second(lambda: not accepted(gateway, made["key"]))
    with pytest.raises(openai.AuthenticationError) as caught:
        create(gateway, made["key"])
    assert caught.value.code == "invalid_api_key"


def test_a_key_with_a_list_of_models_opens_only_those(gateway, make, asked):
    key = make("narrow", "--models", "gpt-4o-mini")["key"]
    with pytest.raises(openai.PermissionDeniedError) as caught:
        create(gateway, key)
    assert caught.value.code == "model_not_allowed" and "gpt-4o" in caught.value.message
    assert asked() == []
    assert create(gateway, key, model="gpt-4o-mini").headers["x-sluice-model"] == "gpt-4o-mini"
    assert create(gateway, key, model="auto").headers["x-sluice-model"] == "gpt-4o-mini"


def test_a_key_with_a_list_of_models_sees_only_those(gateway, make):
    with gateway.client(make("short-sighted", "--models", "gpt-4o-mini")["key"]) as client:
        assert {model.id for model in client.models.list()} == {"auto", "gpt-4o-mini"}
        with pytest.raises(openai.NotFoundError):
            client.models.retrieve("gpt-4o")


def test_a_keys_own_budget_holds(gateway, make, asked):
    key = make("poor", "--budget", "0.002 USD/month")["key"]
    with pytest.raises(openai.APIStatusError) as caught:
        create(gateway, key, max_tokens=1_000)
    assert caught.value.status_code == 402
    assert asked() == []
    assert create(gateway, key, max_tokens=1).headers["x-sluice-route"] == "hosted"


def test_spend_is_accounted_to_the_key_and_its_team(gateway, make):
    key = make("spender", "--team", "payers")["key"]
    costs = [Decimal(create(gateway, key).headers["x-sluice-cost-usd"]) for _ in range(3)]
    for group, name in (("key", "spender"), ("team", "payers")):
        rows = gateway.api(f"/api/spend?group_by={group}")["rows"]
        [row] = [row for row in rows if row["group"] == name]
        assert (row["requests"], Decimal(row["cost_usd"])) == (3, sum(costs))


@pytest.mark.parametrize("headers", [{"authorization": "Bearer {}"}, {"x-api-key": "{}"}], ids=["bearer", "x-api-key"])
def test_a_data_key_opens_nothing_on_the_admin_listener(gateway, make, curious, headers):
    presented = {name: value.format(curious) for name, value in headers.items()}
    for path in ("/api/spend", "/api/keys", "/metrics"):
        assert http("GET", gateway.admin + path, headers=presented)[0] in (401, 403), path


@pytest.fixture(scope="module")
def curious(make):
    return make("curious")["key"]
