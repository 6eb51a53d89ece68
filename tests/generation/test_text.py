"""Samples are shown without cut characters, on a terminal, in the log and in Python; elsewhere they are exact bytes."""

import itertools
import os
import pty
import re
import sys
import termios

import pytest
from hypothesis import given
from hypothesis import strategies as st

import rnnlm
from rnnlm.commands import main
from rnnlm.generation.sampler import TextDecoder, join_text
from tests.conftest import tiny

TEXT = ("ὁ λόγος ἦν 동해물과 백두산이 😀 ok " * 60).encode()
PIECES = st.binary(max_size=4) | st.sampled_from(["a", "λ", "해", "😀"]).map(str.encode)


def incomplete(data: bytes) -> int:
    """Return how many bytes at the end of a text begin a character that further bytes may complete."""
    for n in range(1, min(4, len(data) + 1)):
        for rest in (b"\x80", b"\x90", b"\xa0", b"\x80\x80", b"\x90\x80", b"\xa0\x80", b"\x80" * 3, b"\x90\x80\x80"):
            try:
                if len((data[-n:] + rest).decode()) == 1:
                    return n
            except UnicodeDecodeError:
                pass
    return 0


@given(st.lists(PIECES), st.lists(st.integers(0, 60)))
def test_what_is_shown_piece_by_piece_is_the_whole_decoded(pieces, cuts):
    data = b"".join(pieces)
    edges = [0, *sorted(min(cut, len(data)) for cut in cuts), len(data)]
    decode = TextDecoder()
    shown = "".join(decode(data[i:j]) for i, j in itertools.pairwise(edges))
    assert shown == data[: len(data) - incomplete(data)].decode(errors="replace") == join_text([data])
    assert ("\ufffd" in shown) <= ("\ufffd" in data.decode(errors="replace"))


@given(st.text(), st.integers(0, 3))
def test_a_text_that_is_cut_shows_no_replacement(text, cut):
    data = text.encode()
    shown = join_text([data[: max(0, len(data) - cut)]])
    assert text.startswith(shown) and len(shown) >= len(text) - cut


@pytest.fixture(scope="module")
def lm(tmp_path_factory):
    """Train a model of bytes whose text has characters of several; its samples are cut at any byte."""
    folder = tmp_path_factory.mktemp("bytes")
    (folder / "text.txt").write_bytes(TEXT)
    sampling = {"sample__every": 30, "sample__prompt": "λό", "sample__length": 41}
    sampling["sample__temperatures"] = (0.0, 1.0, 4.0)
    config = tiny(data__files=str(folder / "text.txt"), data__symbols="byte", train__steps=30, **sampling)
    rnnlm.train(config, folder / "run", show=False)
    return rnnlm.load(folder / "run", step="latest")


def raw(lm, prompt: bytes, **options) -> bytes:
    return prompt + b"".join(piece[0] for piece in lm.stream(prompt.decode("utf-8", "surrogateescape"), **options))


def test_samples_in_python_and_in_the_log_are_whole_characters(lm):
    for length in range(20, 32):
        data = raw(lm, b"\xce", length=length, seed=1)
        assert lm.sample("\udcce", length=length, seed=1) == join_text([data])
    logged = (lm.workdir / "samples" / "000000030.txt").read_bytes().decode()
    texts = {t: join_text([raw(lm, "λό".encode(), length=41, temperature=t, seed=0)]) for t in (0.0, 1.0, 4.0)}
    assert logged == "".join(f"----- step 30, temperature {t} -----\n{text}\n\n" for t, text in texts.items())


def on_a_terminal(monkeypatch, *args) -> str:
    """Run a command whose standard output is a terminal: -> what it shows."""
    ours, theirs = pty.openpty()
    attributes = termios.tcgetattr(theirs)
    attributes[1] &= ~termios.OPOST  # no carriage returns
    termios.tcsetattr(theirs, termios.TCSANOW, attributes)
    with os.fdopen(theirs, "w", encoding="utf-8") as terminal, monkeypatch.context() as patch:
        patch.setattr(sys, "stdout", terminal)
        assert main.main([*map(str, args), "--cpu_devices=1"]) == 0
        terminal.write("<end>")
        terminal.flush()
        shown = b""
        while not shown.endswith(b"<end>"):
            shown += os.read(ours, 4096)
    os.close(ours)
    return shown[: -len("<end>")].decode()


def test_a_terminal_shows_characters_and_a_pipe_gets_bytes(lm, monkeypatch, capsysbinary):
    options = ["--length=150", "--seed=3", r"--prompt=\xce", "--num=2", "--temperature=2"]
    args = ["sample", f"--workdir={lm.workdir}", "--step=latest", *options]
    assert main.main([*args, "--cpu_devices=1"]) == 0
    pieces = zip(*lm.stream("\udcce", length=150, seed=3, num=2, temperature=2.0), strict=True)
    texts = [b"\xce" + b"".join(text) for text in pieces]
    headings = [b"----- sample 1 -----\n", b"\n----- sample 2 -----\n"]
    exact = b"".join(heading + text for heading, text in zip(headings, texts, strict=True)) + b"\n"
    assert capsysbinary.readouterr().out == exact
    shown = on_a_terminal(monkeypatch, *args)
    assert shown == "".join(h.decode() + join_text([t]) for h, t in zip(headings, texts, strict=True)) + "\n"


def test_a_sample_without_a_seed_can_be_repeated(lm, capsysbinary):
    args = ["sample", f"--workdir={lm.workdir}", "--length=80", "--cpu_devices=1", "--temperature=4"]

    def sample(*more):
        assert main.main([*args, *more]) == 0
        return tuple(capsysbinary.readouterr())

    (one, told), (other, _) = sample(), sample()
    seed = re.fullmatch(r"drawn with (--seed=\d+)\n", told.decode())
    assert seed and one != other
    assert sample(seed[1]) == (one, b"")
    assert lm.sample(length=20) == lm.sample(length=20, seed=0)  # in Python 0 unless given
