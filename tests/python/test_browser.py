"""The page on the admin listener, in a real browser without a screen."""

from __future__ import annotations

import html.parser
import re
import shutil
import subprocess
from decimal import Decimal

import pytest

from harness import PATIENCE, environment, hosted, http, router, said, skip

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome", "chrome"))), None)

@pytest.fixture(autouse=True)
def browser():
    if CHROMIUM is None:
        skip("chromium", "there is no Chromium on this machine (Debian: chromium)")


CONFIG = hosted("gpt-4o", "echo") + router(hosted=["gpt-4o"])


class Text(html.parser.HTMLParser):
    """The text of a page, without its scripts and styles."""

    def __init__(self, page: str):
        super().__init__()
        self._hidden = 0
        self.words: list[str] = []
        self.title = ""
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self._hidden += tag in ("script", "style", "noscript")
        self._tag = tag

    def handle_endtag(self, tag):
        self._hidden -= tag in ("script", "style", "noscript")
        self._tag = None

    def handle_data(self, data):
        if self._tag == "title":
            self.title += data
        if not self._hidden:
            self.words += data.split()

    _tag = None


def page(gateway, tmp_path, anchor="") -> Text:
    """The document as it stands once its scripts have run."""
    done = subprocess.run(
        [CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking",
         f"--user-data-dir={tmp_path}", "--window-size=1400,1200", "--virtual-time-budget=5000", "--dump-dom",
         f"{gateway.admin}/{anchor}"],
        env=environment(), stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=PATIENCE, check=False,
    )
    assert done.returncode == 0, done.stderr
    return Text(done.stdout)


def amounts(text: Text) -> set[Decimal]:
    """Every number on the page."""
    return {Decimal(number) for word in text.words for number in re.findall(r"\d+\.\d+|\d+", word.replace(",", ""))}


@pytest.fixture(scope="module")
def spent(client):
    """Three answers, and what they cost."""
    create = client.chat.completions.with_raw_response.create
    raws = [create(model="gpt-4o", messages=said("Name two big rivers " * n)) for n in (11, 13, 17)]
    return [raw.headers["x-sluice-request-id"] for raw in raws], [raw.headers["x-sluice-cost-usd"] for raw in raws]


def test_the_page_shows_what_was_spent(gateway, spent, tmp_path):
    total = gateway.api("/api/spend?group_by=model")["total"]
    shown = page(gateway, tmp_path)
    assert "Sluice" in shown.title
    assert "gpt-4o" in shown.words
    assert Decimal(total["cost_usd"]) == sum(map(Decimal, spent[1]))
    assert {Decimal(total["cost_usd"]), Decimal(total["input_tokens"]), Decimal(3)} <= amounts(shown)


def test_the_page_shows_the_latest_requests(gateway, spent, tmp_path):
    shown = page(gateway, tmp_path, "#/requests")
    assert {Decimal(cost) for cost in spent[1]} <= amounts(shown)
    assert "gpt-4o" in shown.words and "pinned" in shown.words


def test_the_page_needs_nothing_from_elsewhere(gateway):
    status, headers, text = http("GET", f"{gateway.admin}/")
    assert status == 200 and headers["content-type"].startswith("text/html")
    addresses = re.findall(r'(?:src|href)="([^"]+)"', text)
    assert addresses and all(address.startswith(("/", "#")) for address in addresses)
    for address in {address for address in addresses if address.startswith("/")}:
        assert http("GET", gateway.admin + address)[0] == 200, address
