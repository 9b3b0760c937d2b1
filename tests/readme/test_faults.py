"""The table of faults is what tests say of themselves, and has no empty cell."""

import subprocess
import sys

from harness.faults import ROOT, environment


def test_the_table_is_true():
    done = subprocess.run([sys.executable, "-m", "harness.faults", "--check"], cwd=ROOT / "tests", env=environment(), capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
