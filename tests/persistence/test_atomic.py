"""A file is the old one or the new one."""

import multiprocessing
import os
import stat
from pathlib import Path

import pytest

from skvision.persistence._atomic import write_atomically
from skvision.persistence._format import write_file


def failing(file):
    file.write(b"half")
    raise RuntimeError("in the middle")


def test_new_file(tmp_path):
    write_atomically(tmp_path / "new", lambda file: file.write(b"all"))
    assert (tmp_path / "new").read_bytes() == b"all"
    assert [path.name for path in tmp_path.iterdir()] == ["new"]


def test_an_error_leaves_the_old_file(tmp_path):
    path = tmp_path / "old"
    path.write_bytes(b"before")
    with pytest.raises(RuntimeError, match="in the middle"):
        write_atomically(path, failing)
    assert path.read_bytes() == b"before"
    assert [path.name for path in tmp_path.iterdir()] == ["old"]


def test_nothing_is_left_where_there_was_nothing(tmp_path):
    with pytest.raises(RuntimeError):
        write_atomically(tmp_path / "new", failing)
    assert list(tmp_path.iterdir()) == []


def test_missing_folder(tmp_path):
    with pytest.raises(FileNotFoundError):
        write_atomically(tmp_path / "no folder" / "new", failing)


@pytest.mark.skipif(os.name != "posix", reason="needs POSIX permissions and links")
class TestPosix:
    def test_permissions_of_a_new_file(self, tmp_path):
        before = os.umask(0o027)
        try:
            write_atomically(tmp_path / "new", lambda file: file.write(b"x"))
        finally:
            os.umask(before)
        assert stat.S_IMODE((tmp_path / "new").stat().st_mode) == 0o640

    def test_permissions_of_the_old_file_are_kept(self, tmp_path):
        path = tmp_path / "old"
        path.write_bytes(b"x")
        path.chmod(0o604)
        write_atomically(path, lambda file: file.write(b"y"))
        assert stat.S_IMODE(path.stat().st_mode) == 0o604

    def test_a_link_stays_one(self, tmp_path):
        folder = tmp_path / "folder"
        folder.mkdir()
        (tmp_path / "link").symlink_to(folder / "file")
        write_atomically(tmp_path / "link", lambda file: file.write(b"x"))
        assert (tmp_path / "link").is_symlink()
        assert (folder / "file").read_bytes() == b"x"

    def test_long_and_strange_names(self, tmp_path):
        path = tmp_path / ("ü" * 100 + " .skv")
        write_atomically(path, lambda file: file.write(b"x"))
        assert path.read_bytes() == b"x"

    @pytest.mark.parametrize("how", ["itself", "by a link"])
    @pytest.mark.parametrize("kind", ["pipe", "device", "folder"])
    def test_what_is_no_file_stays(self, tmp_path, kind, how):
        path = tmp_path / kind
        if kind == "pipe":
            os.mkfifo(path)
        elif kind == "folder":
            path.mkdir()
        else:
            path = Path(os.devnull)
        if how == "by a link":
            (tmp_path / "link").symlink_to(path)
            path = tmp_path / "link"
        before, mode = sorted(tmp_path.iterdir()), path.stat().st_mode
        with pytest.raises(OSError, match=f"{path.name}' is a"):
            write_atomically(path, failing)
        with pytest.raises(OSError, match=f"{path.name}' is a"):
            write_file(path, "estimator", {"a": 1})
        assert sorted(tmp_path.iterdir()) == before
        assert path.stat().st_mode == mode

    def test_what_killed_writers_left_is_removed(self, tmp_path):
        def write(file):
            file.write(b"half")
            file.flush()
            os.kill(os.getpid(), 9)

        path = tmp_path / "net.skv"
        for _ in range(2):
            process = multiprocessing.get_context("fork").Process(
                target=write_atomically, args=(path, write)
            )
            process.start()
            process.join()
        assert len(list(tmp_path.iterdir())) == 1  # The second one removed the first's.
        others = [
            ".net.skv",
            ".net.skv.tmp",
            ".net.skv.abc.tmp",
            ".net.skv.b.12345678.tmp",
        ]
        others += ["net.skv.12345678.tmp", ".other.12345678.tmp"]
        for name in others:
            (tmp_path / name).touch()
        (tmp_path / ".net.skv.link5678.tmp").symlink_to(tmp_path / ".net.skv")
        write_atomically(path, lambda file: file.write(b"all"))
        left = {*others, "net.skv", ".net.skv.link5678.tmp"}
        assert {found.name for found in tmp_path.iterdir()} == left

    def test_what_others_are_writing_is_left_alone(self, tmp_path):
        path = tmp_path / "net.skv"

        def write(file):
            file.write(b"outer")
            write_atomically(path, lambda inner: inner.write(b"inner"))
            assert path.read_bytes() == b"inner"

        write_atomically(path, write)
        assert path.read_bytes() == b"outer"
        assert [found.name for found in tmp_path.iterdir()] == ["net.skv"]
