"""Record where, when and from what code a run was started."""

import platform
import subprocess
import sys
import time
from importlib import metadata
from pathlib import Path
from typing import Any

PACKAGES = ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy", "rnnlm")


def provenance() -> dict[str, Any]:
    """Where, when and from what a run was started."""
    return {
        "time": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "argv": sys.argv,
        "git": git(),
        "python": platform.python_version(),
        "versions": {name: version(name) for name in PACKAGES},
        "machine": platform.platform(),
    }


def version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:  # rnnlm itself, run from its source tree
        return None


def git() -> dict[str, Any] | None:
    """The commit of rnnlm's own source tree and what differs from it; None outside a checkout."""
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
