"""Values that would install something wrong are refused with a word that helps."""

from __future__ import annotations

import json
import re

import helm_python
import pytest
from chart import (
    CHART,
    DATABASE,
    NAMESPACE,
    PROXY_ONLY,
    REDIS,
    RELEASE,
    VALUE_SETS,
    defaults,
    environment,
    every,
    merged,
    schema,
    server,
)

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
