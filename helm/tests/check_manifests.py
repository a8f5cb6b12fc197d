"""The manifests are what Kubernetes takes."""

from __future__ import annotations

import copy
import re

import helm_python
import jsonschema
import kubernetes_validate
import pytest
from chart import CHART, EVERY_SET, KUBERNETES, NAME, NAMESPACE, VALUE_SETS, every, only, pod_specs, render, server


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
