# SPDX-License-Identifier: Apache-2.0
"""The files of the tree, for the checks in this folder."""

import os
import subprocess

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
os.chdir(ROOT)


def files(*endings):
    """Paths that git knows or would add, with one of the endings (all files if none is given)."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    done = subprocess.run(command, capture_output=True, check=True)
    paths = sorted(set(os.fsdecode(done.stdout).split("\0")) - {""})
    return [path for path in paths if os.path.isfile(path) and path.endswith(endings or ("",))]
