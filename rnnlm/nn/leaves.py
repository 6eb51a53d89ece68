"""Name the leaves of params, and convert their layout to and from that of version 1.

In version 1 the embedding was a bare array, and in models of at least four equal layers those above the first were
stacked as "upper". Digests are computed in that layout, so that they match tuned settings, statistics and compressed
files of every version.
"""

import re
from typing import Any

import jax
import numpy as np
from numpy.typing import NDArray

Leaves = dict[str, NDArray[Any]]
"""The leaves of a PyTree by name, such as "params.layer_0.W_x"."""


def name_of(path: tuple[Any, ...]) -> str:
    """Return the name of a leaf from its path in a PyTree."""
    return jax.tree_util.keystr(path, simple=True, separator=".")


def named_leaves(tree: Any) -> Leaves:
    """Return the leaves of a PyTree by name, as numpy arrays."""
    flat, _ = jax.tree_util.tree_flatten_with_path(tree)
    return {name_of(path): np.asarray(leaf) for path, leaf in flat}


def to_version_1(params: Leaves) -> Leaves:
    """Convert params, by name, to the layout of version 1, sorted by name."""
    old = {"embedding" if name == "embedding.table" else name: leaf for name, leaf in params.items()}
    layers = len({name.partition(".")[0] for name in old if name.startswith("layer_")})
    by_layer = [
        {name.partition(".")[2]: leaf for name, leaf in old.items() if name.startswith(f"layer_{i}.")}
        for i in range(layers)
    ]
    upper = by_layer[1:]
    if layers > 3 and len({layer["W_h"].shape if "W_h" in layer else i for i, layer in enumerate(by_layer)}) == 1:
        old = {name: leaf for name, leaf in old.items() if not re.match(r"layer_[1-9]", name)}
        old |= {f"upper.{name}": np.stack([layer[name] for layer in upper]) for name in upper[0]}
    return dict(sorted(old.items()))


def from_version_1(tree: Leaves) -> Leaves:
    """Convert a state or params, by name, from the layout of version 1; leaves in the present layout stay.

    The params of a layer may have any name, "upper" and "embedding" among them.
    """
    new: Leaves = {}
    for name, leaf in tree.items():
        stacked = re.fullmatch(r"(.*?\b)upper\.(.+)", name)
        if re.search(r"\blayer_\d+\.", name):
            new[name] = leaf
        elif stacked:
            new |= {f"{stacked[1]}layer_{i}.{stacked[2]}": layer for i, layer in enumerate(leaf, 1)}
        else:
            new[re.sub(r"\bembedding$", "embedding.table", name)] = leaf
    return new
