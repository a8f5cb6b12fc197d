"""The bill of materials says what is linked, each time the same."""
import json
import subprocess
import sys

from harness import ROOT


def made(*more):
    done = subprocess.run([sys.executable, ROOT / "scripts/sbom", *more], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_it_names_every_linked_crate_once_with_its_checksum_and_is_the_same_each_time():
    text = made()
    assert made() == text
    bom = json.loads(text)
    assert (bom["bomFormat"], bom["specVersion"]) == ("CycloneDX", "1.5")
    references = [component["bom-ref"] for component in bom["components"]]
    assert len(references) == len(set(references)) > 100
    known = {*references, bom["metadata"]["component"]["bom-ref"]}
    assert {entry["ref"] for entry in bom["dependencies"]} == known
    assert {need for entry in bom["dependencies"] for need in entry["dependsOn"]} <= known
    ours = {"policies", "adapters", "router"}
    for component in bom["components"]:
        digest = "SHA-512" if component["purl"].startswith("pkg:npm/") else "SHA-256"
        assert component["name"] in ours or component["hashes"][0]["alg"] == digest, component
        assert component["name"] not in {"openssl", "openssl-sys", "native-tls"}, component
    assert ours | {"uplot"} <= {component["name"] for component in bom["components"]}


def test_tests_are_not_in_it_and_without_the_engine_it_is_smaller():
    whole, relay = (json.loads(text)["components"] for text in (made(), made("--no-default-features")))
    names = {component["name"] for component in whole}
    assert "mistralrs" in names and not names & {"proptest", "insta", "tests", "libfuzzer-sys"}
    assert len(relay) < len(whole)
