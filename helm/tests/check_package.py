"""The packed chart."""

from __future__ import annotations

import tarfile

import helm_python
import yaml
from chart import CHART, KUBERNETES, NAMESPACE, RELEASE, rendered


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
    assert again == rendered("{}", RELEASE)


def test_the_chart_says_which_kubernetes_it_needs():
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text(encoding="utf-8"))
    assert chart["name"] == "sluice" and chart["kubeVersion"] == f">={KUBERNETES[0]}.0-0"
