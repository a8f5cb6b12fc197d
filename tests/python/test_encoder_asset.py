"""The sentence encoder in the repository is, byte for byte, what its script makes of the published weights."""

from __future__ import annotations

import pathlib
import subprocess
import sys

from harness import skip

SCRIPT = pathlib.Path(__file__).resolve().parents[2] / "scripts" / "make-encoder"
# What the script exits with where pip cannot fetch the weights or the packages.
NOT_TO_BE_HAD = 75


def test_the_encoder_is_what_its_script_makes():
    done = subprocess.run([sys.executable, SCRIPT, "--check"], capture_output=True, text=True, timeout=600)
    if done.returncode == NOT_TO_BE_HAD:
        skip("weights", done.stderr)
    assert done.returncode == 0, done.stderr
