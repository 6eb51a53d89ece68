"""Recurrent language models in JAX/Flax. `rnnlm.load(DIR)` opens a trained one."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rnnlm.language_model import LanguageModel, load

__all__ = ["LanguageModel", "load"]


def __getattr__(name: str) -> Any:
    # On first use, so that `rnnlm --help` need not wait for jax.
    if name in __all__:
        from rnnlm import language_model

        return getattr(language_model, name)
    raise AttributeError(f"module 'rnnlm' has no attribute {name!r}")
