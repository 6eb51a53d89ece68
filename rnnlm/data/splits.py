"""The train, valid and test splits of a corpus: offsets that never overlap and never cut a character."""

from dataclasses import dataclass
from fractions import Fraction

from rnnlm.config import DataConfig
from rnnlm.data import corpora
from rnnlm.data.columns import parse_columns
from rnnlm.data.corpora import Corpus
from rnnlm.data.shuffle import next_record, separator_bytes
from rnnlm.data.text import Text, TextSlice, chunks, count_characters, open_text, vocabulary_of
from rnnlm.data.vocabulary import Vocabulary
from rnnlm.errors import UserError

SPLITS = ("train", "valid", "test")
Offsets = dict[str, tuple[int, int]]
"""Offsets (begin, end) of each split; a split without symbols is left out."""


@dataclass(frozen=True)
class Dataset:
    """Hold a corpus seen through a vocabulary, and its splits: `splits` in symbols, `byte_splits` in bytes."""

    corpus: Corpus
    text: Text
    split_spec: str
    splits: Offsets
    byte_splits: Offsets

    def __repr__(self) -> str:
        splits = ", ".join(f"{name} {end - begin:,}" for name, (begin, end) in self.splits.items())
        return f"Dataset({self.corpus.name}, {len(self.text.vocabulary)} symbols of {splits})"

    def slice(self, name: str) -> TextSlice:
        """Return the text of a split. Raises UserError if the split spec has no such split."""
        if name not in self.splits:
            raise UserError(
                f"data.split={self.split_spec} has no split {name!r}: it has {', '.join(self.splits)}; choose one "
                "(--split)."
            )
        return TextSlice(self.text, *self.splits[name], name)


def open_dataset(
    config: DataConfig,
    vocabulary: Vocabulary | None = None,
    corpus: Corpus | None = None,
    byte_splits: Offsets | None = None,
) -> Dataset:
    """Map a corpus, by default that of the config, through a vocabulary, by default the corpus's own.

    The config gives the split spec, from which the byte offsets of the splits follow unless they are given.
    `RunInfo.open_dataset` opens the text of a run. Raises UserError if the corpus cannot be had or does not fit the
    split spec, the separator or the vocabulary.
    """
    separator = separator_bytes(config)
    corpus = corpus or corpora.open_corpus(config)
    vocabulary = vocabulary or vocabulary_of(corpus.path, config.symbols).with_separator(config.separator)
    byte_splits = byte_splits or split_offsets(config.split, corpus, config.shuffle, separator)
    text = open_text(corpus.path, corpus.sha256, vocabulary)
    splits = byte_splits
    if len(text) != corpus.size:
        at = {b: count_characters(corpus.path, b) for edges in byte_splits.values() for b in edges}
        splits = {name: (at[begin], at[end]) for name, (begin, end) in byte_splits.items()}
    edges = [edge for name in SPLITS if name in splits for edge in splits[name]]
    assert edges == sorted(edges) and edges[-1] == len(text), "train, valid and test overlap"
    return Dataset(corpus, text, config.split, splits, byte_splits)


def split_offsets(spec: str, corpus: Corpus, shuffle: str = "none", separator: bytes = b"") -> Offsets:
    """Return the byte offsets of a corpus's splits by a split spec.

    graves_96_4   Graves 2013: of 10^8 bytes the first 96 million train, the last 4 million test
    std_90_5_5    most later papers: of 10^8 bytes 90 million train, 5 valid, 5 test
    0.8/0.1/0.1   fractions of any text, or numbers of bytes that add up to its size; an edge inside a UTF-8
                  character moves to the next one, one inside a record or a shuffled file to its end
    columns_50x50_0.9/0.05/0.05   of a text that `open_corpus` has put into columns of char-rnn's loader, such as 50
                  streams of windows of 50 (`rnnlm.data.columns`)
    files         the first of three files trains, the second validates, the third is the test

    Raises UserError for a spec that is none of these or does not fit the corpus, or leaves a split without a record.
    """
    if spec in ("graves_96_4", "std_90_5_5"):
        if corpus.size != 100_000_000:
            raise UserError(
                f"data.split={spec} is defined on texts of 100,000,000 bytes, but {corpus.name} has {corpus.size:,}: "
                "use fractions, such as 0.9/0.05/0.05."
            )
        if shuffle != "none":
            raise UserError(
                f"data.split={spec} is defined on a text in its own order, not with data.shuffle={shuffle}: use "
                "fractions, such as 0.9/0.05/0.05."
            )
        cuts = [96_000_000, 96_000_000] if spec == "graves_96_4" else [90_000_000, 95_000_000]
        edges = [0, *cuts, corpus.size]
        return {name: (edges[i], edges[i + 1]) for i, name in enumerate(SPLITS) if edges[i] < edges[i + 1]}
    if spec == "files":
        edges = [0, *corpus.file_ends]
        if len(edges) != 4 or shuffle != "none":
            raise UserError(
                f"data.split=files takes three files in order, for train, valid and test, but {corpus.name} is "
                f"{len(corpus.file_ends)}{'' if shuffle == 'none' else ' in random order'}: name three, separated by "
                "commas, or use fractions, such as 0.9/0.05/0.05."
            )
        if empty := [name for i, name in enumerate(SPLITS) if edges[i] == edges[i + 1]]:
            raise UserError(f"data.split=files has an empty file for {' and '.join(empty)}: name three that hold text.")
        return {name: (edges[i], edges[i + 1]) for i, name in enumerate(SPLITS)}
    if columns := parse_columns(spec):
        edges = [0, *columns.offsets(corpus.size), corpus.size]
        return {name: (edges[i], edges[i + 1]) for i, name in enumerate(SPLITS) if edges[i] < edges[i + 1]}
    train, valid = parse_fractions(spec, corpus)
    cuts = [int(share * corpus.size) for share in (train, train + valid)]
    edges = [0, *(piece_boundary(corpus, cut, shuffle, separator) for cut in cuts), corpus.size]
    if shuffle == "files" or separator:
        shares = (train, valid, 1 - train - valid)
        empty = [name for i, name in enumerate(SPLITS) if shares[i] and edges[i] == edges[i + 1]]
        refuse_empty(empty, spec, corpus, "file" if shuffle == "files" else "record", separator)
    return {name: (edges[i], edges[i + 1]) for i, name in enumerate(SPLITS) if edges[i] < edges[i + 1]}


def piece_boundary(corpus: Corpus, offset: int, shuffle: str, separator: bytes) -> int:
    """Return the first byte offset from `offset` on at which a shuffled file, a record or else a character begins."""
    if shuffle == "files":
        return min(end for end in (0, *corpus.file_ends) if end >= offset)
    if separator:
        return next_record(corpus.path, separator, offset, corpus.size)
    return char_boundary(corpus, offset)


def refuse_empty(empty: list[str], spec: str, corpus: Corpus, piece: str, separator: bytes) -> None:
    """Raise UserError if splits are empty that have a share of the corpus: too few, or too long pieces."""
    if not empty:
        return
    if piece == "record" and next_record(corpus.path, separator, 1, corpus.size) == corpus.size:
        raise UserError(
            f"{corpus.name} is a single record, since data.separator={separator.decode(errors='replace')!r} ends none "
            "before its end, so it cannot be split: name the symbol that ends its records."
        )
    raise UserError(
        f"data.split={spec} leaves no whole {piece} to {' and '.join(empty)}, since no {piece} is cut: give "
        f"{corpus.name} more and shorter {piece}s, or choose larger shares."
    )


def parse_fractions(spec: str, corpus: Corpus) -> tuple[Fraction, Fraction]:
    """Parse the exact fractions of train and valid; test is the rest. Raises UserError for a spec that is invalid."""
    try:
        shares = [Fraction(share) for share in spec.split("/")]
    except (ValueError, ZeroDivisionError):
        shares = []
    if len(shares) != 3 or sum(shares) not in (1, corpus.size) or min(shares) < 0 or shares[0] == 0:
        raise UserError(
            f"data.split={spec!r} is no split: use graves_96_4, std_90_5_5, columns_STREAMSxTIME_SHARES, files, or the "
            f"shares of train/valid/test, which add up to 1, such as 0.8/0.1/0.1, or to the {corpus.size} bytes of "
            f"{corpus.name}."
        )
    return shares[0] / sum(shares), shares[1] / sum(shares)


def char_boundary(corpus: Corpus, offset: int) -> int:
    """Return the first byte offset from `offset` on that lies inside no UTF-8 character."""
    after = b"".join(chunks(corpus.path, offset, min(offset + 4, corpus.size)))
    return offset + next((i for i, byte in enumerate(after) if byte & 0xC0 != 0x80), 0)
