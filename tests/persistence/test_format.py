"""Files are read back whole, or not at all."""

import json
import os
import pickle

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from skvision.exceptions import FormatError
from skvision.persistence._format import VERSION, read_file, write_file

TREE = {
    "weights": {"a": torch.arange(6.0).reshape(2, 3), "b": torch.tensor(3)},
    "names": ["sha256", "0" * 64],
    "half": torch.ones(2, dtype=torch.bfloat16),
}


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "file.skv"
    write_file(path, "estimator", TREE)
    return path


def assert_equal(found, expected):
    for part in ("a", "b"):
        assert torch.equal(found["weights"][part], expected["weights"][part])
    assert found["names"] == expected["names"]
    assert torch.equal(found["half"], expected["half"])


def test_round_trip(path):
    assert_equal(read_file(path, "estimator"), TREE)


def test_equal_data_make_equal_files(path, tmp_path):
    write_file(tmp_path / "other", "estimator", TREE)
    assert (tmp_path / "other").read_bytes() == path.read_bytes()


def test_others_can_read_the_tensors(path):
    tensors = load_file(path)
    assert torch.equal(tensors["tensor 0"], TREE["weights"]["a"])


def test_parts_of_one_tensor(tmp_path):
    whole = torch.arange(12.0).reshape(3, 4)
    tree = {"row": whole[1], "column": whole[:, 1], "again": whole, "whole": whole}
    write_file(tmp_path / "file", "estimator", tree)
    for name, value in read_file(tmp_path / "file", "estimator").items():
        assert torch.equal(value, tree[name])


def test_long_trees(tmp_path):
    tree = ["x" * 1000] * 110_000  # More than a safetensors header can hold.
    write_file(tmp_path / "file", "estimator", tree)
    assert read_file(tmp_path / "file", "estimator") == tree


def test_what_is_no_data_leaves_the_old_file(path):
    before = path.read_bytes()
    with pytest.raises(TypeError, match="no plain data"):
        write_file(path, "estimator", {"x": object()})
    assert path.read_bytes() == before


def test_every_changed_byte_is_found(path):
    data = path.read_bytes()
    for place in range(len(data)):
        changed = bytearray(data)
        changed[place] ^= 1 << (place % 8)
        path.write_bytes(changed)
        with pytest.raises(FormatError, match="file.skv"):
            read_file(path, "estimator")


def test_every_length_is_found(path):
    data = path.read_bytes()
    for length in range(len(data)):
        path.write_bytes(data[:length])
        with pytest.raises(FormatError, match="file.skv"):
            read_file(path, "estimator")
    path.write_bytes(data + b"\0")
    with pytest.raises(FormatError, match="file.skv"):
        read_file(path, "estimator")


def header_of(length, text=b"{}"):
    return length.to_bytes(8, "little") + text


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x80\x04" + pickle.dumps(TREE["names"])[2:],
        b"PK\x03\x04" + bytes(100),
        header_of(2**63),
        header_of(2),
        header_of(2, b"[]"),
        header_of(4, b"null"),
        header_of(200_000, b"[" * 200_000),
        header_of(20, b'{"__metadata__": {}}'),
        header_of(29, b'{"__metadata__": {"skvision":'),
        np.random.default_rng(0).bytes(1000),
    ],
    ids=lambda data: repr(data[:12]),
)
def test_other_files(tmp_path, data):
    (tmp_path / "file").write_bytes(data)
    with pytest.raises(FormatError):
        read_file(tmp_path / "file", "estimator")


def test_weights_alone(tmp_path):
    save_file({"a": torch.ones(2)}, tmp_path / "file")
    with pytest.raises(FormatError, match="not written by skvision"):
        read_file(tmp_path / "file", "estimator")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"version": VERSION + 1}, "newer skvision"),
        ({"version": 10**9}, "newer skvision"),
        ({"version": "1"}, "in which version"),
        ({"version": None}, "in which version"),
        ({"kind": "checkpoint"}, "holds no estimator"),
        ({"sha256": "0" * 63}, "no checksum"),
        ({"sha256": 0}, "no checksum"),
        ({"sha256": "0" * 64}, "changed or damaged"),
    ],
)
def test_headers(tmp_path, change, message):
    header = {"sha256": "0" * 64, "version": VERSION, "kind": "estimator"} | change
    metadata = {"skvision": json.dumps(header)}
    save_file({"tree": torch.zeros(2)}, tmp_path / "file", metadata=metadata)
    if "kind" in change:
        write_file(tmp_path / "file", "checkpoint", TREE)
    with pytest.raises(FormatError, match=message):
        read_file(tmp_path / "file", "estimator")


def test_missing_file(tmp_path):
    with pytest.raises(FileNotFoundError):
        read_file(tmp_path / "none", "estimator")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_what_is_no_file(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", tmp_path):
        with pytest.raises(FormatError, match="not a file"):
            read_file(path, "estimator")


def test_a_checksum_that_is_written_otherwise(path):
    data = path.read_bytes()
    before = b'sha256\\": \\"'
    start = data.index(before) + len(before)
    escaped = b"".join(b"\\\\u00%02x" % byte for byte in data[start : start + 64])
    length = int.from_bytes(data[:8], "little") + len(escaped) - 64
    header = length.to_bytes(8, "little")
    path.write_bytes(header + data[8:start] + escaped + data[start + 64 :])
    with pytest.raises(FormatError, match=r"file\.skv.*changed or damaged"):
        read_file(path, "estimator")
