"""Leaving, money, health: what a release survives."""

from __future__ import annotations

import pytest
from chart import EVERY_SET, VALUE_SETS, defaults, environment, every, merged, notes, only, pod_specs, render, server

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
