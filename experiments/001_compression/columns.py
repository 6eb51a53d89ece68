"""Reorder a text as char-rnn's loader splits it, so that fractions of the result are the paper's splits.

    python experiments/001_compression/columns.py warpeace_input.txt > warpeace_columns.txt

char-rnn cuts a text into `BATCH` streams of windows of `TIME` and takes the first windows of every stream for training,
the next for validation and the last for the test (util/CharSplitLMMinibatchLoader.lua, where a stream is a row of the
batch), so that each split comes from all of the book. What does not fill a row of windows is left out. The split spec
of the result is printed on the standard error.
"""

import itertools
import sys
from pathlib import Path

BATCH, TIME = 100, 100
SHARES = (0.8, 0.9)

text = Path(sys.argv[1]).read_bytes()
windows = len(text) // (BATCH * TIME)
streams = [text[i * windows * TIME : (i + 1) * windows * TIME] for i in range(BATCH)]
edges = [0, *(int(share * windows) * TIME for share in SHARES), windows * TIME]
splits = [b"".join(stream[begin:end] for stream in streams) for begin, end in itertools.pairwise(edges)]
sys.stdout.buffer.write(b"".join(splits))
sys.stderr.write("/".join(str(len(split)) for split in splits) + "\n")
