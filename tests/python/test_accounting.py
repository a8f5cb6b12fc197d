"""Twenty mixed prompts: headers, ledger, sums, command line and the upstream's own count agree to the last digit."""

from __future__ import annotations

import collections
import dataclasses
import json
from decimal import Decimal

import pytest

from harness import INPUT_USD, LOCAL, OUTPUT_USD, hosted, router, said

CONFIG = LOCAL + hosted("gpt-4o", "echo") + router(local=["smollm2"], hosted=["gpt-4o"], classifier="heuristic")

EASY = [
    "Hello!",
    "What is the capital of France?",
    "Translate 'good night' to Spanish.",
    "Give me a synonym for happy.",
    "Thanks, that helped.",
    "Who wrote Hamlet?",
    "Rewrite politely: give me water.",
    "What is the opposite of cold?",
    "Say hello in one word.",
    "How do you spell banana?",
]
HARD = [
    "Prove that there are infinitely many primes, then derive a bound on the n-th prime step by step.",
    "Implement a lock-free concurrent queue in Rust and explain why it is linearizable.",
    "Design a distributed rate limiter architecture and compare the trade-offs of three algorithms in detail.",
    "Solve the equation x^3 - 6x^2 + 11x - 6 = 0, then compute the probability that a root is even and prove it.",
    "Write a comprehensive report on the legal consequences of this contract and analyse each clause in detail.",
    "Debug this race condition: two threads refactor the same matrix; derive the algorithm that avoids it.",
    "Explain how the eigenvalues of a matrix follow from its characteristic polynomial, and prove each step.",
    "Implement a SQL query planner, evaluate its complexity and critique the strategy of its join algorithm.",
    "Write a detailed business plan and an essay that evaluates the strategy, the trade-offs and the legal risks.",
    "Derive the integral of x^2 * e^x step by step, then prove by induction the equation for x^n * e^x.",
]
# Every third is streamed, every fourth carries tags, one of them two.
PROMPTS = [prompt for pair in zip(EASY, HARD, strict=True) for prompt in pair]
TAGS = {0: "job=nightly", 4: "job=nightly,owner=ada", 8: "job=daily", 12: "owner=ada", 16: "job=daily", 17: "job=daily"}


@dataclasses.dataclass(frozen=True)
class Answer:
    """What the client saw of one answer."""

    prompt: str
    streamed: bool
    tags: dict
    headers: dict
    usage: tuple[int, int]
    cost: str

    @property
    def route(self):
        return self.headers["x-sluice-route"]

    @property
    def baseline(self):
        return self.usage[0] * INPUT_USD + self.usage[1] * OUTPUT_USD


def ask(client, n: int, prompt: str) -> Answer:
    tags = TAGS.get(n, "")
    headers = {"x-sluice-tags": tags} if tags else {}
    streamed = n % 3 == 0
    options = {"stream_options": {"include_usage": True}} if streamed else {}
    with client.chat.completions.with_streaming_response.create(
        model="auto", messages=said(prompt), max_tokens=6, stream=streamed, extra_headers=headers, **options
    ) as raw:
        lines = [line for line in raw.iter_lines() if line]
        headers = {name.lower(): value for name, value in raw.headers.items()}
    if streamed:
        assert lines[-1] == "data: [DONE]"
        [cost] = [line.partition("=")[2] for line in lines if line.startswith(": sluice-cost-usd=")]
        usage = json.loads(lines[-3].removeprefix("data: "))["usage"]
    else:
        cost = headers["x-sluice-cost-usd"]
        usage = json.loads("".join(lines))["usage"]
    parsed = dict(tag.split("=") for tag in tags.split(",") if tag)
    return Answer(prompt, streamed, parsed, headers, (usage["prompt_tokens"], usage["completion_tokens"]), cost)


@pytest.fixture(scope="module")
def answers(client, upstream):
    before = len(upstream.asked())
    given = [ask(client, n, prompt) for n, prompt in enumerate(PROMPTS)]
    return given, upstream.asked()[before:]


@pytest.fixture(scope="module")
def given(answers):
    return answers[0]


@pytest.fixture(scope="module")
def asked_of_upstream(answers):
    return answers[1]


def of(given, route):
    return [answer for answer in given if answer.route == route]


def expected(given, groups_of) -> dict:
    """The rows of `/api/spend`, from what the client saw."""
    rows = collections.defaultdict(lambda: [0, 0, 0, Decimal(0), Decimal(0)])
    for answer in given:
        for group in groups_of(answer):
            parts = (1, *answer.usage, Decimal(answer.cost), answer.baseline)
            rows[group] = [sum(pair) for pair in zip(rows[group], parts, strict=True)]
    return dict(rows)


def parts(row) -> list:
    money = [Decimal(row["cost_usd"]), Decimal(row["baseline_usd"])]
    return [row["requests"], row["input_tokens"], row["output_tokens"], *money]


GROUPS = {
    "route": lambda answer: [answer.route],
    "model": lambda answer: [answer.headers["x-sluice-model"]],
    "provider": lambda answer: [answer.headers["x-sluice-provider"]],
    "tag": lambda answer: [f"{name}={value}" for name, value in answer.tags.items()],
}


def test_easy_prompts_stay_and_hard_ones_go(given):
    assert len(given) == 20
    assert {answer.prompt for answer in of(given, "hosted")} == set(HARD)
    assert {answer.prompt for answer in of(given, "local")} == set(EASY)


def test_every_answer_says_who_gave_it_and_why(given):
    models = {"local": ("smollm2", "in-process"), "hosted": ("gpt-4o", "gpt-4o")}
    for answer in given:
        assert (answer.headers["x-sluice-model"], answer.headers["x-sluice-provider"]) == models[answer.route]
        assert answer.headers["x-sluice-reason"] == "classifier"
        assert answer.headers["x-sluice-attempts"] == "1"
        assert 0 <= Decimal(answer.headers["x-sluice-score"]) <= 1
        assert Decimal(answer.headers["x-sluice-overhead-ms"]) >= 0
    assert len({answer.headers["x-sluice-request-id"] for answer in given}) == 20


def test_every_answer_costs_its_tokens_at_the_price(given):
    for answer in given:
        if answer.route == "local":
            assert answer.cost == "0.000000"
        else:
            assert Decimal(answer.cost) == answer.baseline > 0


def test_the_ledger_says_what_the_headers_said(given, gateway):
    for answer in given:
        story = gateway.story(answer.headers["x-sluice-request-id"])
        [attempt] = story["attempt_log"]
        assert (attempt["input_tokens"], attempt["output_tokens"]) == answer.usage
        assert (attempt["outcome"], attempt["counted"]) == ("ok", "exact")
        assert attempt["cost_usd"] == answer.cost
        assert Decimal(attempt["baseline_usd"]) == answer.baseline
        assert story["score"] == Decimal(answer.headers["x-sluice-score"])
        assert (story["status"], story["tags"], story["asked"]) == (200, answer.tags, "auto")
        for name in ("route", "model", "reason"):
            assert story[name] == answer.headers[f"x-sluice-{name}"]


def test_the_list_of_requests_has_each_once(given, gateway):
    listed = gateway.api("/api/requests?limit=100")["requests"]
    assert sorted(row["id"] for row in listed) == sorted(answer.headers["x-sluice-request-id"] for answer in given)
    for route in ("local", "hosted"):
        rows = gateway.api(f"/api/requests?route={route}&limit=100")["requests"]
        assert {row["id"] for row in rows} == {answer.headers["x-sluice-request-id"] for answer in of(given, route)}


def test_the_list_of_requests_is_paged_without_gaps(given, gateway):
    ids, before = [], ""
    while before is not None:
        page = gateway.api(f"/api/requests?limit=7&before={before}")
        ids += [row["id"] for row in page["requests"]]
        before = page["next"]
    assert ids == [answer.headers["x-sluice-request-id"] for answer in reversed(given)]


def test_the_upstream_counts_the_same(given, asked_of_upstream):
    sent = of(given, "hosted")
    assert [entry["body"]["messages"][-1]["content"] for entry in asked_of_upstream] == [a.prompt for a in sent]
    assert [tuple(entry["stated"]) for entry in asked_of_upstream] == [answer.usage for answer in sent]
    assert [entry["body"].get("stream", False) for entry in asked_of_upstream] == [answer.streamed for answer in sent]


@pytest.mark.parametrize("by", GROUPS)
def test_the_sums_are_those_of_the_answers(given, gateway, by):
    table = gateway.api(f"/api/spend?group_by={by}")
    assert {row["group"]: parts(row) for row in table["rows"]} == expected(given, GROUPS[by])
    assert parts(table["total"]) == expected(given, lambda answer: ["all"])["all"]
    assert table["next"] is None


@pytest.mark.parametrize("by", GROUPS)
def test_the_command_line_says_the_same_while_the_gateway_runs(given, gateway, by):
    assert gateway.report("spend", "--group-by", by) == gateway.api(f"/api/spend?group_by={by}")


def test_money_is_text_never_a_number(given, gateway):
    table = gateway.api("/api/spend?group_by=model")
    for row in [*table["rows"], table["total"]]:
        assert isinstance(row["cost_usd"], str) and isinstance(row["baseline_usd"], str)


def test_the_ledger_verifies_while_the_gateway_runs(given, gateway):
    done = gateway.command("ledger", "verify", "--json")
    assert done.returncode == 0, done.stdout + done.stderr
    assert json.loads(done.stdout)["valid"] is True
