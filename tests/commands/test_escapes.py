"""Backslash escapes mean one thing in all text of the command line, and nothing anywhere else."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rnnlm.commands import overrides
from rnnlm.commands.escapes import unescape
from rnnlm.config import Config
from rnnlm.errors import UserError


@pytest.mark.parametrize(
    "given, text",
    [
        (r"a\nb\t\r\0", "a\nb\t\r\0"),
        (r"\\n", r"\n"),
        (r"\\\n", "\\\n"),
        (r"\x41\x0a\u03bb", "A\nλ"),
        (r"\xce\xbb", "λ"),  # bytes that are UTF-8 together
        (r"\xff", "\udcff"),  # as Python holds a byte of the command line that is no UTF-8
        (r"\01", "\x001"),
        ("no escape ä", "no escape ä"),
    ],
)
def test_what_escapes_mean(given, text):
    assert unescape(given, "--prompt") == text


@given(st.text())
def test_any_text_can_be_written(text):
    assert unescape(text.replace("\\", "\\\\"), "x") == text
    assert unescape("".join(f"\\x{byte:02x}" for byte in text.encode()), "x") == text
    if all(ord(c) < 0x10000 for c in text):
        assert unescape("".join(f"\\u{ord(c):04X}" for c in text), "x") == text


@given(st.binary())
def test_any_bytes_can_be_written(data):
    assert unescape("".join(f"\\x{byte:02x}" for byte in data), "x").encode("utf-8", "surrogateescape") == data


@pytest.mark.parametrize("given", [r"\d", "a\\", r"\x4", r"\u12", "\\\n", r"\N"])
def test_an_unknown_escape_is_a_sentence(given):
    with pytest.raises(
        UserError, match=r"(?s)--prompt=.* is no escape, which are \\n, \\t, .*a backslash itself as \\\\"
    ):
        unescape(given, "--prompt")


def test_half_a_character_is_refused():
    with pytest.raises(UserError, match=r"\\ud83d is no character, but half of one: write the character itself"):
        unescape(r"\ud83d\ude00", "--prompt")


def test_overrides_have_escapes_and_config_files_have_their_own():
    def read(*words):
        return overrides.read_config("tests/tiny.py", [f"--config.{word}" for word in words])

    config = read(r"data.separator=\n", r"sample.prime=a\tb\\n", r"data.files=a\nb")
    assert config["data"]["separator"] == "\n" and config["sample"]["prompt"] == "a\tb\\n"
    assert config["data"]["files"] == r"a\nb"  # a path
    assert read("sample.prompt=")["sample"]["prompt"] == ""
    with pytest.raises(UserError, match=r"--config\.data\.separator=\\d: \\d is no escape"):
        read(r"data.separator=\d")
    assert Config.from_dict({"data": {"separator": r"\n"}}).data.separator == r"\n"
