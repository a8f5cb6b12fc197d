"""Who can come in, and where pods may go."""

from __future__ import annotations

import ipaddress
import subprocess

import pytest
from chart import DATABASE, EVERY_SET, NAME, PROMETHEUS, REDIS, VALUE_SETS, environment, every, only, render


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
