"""Params by name, and the layout that they had in version 1, by which digests and older files still name them.

In version 1 the embedding was a bare array, and of four equal layers or more those above the first were stacked as
"upper". A digest is of that layout, so that tuned settings, statistics and compressed files match whoever wrote them.
"""

import re
from typing import Any

import jax
import numpy as np
from numpy.typing import NDArray

Leaves = dict[str, NDArray[Any]]
"""A PyTree by path, such as "params.layer_0.W_x"."""


def name_of(path: tuple[Any, ...]) -> str:
    """Return the name of a leaf from its path in a PyTree."""
    return jax.tree_util.keystr(path, simple=True, separator=".")


def named_leaves(tree: Any) -> Leaves:
    """Return the leaves of a PyTree by name, as numpy arrays."""
    flat, _ = jax.tree_util.tree_flatten_with_path(tree)
    return {name_of(path): np.asarray(leaf) for path, leaf in flat}


def to_version_1(params: Leaves) -> Leaves:
    """Return the params of a model, by name and in order of names, in the layout of version 1."""
    old = {"embedding" if name == "embedding.table" else name: leaf for name, leaf in params.items()}
    layers = len({name.partition(".")[0] for name in old if name.startswith("layer_")})
    by_layer = [
        {name.partition(".")[2]: leaf for name, leaf in old.items() if name.startswith(f"layer_{i}.")}
        for i in range(layers)
    ]
    upper = by_layer[1:]
    if layers > 3 and len({layer["W_h"].shape if "W_h" in layer else () for layer in by_layer}) == 1:
        old = {name: leaf for name, leaf in old.items() if not re.match(r"layer_[1-9]", name)}
        old |= {f"upper.{name}": np.stack([layer[name] for layer in upper]) for name in upper[0]}
    return dict(sorted(old.items()))


def from_version_1(tree: Leaves) -> Leaves:
    """Return a state or params, by name, in the present layout; what has it already stays as it is."""
    new: Leaves = {}
    for name, leaf in tree.items():
        stacked = re.fullmatch(r"(.*\b)upper\.(.+)", name)
        if stacked:
            new |= {f"{stacked[1]}layer_{i}.{stacked[2]}": layer for i, layer in enumerate(leaf, 1)}
        else:
            new[re.sub(r"\bembedding$", "embedding.table", name)] = leaf
    return new
