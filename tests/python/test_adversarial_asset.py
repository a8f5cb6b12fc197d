"""The prompts that try to steer the router are what their script makes."""
import subprocess
import sys

from harness import ROOT


def test_the_file_is_what_the_script_gives():
    done = subprocess.run([sys.executable, ROOT / "scripts/make-adversarial", "--check"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
