"""What people install, and how it is rendered for the checks beside this file.

    python -m venv .venv && .venv/bin/pip install -r helm/tests/requirements.txt
    .venv/bin/python -m pytest helm/tests -q

Helm itself lints and renders (helm-python-sdk carries it as a library), and every manifest is held against the published
schemas of several Kubernetes versions (kubernetes-validate carries those). Neither a cluster nor the network is needed.
"""

from __future__ import annotations

import copy
import functools
import json
import pathlib

import helm_python
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
def rendered(values: str, name: str) -> dict[str, str]:
    with helm_python.Chart.load(CHART) as chart:
        return chart.render(json.loads(values), name=name, namespace=NAMESPACE)


def render(values: dict, name: str = RELEASE) -> list[dict]:
    files = rendered(json.dumps(values, sort_keys=True), name)
    return [one for path, text in files.items() if path.endswith(".yaml") for one in load_yaml(text)]


def notes(values: dict) -> str:
    files = rendered(json.dumps(values, sort_keys=True), RELEASE)
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
