#!/usr/bin/env python3
"""Makes prices.json, the price table that Sluice carries, from the PyPI package `litellm`.

    python make_prices.py                      # the newest release, fetched with pip
    python make_prices.py --version 1.109.1    # that release, fetched with pip
    python make_prices.py path/to/litellm.whl  # a wheel that is already here, no network
    python make_prices.py WHEEL --check        # write nothing; exit 1 if prices.json is not what WHEEL gives

Prices are never turned into floating point: each number is copied with the digits it is spelled with.
Only the standard library is used.
"""

from __future__ import annotations

import argparse
import datetime
import decimal
import hashlib
import json
import pathlib
import re
import subprocess
import sys
import tempfile
import zipfile

PACKAGE = "litellm"
MEMBER = "litellm/model_prices_and_context_window_backup.json"
LICENCE = "MIT"
COPYRIGHT = "Copyright (c) 2023 Berri AI"
HERE = pathlib.Path(__file__).resolve().parent

MODES = frozenset({"chat", "completion", "embedding", "responses"})

# Prices of one token, in dollars. Each may have a dearer tier for prompts above a size, and a batch price.
PRICE = re.compile(
    r"(?:input_cost_per_token|output_cost_per_token"
    r"|cache_read_input_token_cost|cache_creation_input_token_cost(?:_above_1hr)?"
    r"|output_cost_per_reasoning_token|input_cost_per_audio_token|output_cost_per_audio_token)"
    r"(?:_above_[0-9]+k_tokens)?(?:_batches)?"
)
WHOLE = frozenset({"max_input_tokens", "max_output_tokens"})
TEXT = frozenset({"litellm_provider", "mode"})
FLAG = frozenset({"supports_function_calling", "supports_vision", "supports_response_schema"})
# Any other key that names a charge. A model whose token prices are all zero while one of these is not is not free.
OTHER_CHARGE = re.compile(r".*(?:cost|pricing).*")

# What a JSON number may look like; a price may not be negative.
NUMBER = re.compile(r"(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?")
INTEGER = re.compile(r"0|[1-9][0-9]*")


class Spelled(str):
    """A number, kept as the digits it was spelled with."""


def spelled(text: str) -> Spelled:
    return Spelled(text)


def refuse_constant(text: str) -> None:
    raise SystemExit(f"the table holds {text}, which is not a number")


def without_repeats(pairs: list[tuple[str, object]]) -> dict[str, object]:
    table = dict(pairs)
    if len(table) != len(pairs):
        names = [name for name, _ in pairs]
        twice = sorted({name for name in names if names.count(name) > 1})
        raise SystemExit(f"the table names these keys twice: {', '.join(twice)}")
    return table


def parse(raw: bytes | str) -> dict[str, dict]:
    return json.loads(
        raw,
        parse_float=spelled,
        parse_int=spelled,
        parse_constant=refuse_constant,
        object_pairs_hook=without_repeats,
    )


def is_zero(value: object) -> bool:
    return isinstance(value, Spelled) and decimal.Decimal(value) == 0


def reduce_model(name: str, full: dict) -> dict:
    """The part of one entry that Sluice reads. A value of an unexpected kind stops the run: money is not guessed."""
    kept: dict[str, object] = {}
    for key, value in full.items():
        if value is None:
            continue
        if PRICE.fullmatch(key):
            good = isinstance(value, Spelled) and NUMBER.fullmatch(value)
        elif key in WHOLE:
            good = isinstance(value, Spelled) and INTEGER.fullmatch(value)
        elif key in TEXT:
            good = isinstance(value, str) and not isinstance(value, Spelled)
        elif key in FLAG:
            good = isinstance(value, bool)
        else:
            continue
        if not good:
            raise SystemExit(f"{name}: {key} is {value!r}, which is not what was expected there")
        kept[key] = value

    prices = [key for key in kept if PRICE.fullmatch(key)]
    charged_otherwise = any(
        OTHER_CHARGE.fullmatch(key) and key not in kept and value and not is_zero(value) for key, value in full.items()
    )
    if prices and charged_otherwise and all(is_zero(kept[key]) for key in prices):
        for key in prices:
            del kept[key]
    return kept


def reduce_table(full: dict[str, dict]) -> dict[str, dict]:
    return {
        name: reduce_model(name, entry)
        for name, entry in sorted(full.items())
        if isinstance(entry, dict) and entry.get("mode") in MODES
    }


def encode(value: object) -> str:
    if isinstance(value, Spelled):
        return str(value)
    if isinstance(value, dict):
        return "{" + ", ".join(f"{json.dumps(key)}: {encode(value[key])}" for key in sorted(value)) + "}"
    return json.dumps(value)


def render(meta: dict, models: dict[str, dict]) -> str:
    lines = [f'"_meta": {encode(meta)}'] + [f"{json.dumps(name)}: {encode(entry)}" for name, entry in models.items()]
    return "{\n" + ",\n".join(lines) + "\n}\n"


def build(wheel: pathlib.Path, read_on: str) -> tuple[str, dict[str, dict]]:
    with zipfile.ZipFile(wheel) as archive:
        raw = archive.read(MEMBER)
        records = [name for name in archive.namelist() if name.endswith(".dist-info/METADATA")]
        if len(records) != 1:
            raise SystemExit(f"{wheel.name} has {len(records)} METADATA files, expected one")
        header = archive.read(records[0]).decode("utf-8").split("\n\n", 1)[0]
    fields = dict(re.findall(r"(?m)^(Name|Version): (.+?)\s*$", header))
    if fields.get("Name") != PACKAGE:
        raise SystemExit(f"{wheel.name} is {fields.get('Name')}, not {PACKAGE}")

    full = parse(raw)
    models = reduce_table(full)
    meta = {
        "copyright": COPYRIGHT,
        "date_read": read_on,
        "file": MEMBER,
        "licence": LICENCE,
        "models": Spelled(len(models)),
        "sha256": hashlib.sha256(raw).hexdigest(),
        "source_package": PACKAGE,
        "version": fields["Version"],
    }
    text = render(meta, models)

    # Read back what is about to be written: every number must have the digits of the original.
    again = parse(text)
    if list(again)[0] != "_meta" or again.pop("_meta") != meta:
        raise SystemExit("_meta did not survive writing")
    for name, entry in again.items():
        for key, value in entry.items():
            if value != full[name][key] or isinstance(value, Spelled) != isinstance(full[name][key], Spelled):
                raise SystemExit(f"{name}: {key} changed from {full[name][key]!r} to {value!r}")
    return text, models


def fetch(version: str | None, folder: str) -> pathlib.Path:
    wanted = f"{PACKAGE}=={version}" if version else PACKAGE
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary", ":all:", "-d", folder]
    subprocess.run([*command, wanted], check=True)
    wheels = sorted(pathlib.Path(folder).glob(f"{PACKAGE}-*.whl"))
    if len(wheels) != 1:
        raise SystemExit(f"pip left {len(wheels)} wheels of {wanted}, expected one")
    return wheels[0]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("wheel", nargs="?", type=pathlib.Path, help="a wheel of litellm; without it pip fetches one")
    parser.add_argument("--version", help="the release that pip shall fetch (default: the newest)")
    parser.add_argument("--out", type=pathlib.Path, default=HERE / "prices.json")
    parser.add_argument("--date", type=datetime.date.fromisoformat, help="the date read (default: today, UTC)")
    parser.add_argument("--check", action="store_true", help="compare with --out instead of writing it")
    args = parser.parse_args()
    if args.wheel and args.version:
        parser.error("give a wheel or --version, not both")

    read_on = args.date or datetime.datetime.now(datetime.timezone.utc).date()
    if args.check and not args.date:
        read_on = json.loads(args.out.read_text(encoding="utf-8"))["_meta"]["date_read"]

    with tempfile.TemporaryDirectory() as folder:
        text, models = build(args.wheel or fetch(args.version, folder), str(read_on))

    priced = sum("input_cost_per_token" in entry for entry in models.values())
    summary = f"{len(models)} models, {priced} with a price, {len(text.encode()):,} bytes"
    if args.check:
        same = args.out.read_text(encoding="utf-8") == text
        print(f"{args.out.name} is {'what' if same else 'NOT what'} the wheel gives: {summary}")
        return 0 if same else 1
    args.out.write_text(text, encoding="utf-8")
    print(f"wrote {args.out.name}: {summary}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
