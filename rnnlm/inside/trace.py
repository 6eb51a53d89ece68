"""Write what happens inside a model while it reads a text to a file of arrays, for studies of one's own."""

import contextlib
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import IO, Any, cast

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save_file

from rnnlm.errors import UserError
from rnnlm.files import open_atomic, writing
from rnnlm.generation.states import States

Arrays = dict[str, NDArray[Any]]


def name_arrays(states: States, layers: Sequence[int]) -> Arrays:
    """Return the arrays of states, those of layers as layer_0.h and layer_0.gate.f; bfloat16 becomes float32."""
    arrays: Arrays = {"inputs": states.ids, "logits": states.logits}
    for i in layers:
        arrays |= {f"layer_{i}.{name}": array for name, array in states.carry[i].items()}
        arrays |= {f"layer_{i}.gate.{name}": array for name, array in states.gates[i].items()}
    return {name: array if array.dtype.kind in "fiub" else array.astype(np.float32) for name, array in arrays.items()}


def write_arrays(path: Path, chunks: Iterable[Arrays]) -> dict[str, tuple[int, ...]]:
    """Write arrays that come in chunks, which are joined along their first axis, to a file: -> their shapes.

    The file is .npz, as numpy.load reads it, or .safetensors; it appears complete or not at all. The arrays wait for
    their end in files of a folder beside it, so that none has to fit into memory. Raises UserError for another ending
    and WriteError.
    """
    if path.suffix not in (".npz", ".safetensors"):
        raise UserError(f"{path} would be no file of arrays: name one that ends in .npz or .safetensors.")
    with contextlib.ExitStack() as stack:
        with writing(path):
            folder = stack.enter_context(tempfile.TemporaryDirectory(prefix=".trace", dir=path.absolute().parent))
        arrays = join_chunks(path, chunks, Path(folder))
        with open_atomic(path) as out:
            if path.suffix == ".npz":
                np.savez(out, **cast(dict[str, Any], arrays))
            else:
                save_file(arrays, out.name)
        return {name: array.shape for name, array in arrays.items()}


def join_chunks(path: Path, chunks: Iterable[Arrays], folder: Path) -> Arrays:
    """Append the chunks to a file for each array in a folder, and map these. Raises WriteError in the path's name."""
    files: dict[str, IO[bytes]] = {}
    joined: dict[str, tuple[np.dtype[Any], tuple[int, ...]]] = {}
    with contextlib.ExitStack() as stack:
        for chunk in chunks:
            with writing(path):
                for name, array in chunk.items():
                    if name not in files:
                        files[name] = stack.enter_context((folder / str(len(files))).open("wb"))
                    length = joined[name][1][0] if name in joined else 0
                    joined[name] = array.dtype, (length + len(array), *array.shape[1:])
                    files[name].write(np.ascontiguousarray(array).tobytes())
        with writing(path):
            for file in files.values():
                file.flush()
    return {
        name: np.memmap(folder / str(i), dtype, "r", shape=shape) if np.prod(shape) else np.empty(shape, dtype)
        for i, (name, (dtype, shape)) in enumerate(joined.items())
    }
