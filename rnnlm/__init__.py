"""Recurrent language models in JAX/Flax: `rnnlm.train` trains one in a run folder, `rnnlm.load` opens it."""

import importlib

TYPE_CHECKING = False  # type checkers take it for true; typing itself would take a fifth of the time of `rnnlm --help`
if TYPE_CHECKING:
    from rnnlm.api import baseline, compare, compress_online, configure, plan, published, train
    from rnnlm.config import Config
    from rnnlm.data.cache import clean_cache
    from rnnlm.data.describe import describe_text
    from rnnlm.errors import UserError
    from rnnlm.evaluation.dynamic import Adaptation
    from rnnlm.evaluation.protocol import EvalProtocol, Score
    from rnnlm.language_model import LanguageModel, decompress, load
    from rnnlm.runs.status import Status, status

    __version__: str

MODULES = {
    "Adaptation": "evaluation.dynamic",
    "Config": "config",
    "EvalProtocol": "evaluation.protocol",
    "LanguageModel": "language_model",
    "Score": "evaluation.protocol",
    "Status": "runs.status",
    "UserError": "errors",
    "baseline": "api",
    "clean_cache": "data.cache",
    "compare": "api",
    "compress_online": "api",
    "configure": "api",
    "decompress": "language_model",
    "describe_text": "data.describe",
    "load": "language_model",
    "plan": "api",
    "published": "api",
    "status": "runs.status",
    "train": "api",
}
"""The module of each public name, imported on first use, so that `import rnnlm` does not wait for jax."""

__all__ = [
    "Adaptation",
    "Config",
    "EvalProtocol",
    "LanguageModel",
    "Score",
    "Status",
    "UserError",
    "__version__",
    "baseline",
    "clean_cache",
    "compare",
    "compress_online",
    "configure",
    "decompress",
    "describe_text",
    "load",
    "plan",
    "published",
    "status",
    "train",
]


def __getattr__(name: str) -> object:
    if name == "__version__":
        return read_version()
    if name in MODULES:
        return getattr(importlib.import_module(f"rnnlm.{MODULES[name]}"), name)
    raise AttributeError(f"module 'rnnlm' has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__


def read_version() -> str:
    """Read the version of the installed package, or of pyproject.toml where rnnlm is run from its source tree."""
    import tomllib
    from importlib import metadata
    from pathlib import Path

    try:
        return metadata.version("rnnlm")
    except metadata.PackageNotFoundError:
        with (Path(__file__).parents[1] / "pyproject.toml").open("rb") as file:
            return str(tomllib.load(file)["project"]["version"])
