"""The configuration reaches the pod as it was given, and says what the manifests say."""

from __future__ import annotations

import os
import pathlib
import re
import subprocess
import tomllib

import pytest
from chart import EVERY_SET, ROOT, defaults, environment, merged, only, render, server


@EVERY_SET
def test_the_pod_reads_the_configuration_that_was_given(values):
    manifests = render(values)
    text = only(manifests, "ConfigMap")["data"]["sluice.toml"]
    given = values.get("config", defaults()["config"])
    assert tomllib.loads(text) == tomllib.loads(given)
    container = server(manifests)
    assert container["args"] == ["serve", "--config", "/etc/sluice/sluice.toml"]
    assert {"name": "config", "mountPath": "/etc/sluice", "readOnly": True} in container["volumeMounts"]


def test_the_default_configuration_answers_hosted_and_in_process():
    config = tomllib.loads(defaults()["config"])
    assert config["server"] == {
        "listen": "0.0.0.0:8080",
        "admin_listen": "0.0.0.0:8081",
        "admin_token_env": "SLUICE_ADMIN_TOKEN",
    }
    kinds = {name: config["providers"][model["provider"]]["kind"] for name, model in config["models"].items()}
    assert [kinds[name] for name in config["router"]["local"]] == ["mistralrs"]
    assert [kinds[name] for name in config["router"]["hosted"]] == ["openai"]
    assert config["providers"]["hosted"]["api_key_env"] in defaults()["secretEnv"]


def test_the_model_of_the_default_configuration_is_in_the_image_and_not_under_a_mount():
    source = tomllib.loads(defaults()["config"])["providers"]["in-process"]["source"]
    assert source in (ROOT / "Dockerfile").read_text(encoding="utf-8")
    mounts = [pathlib.PurePosixPath(mount["mountPath"]) for mount in server(render({}))["volumeMounts"]]
    assert not any(pathlib.PurePosixPath(source).is_relative_to(mount) for mount in mounts)


@EVERY_SET
def test_what_has_to_agree_with_the_manifests_is_said_once(values):
    manifests = render(values)
    said = {name: variable["value"] for name, variable in environment(manifests).items() if "value" in variable}
    drain = merged(defaults()["drain"], values.get("drain", {}))
    assert said["SLUICE__TIMEOUTS__DRAIN"] == f"{drain['seconds']}s"
    assert said["SLUICE__TIMEOUTS__DRAIN_DELAY"] == f"{drain['minimumDelaySeconds']}s"

    writable = [mount["mountPath"] for mount in server(manifests)["volumeMounts"] if not mount.get("readOnly")]
    assert sorted(writable) == ["/tmp", "/var/lib/sluice"]
    assert said["XDG_CACHE_HOME"] == "/var/lib/sluice/cache"
    url = values.get("sharedStore", {}).get("url")
    if url:
        assert said["SLUICE__LEDGER__URL"] == url and "SLUICE__LEDGER__PATH" not in said
    else:
        assert said["SLUICE__LEDGER__PATH"] == "/var/lib/sluice/sluice.db" and "SLUICE__LEDGER__URL" not in said


def test_a_changed_configuration_makes_new_pods():
    def checksum(values):
        return only(render(values), "Deployment")["spec"]["template"]["metadata"]["annotations"]["checksum/config"]

    before = checksum({})
    after = checksum({"config": defaults()["config"] + '\nhosted_share = "20%"\n'})
    assert re.fullmatch(r"[0-9a-f]{64}", before) and before != after
    assert checksum({"podAnnotations": {"note": "x"}}) == before


def test_sluice_itself_accepts_what_the_chart_gives_it(tmp_path):
    binary = pathlib.Path(os.environ.get("SLUICE_BIN", ROOT / "target" / "release" / "sluice"))
    if not binary.is_file():
        why = "no sluice to ask: build it, or say where it is in SLUICE_BIN"
        must = os.environ.get("SLUICE_TEST_MUST", "").split(",")
        (pytest.fail if "1" in must or "binary" in must else pytest.skip)(why)
    manifests = render({})
    text = only(manifests, "ConfigMap")["data"]["sluice.toml"]
    source = tomllib.loads(text)["providers"]["in-process"]["source"]
    (tmp_path / "sluice.toml").write_text(text.replace(source, "smollm2-135m"), encoding="utf-8")
    said = {name: one.get("value", "x" * 64) for name, one in environment(manifests).items()}
    said["SLUICE__LEDGER__PATH"] = str(tmp_path / "sluice.db")
    said["XDG_CACHE_HOME"] = str(tmp_path / "cache")
    done = subprocess.run(
        [binary, "check", "--config", tmp_path / "sluice.toml"],
        env={"PATH": os.environ["PATH"], **said},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stdout + done.stderr
