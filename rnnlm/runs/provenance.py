"""Record where, when and from what code a run was started."""

import os
import platform
import subprocess
import sys
import time
from importlib import metadata
from pathlib import Path
from typing import Any

PACKAGES = ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy", "rnnlm")


def provenance() -> dict[str, Any]:
    """Return time, command line, working directory, git commit, versions and platform, ready for JSON."""
    return {
        "time": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "argv": sys.argv,
        "cwd": working_dir(),
        "git": git(),
        "python": platform.python_version(),
        "versions": {name: version(name) for name in PACKAGES},
        "machine": platform.platform(),
    }


def working_dir() -> str | None:
    """Return the working directory; None if it was deleted."""
    try:
        return os.getcwd()
    except FileNotFoundError:
        return None


def version(package: str) -> str | None:
    """Return the version of an installed package; None if it is not installed, as rnnlm in its source tree."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def git() -> dict[str, Any] | None:
    """Return the commit of rnnlm's own source tree and what differs from it; None outside a checkout."""
    root = Path(__file__).resolve().parents[2]

    def ask(*words: str) -> str:
        return subprocess.run(
            ["git", "-C", str(root), *words], capture_output=True, text=True, check=True, timeout=20, errors="replace"
        ).stdout

    try:
        if Path(ask("rev-parse", "--show-toplevel").strip()) != root:
            return None
        return {
            "sha": ask("rev-parse", "HEAD").strip(),
            "status": ask("status", "--short"),
            "diff": ask("diff", "HEAD"),
        }
    except (OSError, subprocess.SubprocessError):
        return None
