"""Secrets come by reference, and a pod may do no more than it needs."""

from __future__ import annotations

import re
import tomllib

import yaml
from chart import (
    CHART,
    EVERY_SET,
    PROXY,
    PROXY_ONLY,
    VALUE_SETS,
    defaults,
    environment,
    every,
    merged,
    notes,
    only,
    pod_specs,
    render,
    server,
)


@EVERY_SET
def test_secrets_come_by_reference_only(values):
    manifests = render(values)
    assert every(manifests, "Secret") == []
    wanted = {name: entry for name, entry in merged(defaults()["secretEnv"], values.get("secretEnv", {})).items() if entry}
    variables = environment(manifests)
    for name, entry in wanted.items():
        assert variables[name] == {
            "name": name,
            "valueFrom": {
                "secretKeyRef": {
                    "name": entry.get("secret", "sluice-secrets"),
                    "key": entry["key"],
                    "optional": entry.get("optional", False),
                }
            },
        }
    for name, variable in variables.items():
        if name not in wanted:
            assert set(variable) == {"name", "value"}
            assert not re.search(r"(^|_)(KEY|TOKEN|SECRET|PASSWORD)$", name)


@EVERY_SET
def test_every_secret_that_the_configuration_names_reaches_the_pod(values):
    manifests = render(values)
    config = tomllib.loads(only(manifests, "ConfigMap")["data"]["sluice.toml"])

    def named(value):
        if isinstance(value, dict):
            for key, inner in value.items():
                if key.endswith("_env") and isinstance(inner, str):
                    yield inner
                else:
                    yield from named(inner)
        elif isinstance(value, list):
            for inner in value:
                yield from named(inner)

    assert set(named(config)) <= set(environment(manifests))


def test_the_admin_token_is_not_optional():
    assert environment(render({}))["SLUICE_ADMIN_TOKEN"]["valueFrom"]["secretKeyRef"]["optional"] is False


def test_a_proxy_that_signs_people_in_stands_for_the_admin_token():
    manifests = render(VALUE_SETS["signed-in-by-a-proxy"])
    assert "SLUICE_ADMIN_TOKEN" not in environment(manifests)
    policy = only(manifests, "NetworkPolicy")["spec"]["ingress"]
    assert [rule["from"] for rule in policy if rule["ports"][0]["port"] == "admin"] == [[PROXY]]
    said = notes(VALUE_SETS["signed-in-by-a-proxy"])
    assert "whom the proxy signs in" in said and "port-forward" not in said and "admin token" not in said
    both = merged(VALUE_SETS["signed-in-by-a-proxy"], {"config": PROXY_ONLY.replace(
        "admin_identity_header", 'admin_token_env = "SLUICE_ADMIN_TOKEN"\nadmin_identity_header')})
    both["secretEnv"] = {}
    assert "SLUICE_ADMIN_TOKEN" in environment(render(both))


def test_prometheus_gets_the_admin_token_by_reference():
    endpoint = only(render(VALUE_SETS["published"]), "ServiceMonitor")["spec"]["endpoints"][0]
    assert endpoint["path"] == "/metrics" and endpoint["port"] == "admin"
    assert endpoint["authorization"] == {
        "type": "Bearer",
        "credentials": {"name": "sluice-secrets", "key": "admin-token"},
    }


def test_the_notes_name_every_secret_the_pod_waits_for():
    said = notes(VALUE_SETS["three-replicas"])
    for line in (
        "SLUICE_ADMIN_TOKEN: admin-token of sluice-secrets",
        "OPENAI_API_KEY: openai-api-key of sluice-secrets (optional)",
        "PGPASSWORD: password of db",
    ):
        assert line in said


@EVERY_SET
def test_every_pod_runs_as_non_root_without_privileges(values):
    for spec in pod_specs(render(values)):
        assert spec["securityContext"]["runAsNonRoot"] is True
        assert spec["securityContext"].get("runAsUser", 1) > 0
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert "initContainers" not in spec and len(spec["containers"]) == 1
        assert not any(key in spec for key in ("hostNetwork", "hostPID", "hostIPC"))
        assert not any("hostPath" in volume for volume in spec.get("volumes", []))
        assert spec["containers"][0]["securityContext"] == {
            "runAsNonRoot": True,
            "privileged": False,
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
            "seccompProfile": {"type": "RuntimeDefault"},
        }


def test_the_platform_may_choose_the_user():
    context = pod_specs(render(VALUE_SETS["any-user"]))[0]["securityContext"]
    assert context == {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}}


@EVERY_SET
def test_no_pod_can_talk_to_the_kubernetes_api(values):
    manifests = render(values)
    for spec in pod_specs(manifests):
        assert spec["automountServiceAccountToken"] is False
    for account in every(manifests, "ServiceAccount"):
        assert account["automountServiceAccountToken"] is False
    assert not {manifest["kind"] for manifest in manifests} & {"Role", "ClusterRole", "RoleBinding", "ClusterRoleBinding"}


@EVERY_SET
def test_kubernetes_adds_no_variables_that_look_like_ours(values):
    assert all(spec["enableServiceLinks"] is False for spec in pod_specs(render(values)))


@EVERY_SET
def test_every_container_has_requests_and_limits(values):
    for spec in pod_specs(render(values)):
        for container in spec["containers"]:
            for side in ("requests", "limits"):
                assert {"cpu", "memory"} <= set(container["resources"][side])
        for volume in spec.get("volumes", []):
            assert "emptyDir" not in volume or volume["emptyDir"]["sizeLimit"]


@EVERY_SET
def test_no_image_moves_under_its_tag(values):
    for spec in pod_specs(render(values)):
        for container in spec["containers"]:
            assert re.search(r":[A-Za-z0-9._-]+(@sha256:[0-9a-f]{64})?$", container["image"])
            assert ":latest" not in container["image"]


def test_a_digest_pins_the_image():
    expected = "registry.example.com/ai/sluice:0.1.0-3@sha256:" + "0a" * 32
    assert server(render(VALUE_SETS["everything-else"]))["image"] == expected
    version = yaml.safe_load((CHART / "Chart.yaml").read_text(encoding="utf-8"))["appVersion"]
    assert server(render({}))["image"] == f"sluice:{version}"
