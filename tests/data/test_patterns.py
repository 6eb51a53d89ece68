"""Patterns name the files that glob names, and links that lead back are not followed."""

import glob
import os
import subprocess
import sys

import pytest

from rnnlm.data.patterns import find_matches, list_files
from rnnlm.errors import UserError
from tests.conftest import ROOT


@pytest.fixture
def tree(tmp_path, monkeypatch):
    """Make folders with hidden files, a broken link, a link to another folder and odd names, and go there."""
    for name in ("a/1.txt", "a/b/2.txt", "a/b/c/3.md", "a/.hidden/4.txt", "a/.5.txt", "a/b[x]/6.txt", "other/7.txt"):
        (tmp_path / "t" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "t" / name).write_text(name)
    (tmp_path / "t/a/broken").symlink_to("nowhere")
    (tmp_path / "t/a/linked").symlink_to("../other")
    os.mkfifo(tmp_path / "t/a/pipe")
    monkeypatch.chdir(tmp_path / "t")
    return tmp_path / "t"


@pytest.mark.parametrize(
    "pattern",
    ["a/*.txt", "a/**/*.txt", "**/*.txt", "a/**", "**/b/**/*.*", "a/**/b/*.txt", "{t}/**/*.md", "x/**", "*/**/2*"],
)
def test_globs_are_those_of_the_glob_module(tree, pattern):
    pattern = pattern.replace("{t}", str(tree))
    expected = {path for path in glob.glob(pattern, recursive=True) if os.path.isfile(path)}
    found = [str(path) for path in find_matches(pattern)]
    assert set(found) == expected and len(found) == len(expected)


def test_a_folder_has_all_files_below_it(tree):
    names = [str(path) for path in list_files("a")]
    assert names == ["a/.5.txt", "a/.hidden/4.txt", "a/1.txt", "a/b/2.txt", "a/b/c/3.md", "a/b[x]/6.txt"]


def test_links_that_lead_back_are_not_followed(tree):
    """With two of them `glob.glob` would take hours."""
    for i in range(3):
        (tree / f"a/b/back{i}").symlink_to("..")
        (tree / f"a/self{i}").symlink_to(".")
    (tree / "other/there").symlink_to("../a")
    (tree / "a/b/loop").symlink_to("loop")
    assert sorted(map(str, find_matches("a/**/*.md"))) == ["a/b/c/3.md"]
    assert len(list_files("a")) == 6
    assert sorted(map(str, find_matches("other/**/*.txt"))) == [
        "other/7.txt", "other/there/1.txt", "other/there/b/2.txt", "other/there/b[x]/6.txt",
    ]  # fmt: skip
    with pytest.raises(UserError, match="no file is there"):
        list_files("a/b/loop")


@pytest.mark.skipif(os.name != "posix", reason="POSIX permissions")
def test_a_folder_that_cannot_be_listed_is_said(tree):
    """It would leave out a part of the text in silence. A process of another user tries, since root may list it."""
    (tree / "a/b").chmod(0)
    code = (
        "import os, sys; from rnnlm.data import patterns; from rnnlm.errors import UserError\n"
        "if os.geteuid() == 0: os.setuid(65534)\n"
        "for files in ('a', 'a/**'):\n"
        "    try: print(patterns.list_files(files))\n"
        "    except UserError as error: print(error)\n"
    )
    env = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, env=env)
    (tree / "a/b").chmod(0o755)
    assert done.stdout == "a/b could not be read (Permission denied).\n" * 2
