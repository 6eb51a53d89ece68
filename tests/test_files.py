"""A file is written completely or not at all, and existing files are not damaged."""

import os

import pytest

from rnnlm.errors import UserError, WriteError
from rnnlm.files import check_writable, write_atomic


def cut_off():
    yield b"half"
    raise OSError("the disk is full")


def test_a_failed_write_leaves_the_old_file(tmp_path):
    path = tmp_path / "file"
    for before in ([], ["file"]):
        with pytest.raises(WriteError, match="file could not be written .the disk is full"):
            write_atomic(path, cut_off())
        assert os.listdir(tmp_path) == before
        path.write_bytes(b"old")
    assert path.read_bytes() == b"old"
    write_atomic(path, [b"ne", b"w"])
    assert path.read_bytes() == b"new" and os.listdir(tmp_path) == ["file"]


def test_a_link_stays_a_link_and_a_pipe_a_pipe(tmp_path):
    link, target, pipe = (tmp_path / name for name in ("link", "target", "pipe"))
    link.symlink_to(target)
    write_atomic(link, [b"text"])
    assert link.is_symlink() and target.read_bytes() == b"text"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    write_atomic(pipe, [b"text"])
    assert os.read(reader, 10) == b"text" and pipe.is_fifo()
    os.close(reader)


def test_an_unwritable_path_is_refused_before_work_begins(tmp_path):
    source = tmp_path / "source"
    source.write_bytes(b"text")
    (tmp_path / "link").symlink_to(source)
    check_writable(tmp_path / "new", "-o", source)
    check_writable(source, "-o")
    for path in (source, tmp_path / "link"):
        with pytest.raises(UserError, match="is the very file that is read"):
            check_writable(path, "-o", source)
    with pytest.raises(UserError, match="is a folder"):
        check_writable(tmp_path, "-o")
    for path in (source / "inside", tmp_path / "folder" / "file"):
        with pytest.raises(UserError, match="there is no folder"):
            check_writable(path, "-o")
