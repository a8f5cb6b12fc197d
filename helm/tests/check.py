"""The promises of the Sluice chart.

    python -m venv .venv && .venv/bin/pip install -r helm/tests/requirements.txt
    .venv/bin/python -m pytest helm/tests -q

Helm itself lints and renders (helm-python-sdk carries it as a library), and every manifest is held against the published
schemas of several Kubernetes versions (kubernetes-validate carries those). Neither a cluster nor the network is needed.
"""

from __future__ import annotations

import copy
import functools
import ipaddress
import json
import os
import pathlib
import re
import subprocess
import tarfile
import tomllib

import helm_python
import jsonschema
import kubernetes_validate
import pytest
import yaml

CHART = pathlib.Path(__file__).resolve().parents[1]
ROOT = CHART.parent
RELEASE = "demo"
NAMESPACE = "prod"
NAME = "demo-sluice"
KUBERNETES = ("1.30", "1.33", "1.37")

DATABASE = "postgres://sluice@db.example.internal:6432/sluice"
REDIS = "redis://cache.example.internal:6380"
PROMETHEUS = {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "monitoring"}}}
LOCAL_ONLY = """
[server]
listen = "[::]:8080"
admin_listen = "127.0.0.1:8081"

[providers.house]
kind = "openai"
base_url = "http://vllm.inference:8000/v1"
location = "local"

[models."qwen"]
provider = "house"

[router]
local = "qwen"

[residency]
mode = "offline"
"""

PROXY = {"podSelector": {"matchLabels": {"app": "oauth2-proxy"}}}
PROXY_ONLY = """
[server]
listen = "0.0.0.0:8080"
admin_listen = "0.0.0.0:8081"
admin_identity_header = "x-forwarded-email"
admin_trusted_proxies = "10.42.0.0/16"
admin_identities = ["*@example.com"]

[providers.hosted]
kind = "openai"
base_url = "https://api.openai.com/v1"
api_key_env = "OPENAI_API_KEY"
region = "us"

[models."gpt-4o"]
provider = "hosted"

[router]
hosted = ["gpt-4o"]
"""

# What people install, and what each of it has to keep.
VALUE_SETS: dict[str, dict] = {
    "default": {},
    "three-replicas": {
        "replicaCount": 3,
        "sharedStore": {"url": DATABASE, "redis": {"urlEnv": "REDIS_URL"}},
        "secretEnv": {"PGPASSWORD": {"key": "password", "secret": "db"}, "REDIS_URL": {"key": "url", "secret": "cache"}},
        "persistence": {"enabled": False},
    },
    "shared-cache": {
        "replicaCount": 2,
        "sharedStore": {
            "url": DATABASE,
            "to": [{"podSelector": {"matchLabels": {"app": "postgres"}}}],
            "redis": {"url": REDIS, "to": [{"podSelector": {"matchLabels": {"app": "valkey"}}}]},
        },
        "persistence": {"accessModes": ["ReadWriteMany"], "storageClass": "nfs", "annotations": {"backup": "daily"}},
    },
    "shared-ledger-own-disk": {"sharedStore": {"url": "postgresql://db/sluice"}},
    "autoscaled": {
        "autoscaling": {"enabled": True},
        "sharedStore": {"url": DATABASE, "redis": {"url": REDIS}},
        "persistence": {"enabled": False},
    },
    "published": {
        "admin": {"service": {"enabled": True, "annotations": {"owner": "platform"}}},
        "service": {"type": "LoadBalancer", "port": 80, "annotations": {"owner": "platform"}},
        "ingress": {
            "enabled": True,
            "className": "nginx",
            "annotations": {"nginx.ingress.kubernetes.io/proxy-buffering": "off"},
            "hosts": [{"host": "llm.example.com", "paths": ["/v1"]}],
            "tls": [{"secretName": "llm-tls", "hosts": ["llm.example.com"]}],
        },
        "httpRoute": {
            "enabled": True,
            "parentRefs": [{"name": "public", "namespace": "gateways", "sectionName": "https"}],
            "hostnames": ["llm.example.com"],
        },
        "serviceMonitor": {"enabled": True, "labels": {"release": "prometheus"}},
        "networkPolicy": {
            "data": {"from": [{"namespaceSelector": {"matchLabels": {"team": "apps"}}}]},
            "admin": {"from": [PROMETHEUS]},
        },
    },
    "offline": {
        "config": LOCAL_ONLY,
        "secretEnv": {"SLUICE_ADMIN_TOKEN": None, "OPENAI_API_KEY": None},
        "networkPolicy": {
            "egress": {
                "extra": [
                    {
                        "to": [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "inference"}}}],
                        "ports": [{"protocol": "TCP", "port": 8000}],
                    }
                ]
            }
        },
    },
    "signed-in-by-a-proxy": {
        "config": PROXY_ONLY,
        "secretEnv": {"SLUICE_ADMIN_TOKEN": None},
        "admin": {"service": {"enabled": True}},
        "networkPolicy": {"admin": {"from": [PROXY]}},
    },
    "ephemeral": {"persistence": {"enabled": False, "allowEphemeralLedger": True}},
    "bare": {
        "networkPolicy": {"enabled": False},
        "podDisruptionBudget": {"enabled": False},
        "topologySpread": {"enabled": False},
        "tests": {"enabled": False},
        "serviceAccount": {"create": False},
        "persistence": {"keep": False, "existingClaim": "sluice-old"},
    },
    "any-user": {"podSecurity": {"runAsUser": None, "runAsGroup": None, "fsGroup": None}},
    "everything-else": {
        "nameOverride": "router",
        "image": {"repository": "registry.example.com/ai/sluice", "tag": "0.1.0-3", "digest": "sha256:" + "0a" * 32},
        "imagePullSecrets": ["pull"],
        "env": {"RUST_LOG": "info", "SLUICE__LIMITS__MAX_TOKENS": "4096"},
        "models": {"existingClaim": "weights"},
        "drain": {"seconds": 120, "minimumDelaySeconds": 10, "preStopSeconds": 20},
        "terminationGracePeriodSeconds": 300,
        "priorityClassName": "high",
        "podLabels": {"team": "ai", "cost-centre": "42"},
        "podAnnotations": {"note": "a: b # c"},
        "nodeSelector": {"kubernetes.io/arch": "amd64"},
        "tolerations": [{"key": "gpu", "operator": "Exists", "effect": "NoSchedule"}],
        "affinity": {
            "nodeAffinity": {
                "requiredDuringSchedulingIgnoredDuringExecution": {
                    "nodeSelectorTerms": [{"matchExpressions": [{"key": "disk", "operator": "In", "values": ["ssd"]}]}]
                }
            }
        },
        "serviceAccount": {"name": "sluice", "annotations": {"role": "none"}},
    },
}
EVERY_SET = pytest.mark.parametrize("values", VALUE_SETS.values(), ids=VALUE_SETS.keys())


# --- rendering -------------------------------------------------------------------------------------------------------


def load_yaml(text: str) -> list[dict]:
    """Like safe_load_all, but a key that appears twice in a mapping is an error, as it is for the API server."""

    class Strict(yaml.SafeLoader):
        def construct_mapping(self, node, deep=False):
            keys = [self.construct_object(key, deep=True) for key, _ in node.value]
            twice = {key for key in keys if keys.count(key) > 1}
            assert not twice, f"{twice} appears twice at {node.start_mark}"
            return super().construct_mapping(node, deep)

    return [document for document in yaml.load_all(text, Loader=Strict) if document]


@functools.cache
def _render(values: str, name: str) -> dict[str, str]:
    with helm_python.Chart.load(CHART) as chart:
        return chart.render(json.loads(values), name=name, namespace=NAMESPACE)


def render(values: dict, name: str = RELEASE) -> list[dict]:
    files = _render(json.dumps(values, sort_keys=True), name)
    return [one for path, text in files.items() if path.endswith(".yaml") for one in load_yaml(text)]


def notes(values: dict) -> str:
    files = _render(json.dumps(values, sort_keys=True), RELEASE)
    return next(text for path, text in files.items() if path.endswith("NOTES.txt"))


def every(manifests: list[dict], kind: str) -> list[dict]:
    return [manifest for manifest in manifests if manifest["kind"] == kind]


def only(manifests: list[dict], kind: str) -> dict:
    found = every(manifests, kind)
    assert len(found) == 1, f"{len(found)} of kind {kind}"
    return found[0]


def pod_specs(manifests: list[dict]) -> list[dict]:
    """The pod of the Deployment first, then the one of `helm test`."""
    deployments = [deployment["spec"]["template"]["spec"] for deployment in every(manifests, "Deployment")]
    return deployments + [pod["spec"] for pod in every(manifests, "Pod")]


def server(manifests: list[dict]) -> dict:
    return pod_specs(manifests)[0]["containers"][0]


def environment(manifests: list[dict]) -> dict[str, dict]:
    variables = server(manifests)["env"]
    names = [variable["name"] for variable in variables]
    assert len(names) == len(set(names)), f"a variable is set twice: {sorted(names)}"
    return {variable["name"]: variable for variable in variables}


def merged(base: dict, more: dict) -> dict:
    result = copy.deepcopy(base)
    for key, value in more.items():
        both = isinstance(value, dict) and isinstance(result.get(key), dict)
        result[key] = merged(result[key], value) if both else copy.deepcopy(value)
    return result


def defaults() -> dict:
    return yaml.safe_load((CHART / "values.yaml").read_text(encoding="utf-8"))


def schema() -> dict:
    return json.loads((CHART / "values.schema.json").read_text(encoding="utf-8"))


# --- the manifests are what Kubernetes takes ---------------------------------------------------------------------------


@EVERY_SET
def test_lint_has_nothing_to_say(values):
    report = helm_python.lint(CHART, values, strict=True, namespace=NAMESPACE, kube_version=f"v{KUBERNETES[0]}.0")
    assert report["errors"] == []
    # 1 is information; the only one is that a chart may have an icon.
    assert [m["error"] for m in report["messages"] if m["severity"] > 1 or "icon" not in m["error"]] == []


# The two custom resources, in the part that the chart writes, as their own APIs define it.
TEXT = {"type": "string", "minLength": 1}
DURATION = {"type": "string", "pattern": "^([0-9]{1,5}(h|m|s|ms)){1,4}$"}
CUSTOM = {
    ("gateway.networking.k8s.io/v1", "HTTPRoute"): {
        "type": "object",
        "additionalProperties": False,
        "required": ["parentRefs", "rules"],
        "properties": {
            "parentRefs": {
                "type": "array",
                "minItems": 1,
                "items": {
                    "type": "object",
                    "additionalProperties": False,
                    "required": ["name"],
                    "properties": {"name": TEXT, "namespace": TEXT, "sectionName": TEXT, "port": {"type": "integer"}},
                },
            },
            "hostnames": {"type": "array", "items": TEXT},
            "rules": {
                "type": "array",
                "minItems": 1,
                "maxItems": 16,
                "items": {
                    "type": "object",
                    "additionalProperties": False,
                    "properties": {
                        "matches": {
                            "type": "array",
                            "items": {
                                "type": "object",
                                "additionalProperties": False,
                                "properties": {
                                    "path": {
                                        "type": "object",
                                        "additionalProperties": False,
                                        "properties": {"type": {"enum": ["Exact", "PathPrefix"]}, "value": TEXT},
                                    }
                                },
                            },
                        },
                        "backendRefs": {
                            "type": "array",
                            "items": {
                                "type": "object",
                                "additionalProperties": False,
                                "required": ["name", "port"],
                                "properties": {"name": TEXT, "port": {"type": "integer"}},
                            },
                        },
                        "timeouts": {
                            "type": "object",
                            "additionalProperties": False,
                            "properties": {"request": DURATION, "backendRequest": DURATION},
                        },
                    },
                },
            },
        },
    },
    ("monitoring.coreos.com/v1", "ServiceMonitor"): {
        "type": "object",
        "additionalProperties": False,
        "required": ["endpoints", "selector"],
        "properties": {
            "namespaceSelector": {
                "type": "object",
                "additionalProperties": False,
                "properties": {"matchNames": {"type": "array", "items": TEXT}},
            },
            "selector": {
                "type": "object",
                "additionalProperties": False,
                "properties": {"matchLabels": {"type": "object", "additionalProperties": TEXT}},
            },
            "endpoints": {
                "type": "array",
                "minItems": 1,
                "items": {
                    "type": "object",
                    "additionalProperties": False,
                    "required": ["port"],
                    "properties": {
                        "port": TEXT,
                        "path": TEXT,
                        "interval": DURATION,
                        "scrapeTimeout": DURATION,
                        "authorization": {
                            "type": "object",
                            "additionalProperties": False,
                            "properties": {
                                "type": TEXT,
                                "credentials": {
                                    "type": "object",
                                    "additionalProperties": False,
                                    "required": ["name", "key"],
                                    "properties": {"name": TEXT, "key": TEXT},
                                },
                            },
                        },
                    },
                },
            },
        },
    },
}


@pytest.mark.parametrize("version", KUBERNETES)
@EVERY_SET
def test_every_manifest_is_valid_kubernetes(values, version):
    manifests = render(values)
    assert manifests
    for manifest in manifests:
        custom = CUSTOM.get((manifest["apiVersion"], manifest["kind"]))
        if custom:
            assert set(manifest) == {"apiVersion", "kind", "metadata", "spec"}
            jsonschema.Draft202012Validator(custom).validate(manifest["spec"])
        else:
            assert kubernetes_validate.validate(manifest, version, strict=True) == version


def test_the_validation_would_see_a_wrong_manifest():
    for kind, path, value in [
        ("Deployment", ("spec", "template", "spec", "containers"), "none"),
        ("Service", ("spec", "portz"), []),
        ("HTTPRoute", ("spec", "backends"), []),
        ("ServiceMonitor", ("spec", "endpoints"), []),
    ]:
        manifest = copy.deepcopy(every(render(VALUE_SETS["published"]), kind)[0])
        inner = manifest
        for step in path[:-1]:
            inner = inner[step]
        inner[path[-1]] = value
        custom = CUSTOM.get((manifest["apiVersion"], kind))
        with pytest.raises(jsonschema.ValidationError):
            if custom:
                jsonschema.Draft202012Validator(custom).validate(manifest["spec"])
            else:
                kubernetes_validate.validate(manifest, KUBERNETES[-1], strict=True)


@pytest.mark.parametrize("name", ["a", "sluice", "x" * 53])
@EVERY_SET
def test_names_fit_whatever_the_release_is_called(values, name):
    manifests = render(values, name)
    identities = [(manifest["kind"], manifest["metadata"]["name"]) for manifest in manifests]
    assert len(identities) == len(set(identities))
    for manifest in manifests:
        assert re.fullmatch(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?", manifest["metadata"]["name"])
        assert manifest["metadata"]["namespace"] == NAMESPACE
        for value in manifest["metadata"]["labels"].values():
            assert re.fullmatch(r"[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?", value)


@EVERY_SET
def test_every_selector_finds_the_pods_that_serve_and_only_those(values):
    manifests = render(values)
    deployment = only(manifests, "Deployment")
    labels = deployment["spec"]["template"]["metadata"]["labels"]
    others = [pod["metadata"]["labels"] for pod in every(manifests, "Pod")]

    selectors = [deployment["spec"]["selector"]["matchLabels"]]
    selectors += [service["spec"]["selector"] for service in every(manifests, "Service")]
    selectors += [budget["spec"]["selector"]["matchLabels"] for budget in every(manifests, "PodDisruptionBudget")]
    selectors += [policy["spec"]["podSelector"]["matchLabels"] for policy in every(manifests, "NetworkPolicy")]
    spread = deployment["spec"]["template"]["spec"].get("topologySpreadConstraints", [])
    selectors += [constraint["labelSelector"]["matchLabels"] for constraint in spread]
    for selector in selectors:
        assert selector.items() <= labels.items()
        assert not any(selector.items() <= other.items() for other in others)

    for monitor in every(manifests, "ServiceMonitor"):
        selector = monitor["spec"]["selector"]["matchLabels"]
        found = [s for s in every(manifests, "Service") if selector.items() <= s["metadata"]["labels"].items()]
        assert [service["metadata"]["name"] for service in found] == [NAME + "-admin"]
    for scaler in every(manifests, "HorizontalPodAutoscaler"):
        assert scaler["spec"]["scaleTargetRef"]["name"] == deployment["metadata"]["name"]


@EVERY_SET
def test_every_reference_leads_somewhere(values):
    manifests = render(values)
    spec = pod_specs(manifests)[0]
    container = server(manifests)
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}
    assert ports == {"data": 8080, "admin": 8081}

    volumes = {volume["name"]: volume for volume in spec["volumes"]}
    mounts = container["volumeMounts"]
    assert {mount["name"] for mount in mounts} == set(volumes)
    assert len({mount["mountPath"] for mount in mounts}) == len(mounts)
    assert volumes["config"]["configMap"]["name"] == only(manifests, "ConfigMap")["metadata"]["name"]
    for claim in every(manifests, "PersistentVolumeClaim"):
        assert volumes["state"]["persistentVolumeClaim"]["claimName"] == claim["metadata"]["name"]
    for account in every(manifests, "ServiceAccount"):
        assert spec["serviceAccountName"] == account["metadata"]["name"]

    services = {service["metadata"]["name"]: service["spec"]["ports"] for service in every(manifests, "Service")}
    for served in services.values():
        assert all(port["targetPort"] in ports for port in served)
    for ingress in every(manifests, "Ingress"):
        for rule in ingress["spec"]["rules"]:
            for path in rule["http"]["paths"]:
                backend = path["backend"]["service"]
                assert backend["port"]["name"] in {port["name"] for port in services[backend["name"]]}
    for route in every(manifests, "HTTPRoute"):
        for rule in route["spec"]["rules"]:
            for backend in rule["backendRefs"]:
                assert backend["port"] in {port["port"] for port in services[backend["name"]]}


# --- the configuration --------------------------------------------------------------------------------------------------


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
        pytest.skip("no sluice to ask: build it, or say where it is in SLUICE_BIN")
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


# --- leaving ------------------------------------------------------------------------------------------------------------

DRAINS = [
    {},
    {"drain": {"seconds": 1, "minimumDelaySeconds": 0, "preStopSeconds": 1}},
    {"drain": {"seconds": 600, "minimumDelaySeconds": 30, "preStopSeconds": 30}},
    {"terminationGracePeriodSeconds": 46},
]


@pytest.mark.parametrize("values", [*VALUE_SETS.values(), *DRAINS])
def test_the_grace_period_outlasts_the_drain_by_more_than_five_seconds(values):
    drain = merged(defaults()["drain"], values.get("drain", {}))
    grace = pod_specs(render(values))[0]["terminationGracePeriodSeconds"]
    assert grace > drain["preStopSeconds"] + drain["minimumDelaySeconds"] + drain["seconds"] + 5


@pytest.mark.parametrize("values", [*VALUE_SETS.values(), *DRAINS])
def test_a_pod_leaves_the_endpoints_before_it_is_told_to_stop(values):
    drain = merged(defaults()["drain"], values.get("drain", {}))
    hook = server(render(values))["lifecycle"]["preStop"]
    # The kubelet sleeps: the image has no shell that could.
    assert hook == {"sleep": {"seconds": drain["preStopSeconds"]}}
    assert hook["sleep"]["seconds"] >= drain["minimumDelaySeconds"]


# --- money --------------------------------------------------------------------------------------------------------------


@EVERY_SET
def test_one_replica_unless_the_store_is_shared(values):
    manifests = render(values)
    deployment = only(manifests, "Deployment")["spec"]
    if "SLUICE__LEDGER__URL" in environment(manifests):
        return
    assert deployment["replicas"] == 1
    assert every(manifests, "HorizontalPodAutoscaler") == []
    # Nor for the length of an update.
    assert deployment["strategy"] == {"type": "Recreate"}


def test_replicas_over_a_shared_store_are_replaced_without_a_gap():
    deployment = only(render(VALUE_SETS["three-replicas"]), "Deployment")["spec"]
    assert deployment["replicas"] == 3
    assert deployment["strategy"] == {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 0, "maxSurge": 1}}


def test_a_claim_for_one_node_is_never_awaited_by_two_pods():
    for name, values in VALUE_SETS.items():
        manifests = render(values)
        claims = every(manifests, "PersistentVolumeClaim")
        if claims and "ReadWriteMany" not in claims[0]["spec"]["accessModes"]:
            assert only(manifests, "Deployment")["spec"]["strategy"]["type"] == "Recreate", name


def test_the_autoscaler_alone_decides_how_many_there_are():
    manifests = render(VALUE_SETS["autoscaled"])
    assert "replicas" not in only(manifests, "Deployment")["spec"]
    scaler = only(manifests, "HorizontalPodAutoscaler")["spec"]
    assert (scaler["minReplicas"], scaler["maxReplicas"]) == (2, 6)


def test_uninstalling_leaves_the_ledger():
    claim = only(render({}), "PersistentVolumeClaim")
    assert claim["metadata"]["annotations"]["helm.sh/resource-policy"] == "keep"
    assert every(render(VALUE_SETS["bare"]), "PersistentVolumeClaim") == []


def test_the_ledger_survives_the_pod_unless_it_was_said_that_it_need_not():
    for name, values in VALUE_SETS.items():
        manifests = render(values)
        state = next(volume for volume in pod_specs(manifests)[0]["volumes"] if volume["name"] == "state")
        lasting = "persistentVolumeClaim" in state or "SLUICE__LEDGER__URL" in environment(manifests)
        assert lasting or values["persistence"]["allowEphemeralLedger"], name
    assert "GONE WITH THE POD" in notes(VALUE_SETS["ephemeral"])


# --- secrets ------------------------------------------------------------------------------------------------------------


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


# --- what a pod may do ----------------------------------------------------------------------------------------------------


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


# --- health and placement ---------------------------------------------------------------------------------------------------


@EVERY_SET
def test_being_alive_depends_on_nobody_else_and_being_ready_may(values):
    container = server(render(values))
    asked = {name: container[name + "Probe"]["httpGet"] for name in ("startup", "readiness", "liveness")}
    assert asked == {
        "startup": {"path": "/livez", "port": "data"},
        "readiness": {"path": "/readyz", "port": "data"},
        "liveness": {"path": "/livez", "port": "data"},
    }


def test_a_rollout_waits_for_as_long_as_the_startup_probe():
    deployment = only(render({}), "Deployment")["spec"]
    probe = deployment["template"]["spec"]["containers"][0]["startupProbe"]
    assert deployment["progressDeadlineSeconds"] > probe["periodSeconds"] * probe["failureThreshold"]


@EVERY_SET
def test_a_node_can_always_be_drained(values):
    for budget in every(render(values), "PodDisruptionBudget"):
        assert budget["spec"]["maxUnavailable"] >= 1
        assert "minAvailable" not in budget["spec"]
        assert budget["spec"]["unhealthyPodEvictionPolicy"] == "AlwaysAllow"


def test_replicas_spread_over_zones_and_nodes():
    manifests = render(VALUE_SETS["three-replicas"])
    assert only(manifests, "PodDisruptionBudget")["spec"]["maxUnavailable"] == 1
    keys = [constraint["topologyKey"] for constraint in pod_specs(manifests)[0]["topologySpreadConstraints"]]
    assert keys == ["topology.kubernetes.io/zone", "kubernetes.io/hostname"]


# --- doors --------------------------------------------------------------------------------------------------------------------


@EVERY_SET
def test_the_admin_listener_is_never_published(values):
    manifests = render(values)
    for service in every(manifests, "Service"):
        targets = {port["targetPort"] for port in service["spec"]["ports"]}
        if service["metadata"]["name"].endswith("-admin"):
            assert targets == {"admin"} and service["spec"]["type"] == "ClusterIP"
        else:
            assert targets == {"data"}
    for ingress in every(manifests, "Ingress"):
        for rule in ingress["spec"]["rules"]:
            assert all(not path["backend"]["service"]["name"].endswith("-admin") for path in rule["http"]["paths"])
    for route in every(manifests, "HTTPRoute"):
        for rule in route["spec"]["rules"]:
            assert all(not backend["name"].endswith("-admin") for backend in rule["backendRefs"])


def test_by_default_only_the_data_service_exists():
    manifests = render({})
    assert only(manifests, "Service")["spec"]["type"] == "ClusterIP"
    assert not {m["kind"] for m in manifests} & {"Ingress", "HTTPRoute", "ServiceMonitor", "HorizontalPodAutoscaler"}


def test_only_the_api_is_published_and_streams_are_not_cut():
    manifests = render(VALUE_SETS["published"])
    for rule in only(manifests, "Ingress")["spec"]["rules"]:
        assert [path["path"] for path in rule["http"]["paths"]] == ["/v1"]
    for rule in only(manifests, "HTTPRoute")["spec"]["rules"]:
        assert [match["path"]["value"] for match in rule["matches"]] == ["/v1"]
        # Sluice's own total is 600 s; the gateway in front must not be shorter.
        assert rule["timeouts"]["request"] == "660s"


def ingress_rules(policy: dict, port: str) -> list[dict]:
    return [rule for rule in policy["spec"]["ingress"] if port in {one["port"] for one in rule["ports"]}]


def may_dial(policy: dict, address: str, port: int) -> bool:
    """Whether the policy lets a pod dial an address outside the cluster."""
    for rule in policy["spec"]["egress"]:
        if port not in {one["port"] for one in rule["ports"]}:
            continue
        if "to" not in rule:
            return True
        for peer in rule["to"]:
            block = peer.get("ipBlock")
            if block and in_block(address, block["cidr"]) and not any(in_block(address, e) for e in block.get("except", [])):
                return True
    return False


def in_block(address: str, cidr: str) -> bool:
    return ipaddress.ip_address(address) in ipaddress.ip_network(cidr)


def test_the_admin_listener_is_closed_until_a_peer_is_named():
    assert ingress_rules(only(render({}), "NetworkPolicy"), "admin") == []
    rules = ingress_rules(only(render(VALUE_SETS["published"]), "NetworkPolicy"), "admin")
    assert [rule["from"] for rule in rules] == [[PROMETHEUS]]


def test_named_peers_close_the_data_listener_to_others_but_not_to_helm_test():
    assert "from" not in ingress_rules(only(render({}), "NetworkPolicy"), "data")[0]
    manifests = render(VALUE_SETS["published"])
    peers = ingress_rules(only(manifests, "NetworkPolicy"), "data")[0]["from"]
    assert len(peers) == 2 and peers[0] == VALUE_SETS["published"]["networkPolicy"]["data"]["from"][0]
    assert peers[1]["podSelector"]["matchLabels"].items() <= only(manifests, "Pod")["metadata"]["labels"].items()


def test_sluice_dials_public_addresses_on_443_and_nothing_private():
    policy = only(render({}), "NetworkPolicy")
    assert policy["spec"]["policyTypes"] == ["Ingress", "Egress"]
    for public in ("1.1.1.1", "2606:4700::1111"):
        assert may_dial(policy, public, 443)
        assert not may_dial(policy, public, 80)
    for private in ("10.1.2.3", "172.20.0.1", "192.168.1.1", "127.0.0.1", "169.254.169.254", "fd00:ec2::254", "::1"):
        assert not may_dial(policy, private, 443)
        assert not may_dial(policy, private, 80)
    for block in (peer["ipBlock"] for rule in policy["spec"]["egress"] for peer in rule.get("to", [])):
        outer = ipaddress.ip_network(block["cidr"])
        assert all(ipaddress.ip_network(inner).subnet_of(outer) for inner in block["except"])


def test_an_offline_configuration_closes_the_way_out():
    policy = only(render(VALUE_SETS["offline"]), "NetworkPolicy")
    assert not may_dial(policy, "1.1.1.1", 443)
    assert VALUE_SETS["offline"]["networkPolicy"]["egress"]["extra"][0] in policy["spec"]["egress"]


@pytest.mark.parametrize(
    ("url", "port"), [(DATABASE, 6432), ("postgres://db/sluice", 5432), ("postgres://sluice@[fd00::1]:5433/s", 5433)]
)
def test_the_shared_store_can_be_reached(url, port):
    values = {"sharedStore": {"url": url}}
    rules = only(render(values), "NetworkPolicy")["spec"]["egress"]
    assert {"ports": [{"port": port, "protocol": "TCP"}]} in rules
    assert not any(port in {one["port"] for one in rule["ports"]} for rule in only(render({}), "NetworkPolicy")["spec"]["egress"])


@pytest.mark.parametrize(
    ("redis", "port"), [({"url": REDIS}, 6380), ({"url": "rediss://cache"}, 6379), ({"urlEnv": "REDIS_URL", "port": 7000}, 7000)]
)
def test_what_pods_share_budgets_through_can_be_reached(redis, port):
    values = {"sharedStore": {"url": DATABASE, "redis": redis}, "secretEnv": {"REDIS_URL": {"key": "url"}}}
    manifests = render(values)
    assert {"ports": [{"port": port, "protocol": "TCP"}]} in only(manifests, "NetworkPolicy")["spec"]["egress"]
    told = {name: value for name, value in environment(manifests).items() if name.startswith("SLUICE__REPLICAS")}
    name = "SLUICE__REPLICAS__URL" if "url" in redis else "SLUICE__REPLICAS__URL_ENV"
    assert {name: one["value"] for name, one in told.items()} == {name: redis.get("url", "REDIS_URL")}


def test_helm_test_asks_for_readiness_and_for_closed_doors():
    pod = only(render(VALUE_SETS["published"]), "Pod")
    assert pod["metadata"]["annotations"]["helm.sh/hook"] == "test"
    assert pod["spec"]["restartPolicy"] == "Never"
    script = pod["spec"]["containers"][0]["command"][-1]
    for address in (f"http://{NAME}:80/readyz", f"http://{NAME}:80/v1/models", f"http://{NAME}-admin:8081/api/spend"):
        assert address in script
    assert subprocess.run(["sh", "-n", "-c", script], check=False).returncode == 0
    assert "-admin:" not in only(render({}), "Pod")["spec"]["containers"][0]["command"][-1]


# --- what is refused ------------------------------------------------------------------------------------------------------------

CONFIG = defaults()["config"]


def config(old: str, new: str) -> dict:
    assert old in CONFIG
    return {"config": CONFIG.replace(old, new)}


SHARED = {"sharedStore": {"url": DATABASE, "redis": {"url": REDIS}}, "persistence": {"enabled": False}}
BY_PROXY = VALUE_SETS["signed-in-by-a-proxy"]


def signed_in(but: str) -> dict:
    """Signed in by a proxy, but for one key of the configuration."""
    kept = [line for line in PROXY_ONLY.splitlines() if not line.startswith(but)]
    return merged(BY_PROXY, {"config": "\n".join(kept)})


SCRAPED = {"serviceMonitor": {"enabled": True}, "admin": {"service": {"enabled": True}}}

# What is given, and a word of the answer that tells the reader what to do.
REFUSED: dict[str, tuple[dict, str]] = {
    # wrong together
    "two replicas, one ledger each": ({"replicaCount": 2}, "without a shared store it must be 1"),
    "autoscaling, one ledger each": ({"autoscaling": {"enabled": True}}, "autoscaling.enabled needs a shared store"),
    "replicas on a claim of one node": (
        {"replicaCount": 2, "sharedStore": SHARED["sharedStore"]},
        "ReadWriteMany in persistence.accessModes",
    ),
    "replicas with a budget each": (
        merged(SHARED, {"replicaCount": 2, "sharedStore": {"redis": {"url": ""}}}),
        "more than one pod needs sharedStore.redis.url",
    ),
    "shared budgets, one ledger each": ({"sharedStore": {"redis": {"url": REDIS}}}, "needs sharedStore.url"),
    "two addresses of one store": (
        merged(SHARED, {"sharedStore": {"redis": {"urlEnv": "OPENAI_API_KEY"}}}),
        "are both set",
    ),
    "an address from nowhere": (
        merged(SHARED, {"sharedStore": {"redis": {"url": "", "urlEnv": "REDIS_URL"}}}),
        "does not say where to find",
    ),
    "a password of the shared store": (
        merged(SHARED, {"sharedStore": {"redis": {"url": "redis://:hunter2hunter2@cache:6379"}}}),
        "sharedStore",
    ),
    "shared budgets by the back door": (
        {"config": CONFIG + f'\n[replicas]\nurl = "{REDIS}"\n'},
        "remove replicas.url",
    ),
    "a ledger that dies with the pod": ({"persistence": {"enabled": False}}, "dies with the pod"),
    "fewest above most": (merged(SHARED, {"autoscaling": {"enabled": True, "minReplicas": 9}}), "minReplicas is more"),
    "grace of drain + 5": ({"terminationGracePeriodSeconds": 45}, "has to be more than"),
    "grace of the platform's default": ({"terminationGracePeriodSeconds": 30}, "or answers are cut"),
    "a longer drain in an old grace": (
        {"drain": {"seconds": 300}, "terminationGracePeriodSeconds": 120},
        "has to be more than",
    ),
    "preStop below the minimum delay": ({"drain": {"preStopSeconds": 3}}, "is less than drain.minimumDelaySeconds"),
    "a service to a loopback listener": (
        merged(config('admin_listen = "0.0.0.0:8081"', 'admin_listen = "127.0.0.1:8081"'), {"admin": {"service": {"enabled": True}}}),
        "on loopback the service would lead nowhere",
    ),
    "metrics without a service": ({"serviceMonitor": {"enabled": True}}, "needs admin.service.enabled"),
    "metrics behind a closed door": (SCRAPED, "needs Prometheus among networkPolicy.admin.from"),
    "an ingress to no host": ({"ingress": {"enabled": True}}, "at least one entry in ingress.hosts"),
    "a route with no gateway": ({"httpRoute": {"enabled": True}}, "at least one entry in httpRoute.parentRefs"),
    # the configuration
    "a configuration that is not TOML": ({"config": "[server\nlisten = 1"}, "config is not TOML"),
    "an empty configuration": ({"config": ""}, "config"),
    "a data listener on loopback": (config("0.0.0.0:8080", "127.0.0.1:8080"), "nobody reaches it"),
    "a data listener on another port": (config("0.0.0.0:8080", "0.0.0.0:9090"), "server.listen"),
    "an admin listener on another port": (config("0.0.0.0:8081", "0.0.0.0:9091"), "server.admin_listen"),
    "an open admin listener": (config('admin_token_env = "SLUICE_ADMIN_TOKEN"', ""), "admin_token_env is missing"),
    "a proxy that is trusted nowhere": (signed_in("admin_trusted_proxies"), "admin_trusted_proxies is missing"),
    "a proxy that signs nobody in": (signed_in("admin_identities"), "admin_identities is missing"),
    "a proxy without a way in": (merged(BY_PROXY, {"admin": {"service": {"enabled": False}}}), "needs admin.service.enabled to reach"),
    "a proxy before a closed door": (merged(BY_PROXY, {"networkPolicy": {"admin": {"from": []}}}), "has to be among networkPolicy.admin"),
    "metrics without a token": (merged(BY_PROXY, {"serviceMonitor": {"enabled": True}}), "needs server.admin_token_env"),
    "a ledger placed twice": ({"config": CONFIG + '\n[ledger]\npath = "x.db"\n'}, "remove ledger.path"),
    "a shared ledger by the back door": ({"config": CONFIG + f'\n[ledger]\nurl = "{DATABASE}"\n'}, "remove ledger.url"),
    "a drain said twice": ({"config": CONFIG + '\n[timeouts]\ndrain = "9s"\n'}, "remove timeouts.drain"),
    "a key that nobody brings": (config("OPENAI_API_KEY", "OTHER_API_KEY"), "OTHER_API_KEY, which secretEnv does not say"),
    "an admin token that nobody brings": ({"secretEnv": {"SLUICE_ADMIN_TOKEN": None}}, "SLUICE_ADMIN_TOKEN, which secretEnv"),
    "an optional admin token": ({"secretEnv": {"SLUICE_ADMIN_TOKEN": {"optional": True}}}, "must not be optional"),
    # secrets in the open
    "a provider's key in the configuration": (config('"OPENAI_API_KEY"', '"OPENAI_API_KEY" # sk-' + "a1" * 20), "a provider's key"),
    "a password in the store's URL": ({"sharedStore": {"url": "postgres://sluice:hunter2@db/sluice"}}, "a password in a URL"),
    "a password among the URL's options": ({"sharedStore": {"url": "postgres://db/s?password=hunter2"}}, "a password in a URL"),
    "a cloud key in the environment": ({"env": {"NOTE": "AKIA" + "A" * 16}}, "a cloud access key"),
    "a private key in the environment": ({"env": {"NOTE": "-----BEGIN PRIVATE KEY-----"}}, "a private key"),
    "a bearer token in the environment": ({"env": {"NOTE": "Authorization: Bearer " + "a" * 20}}, "a bearer token"),
    "a plain variable named like a key": ({"env": {"OTHER_API_KEY": "x"}}, "is named like a secret"),
    "a plain variable named like a password": ({"env": {"PGPASSWORD": "x"}}, "is named like a secret"),
    "a secret by value": ({"secretEnv": {"OPENAI_API_KEY": {"value": "x"}}}, "value"),
    "a secret without a key": ({"secretEnv": {"NEW_KEY": {"secret": "s"}}}, "key"),
    "a secret of no Secret": ({"existingSecret": ""}, "names no Secret"),
    "a variable said twice": ({"env": {"A": "x"}, "secretEnv": {"A": {"key": "a"}}}, "is in env and in secretEnv"),
    "a ledger through the environment": ({"env": {"SLUICE__LEDGER__URL": DATABASE}}, "the chart decides it"),
    "a drain through the environment": ({"env": {"SLUICE__TIMEOUTS__DRAIN": "1s"}}, "the chart decides it"),
    # wrong by themselves
    "an unknown value": ({"replicas": 1}, "replicas"),
    "an unknown value further in": ({"image": {"tagg": "1"}}, "tagg"),
    "no replica": ({"replicaCount": 0}, "replicaCount"),
    "replicas as text": ({"replicaCount": "1"}, "replicaCount"),
    "the latest image": ({"image": {"tag": "latest"}}, "is another image tomorrow"),
    "a digest that is none": ({"image": {"digest": "sha256:abc"}}, "digest"),
    "root": ({"podSecurity": {"runAsUser": 0}}, "runAsUser"),
    "root's group": ({"podSecurity": {"fsGroup": 0}}, "fsGroup"),
    "a store that is not PostgreSQL": ({"sharedStore": {"url": "mysql://db/sluice"}}, "url"),
    "no drain": ({"drain": {"seconds": 0}}, "seconds"),
    "a drain without a number": ({"drain": {"seconds": "30s"}}, "seconds"),
    "a budget that holds every node": ({"podDisruptionBudget": {"maxUnavailable": 0}}, "maxUnavailable"),
    "no memory limit": ({"resources": {"limits": {"memory": None}}}, "memory"),
    "no limits": ({"resources": {"limits": None}}, "limits"),
    "a quantity with a wrong unit": ({"resources": {"limits": {"memory": "2GB"}}}, "memory"),
    "a port out of range": ({"service": {"port": 70000}}, "port"),
    "an admin service for the world": ({"admin": {"service": {"type": "LoadBalancer"}}}, "type"),
    "a label that breaks the selectors": ({"podLabels": {"app.kubernetes.io/name": "x"}}, "the selectors use it"),
    "an annotation that hides a change": ({"podAnnotations": {"checksum/config": "x"}}, "may not set checksum/config"),
    "a way out to everyone": ({"networkPolicy": {"egress": {"extra": [{"ports": [{"port": 443}]}]}}}, "to"),
    "an empty peer": ({"networkPolicy": {"admin": {"from": [{}]}}}, "from"),
    "an address without a mask": ({"networkPolicy": {"egress": {"hosted": {"blocks": [{"cidr": "10.0.0.1"}]}}}}, "cidr"),
    "an ingress without a host": ({"ingress": {"enabled": True, "hosts": [{"paths": ["/v1"]}]}}, "host"),
    "a path that is relative": ({"httpRoute": {"paths": ["v1"]}}, "paths"),
    "a disk read by many and written by none": ({"persistence": {"accessModes": ["ReadOnlyMany"]}}, "accessModes"),
    "a name that Kubernetes refuses": ({"fullnameOverride": "My_Sluice"}, "fullnameOverride"),
}


@pytest.mark.parametrize(("values", "word"), REFUSED.values(), ids=REFUSED.keys())
def test_refused_with_a_word_that_helps(values, word):
    with helm_python.Chart.load(CHART) as chart, pytest.raises(helm_python.HelmError) as refusal:
        chart.render(values, name=RELEASE, namespace=NAMESPACE)
    assert word in str(refusal.value)


def test_at_least_twenty_wrong_values_are_refused():
    assert len(REFUSED) >= 20
    assert len({json.dumps(values, sort_keys=True) for values, _ in REFUSED.values()}) == len(REFUSED)


# Where the reader chooses the names: labels, annotations, variables, affinity as Kubernetes spells it.
FREE = {
    "global",
    "secretEnv",
    "env",
    "podAnnotations",
    "podLabels",
    "nodeSelector",
    "service.annotations",
    "admin.service.annotations",
    "persistence.annotations",
    "ingress.annotations",
    "httpRoute.annotations",
    "serviceMonitor.labels",
    "serviceAccount.annotations",
}


def objects(values: dict, path: tuple[str, ...] = ()):
    yield path
    for key, value in values.items():
        if isinstance(value, dict) and ".".join((*path, key)) not in FREE:
            yield from objects(value, (*path, key))


@pytest.mark.parametrize("path", list(objects(defaults())), ids=lambda path: ".".join(path) or "top")
def test_a_misspelled_value_is_refused_at_every_level(path):
    typo: dict = {"enabledd": True}
    for key in reversed(path):
        typo = {key: typo}
    with helm_python.Chart.load(CHART) as chart, pytest.raises(helm_python.HelmValuesError, match="enabledd"):
        chart.render(typo, name=RELEASE, namespace=NAMESPACE)


def test_the_schema_leaves_no_object_open_by_accident():
    whole = schema()
    open_ones = set()

    def walk(node, path):
        if not isinstance(node, dict):
            return
        if node.get("type") == "object" and node.get("additionalProperties") is not False:
            if "additionalProperties" not in node:
                open_ones.add(path)
        for name, inner in node.get("properties", {}).items():
            walk(inner, f"{path}.{name}".lstrip("."))
        walk(node.get("items"), path + "[]")
        walk(node.get("additionalProperties"), path + ".*")

    walk(whole, "")
    for name, definition in whole["definitions"].items():
        walk(definition, f"#{name}")
    assert open_ones == {"global", "affinity.nodeAffinity", "affinity.podAffinity", "affinity.podAntiAffinity"}
    assert set(whole["properties"]) - {"global"} == set(defaults())
    used = set(re.findall(r'"#/definitions/([A-Za-z]+)"', json.dumps(whole)))
    assert used == set(whole["definitions"])


# --- the package -------------------------------------------------------------------------------------------------------------------


def test_the_packed_chart_has_the_helm_test_and_not_these_tests(tmp_path):
    with helm_python.Chart.load(CHART) as chart:
        archive = chart.save(tmp_path)
    with tarfile.open(archive) as packed:
        names = set(packed.getnames())
    assert "sluice/templates/tests/closed-and-ready.yaml" in names
    assert not any(name.startswith("sluice/tests/") or "__pycache__" in name for name in names)
    assert {"sluice/Chart.yaml", "sluice/values.yaml", "sluice/values.schema.json"} <= names
    with helm_python.Chart.load(archive) as packed_chart:
        again = packed_chart.render({}, name=RELEASE, namespace=NAMESPACE)
    assert again == _render("{}", RELEASE)


def test_the_chart_says_which_kubernetes_it_needs():
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text(encoding="utf-8"))
    assert chart["name"] == "sluice" and chart["kubeVersion"] == f">={KUBERNETES[0]}.0-0"
