"""A file is the old one or the new one."""

import os
import stat

import pytest

from skvision.storage._atomic import write_atomically


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
