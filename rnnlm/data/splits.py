"""A corpus opened for reading: its text as symbols, and its named parts, which never overlap."""

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction

from rnnlm.config import DataConfig
from rnnlm.data import corpora
from rnnlm.data.corpora import Corpus
from rnnlm.data.vocabulary import Text, Vocabulary, chunks, count_characters, open_text, vocabulary_of
from rnnlm.errors import UserError

PARTS = ("train", "valid", "test")
Splits = dict[str, tuple[int, int]]
"""Offsets (begin, end) of each part of a text that has one."""


@dataclass(frozen=True)
class Dataset:
    """A corpus through a vocabulary; `parts` are in symbols, `byte_parts` in bytes."""

    corpus: Corpus
    text: Text
    split: str
    parts: Splits
    byte_parts: Splits

    def part(self, name: str) -> tuple[int, int]:
        """(begin, end) in symbols. Raises UserError where the split has no such part."""
        if name not in self.parts:
            raise UserError(
                f"The split {self.split} has no part {name!r}: it has {', '.join(self.parts)}; choose one (--split)."
            )
        return self.parts[name]

    def raw(self, name: str) -> Iterator[bytes]:
        """The bytes of a part, a little at a time."""
        self.part(name)
        return chunks(self.corpus.path, *self.byte_parts[name])


def open_dataset(config: DataConfig, vocabulary: Vocabulary | None = None, sha256: str = "") -> Dataset:
    """Find the corpus, and map it through the vocabulary given, or else through its own.

    Raises UserError where a digest is given and the corpus has another one.
    """
    corpus = corpora.open_corpus(config)
    if sha256 not in ("", corpus.sha256):
        raise UserError(
            f"{corpus.name} has changed since the run began: the sha256 of {corpus.path} was {sha256} and is "
            f"{corpus.sha256}. Put the old text back, or train in a new folder."
        )
    byte_parts = splits(config.split, corpus)
    vocabulary = vocabulary or vocabulary_of(corpus.path, config.symbols)
    text = open_text(corpus.path, corpus.sha256, vocabulary)
    parts = byte_parts
    if len(text) != corpus.size:
        at = {b: count_characters(corpus.path, b) for edges in byte_parts.values() for b in edges}
        parts = {name: (at[begin], at[end]) for name, (begin, end) in byte_parts.items()}
    edges = [edge for name in PARTS if name in parts for edge in parts[name]]
    assert edges == sorted(edges) and edges[-1] == len(text), "train, valid and test overlap"
    return Dataset(corpus, text, config.split, parts, byte_parts)


def splits(spec: str, corpus: Corpus) -> Splits:
    """The named parts of a corpus, by byte offset; parts that are empty are left out.

    graves_96_4   Graves 2013: of 10^8 bytes the first 96 million train, the last 4 million test
    std_90_5_5    most later papers: of 10^8 bytes 90 million train, 5 valid, 5 test
    0.8/0.1/0.1   shares of any text, or numbers of bytes that add up to its size; moved on to where a UTF-8
                  character begins
    """
    if spec in ("graves_96_4", "std_90_5_5"):
        if corpus.size != 100_000_000:
            raise UserError(
                f"data.split={spec} is defined on texts of 100,000,000 bytes, but {corpus.name} has {corpus.size:,}: "
                "use fractions, such as 0.9/0.05/0.05."
            )
        cuts = [96_000_000, 96_000_000] if spec == "graves_96_4" else [90_000_000, 95_000_000]
    else:
        train, valid = fractions(spec, corpus)
        cuts = [boundary(corpus, int(train * corpus.size)), boundary(corpus, int((train + valid) * corpus.size))]
    edges = [0, *cuts, corpus.size]
    return {name: (edges[i], edges[i + 1]) for i, name in enumerate(PARTS) if edges[i] < edges[i + 1]}


def fractions(spec: str, corpus: Corpus) -> tuple[Fraction, Fraction]:
    """The shares of train and valid, exactly; the third is the rest."""
    try:
        shares = [Fraction(part) for part in spec.split("/")]
    except (ValueError, ZeroDivisionError):
        shares = []
    if len(shares) != 3 or sum(shares) not in (1, corpus.size) or min(shares) < 0 or shares[0] == 0:
        raise UserError(
            f"data.split={spec!r} is no split: use graves_96_4, std_90_5_5, or the shares of train/valid/test, "
            f"which add up to 1, such as 0.8/0.1/0.1, or to the {corpus.size} bytes of {corpus.name}."
        )
    return shares[0] / sum(shares), shares[1] / sum(shares)


def boundary(corpus: Corpus, offset: int) -> int:
    """The first place from `offset` on where no UTF-8 character is cut."""
    after = b"".join(chunks(corpus.path, offset, min(offset + 4, corpus.size)))
    return offset + next((i for i, byte in enumerate(after) if byte & 0xC0 != 0x80), 0)
