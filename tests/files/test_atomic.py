"""Files replaced as a whole: where they go, who may read them, what is never replaced.

Run: python -m pytest tests/files/test_atomic.py
"""

import json
import os
import stat
import threading

import pytest
import torch
from safetensors.torch import load

import generate_data
from goat.errors import UserError
from goat.files.atomic import check_place, refuse_same, replacing, write_text
from goat.files.rows import write_lines
from goat.files.tensors import write_tensors

ROWS = [{"instruction": "1 + 1", "answer": "2"}]
TENSORS = {"a": torch.arange(5.0)}
WRITERS = {  # the name of a file -> what writes it
    "a.json": lambda file: write_text(file, "{}"),
    "rows.jsonl": lambda file: write_lines(file, ROWS),
    "rows.json": lambda file: write_lines(file, ROWS),
    "none.json": lambda file: write_lines(file, []),
    "model.safetensors": lambda file: write_tensors(TENSORS, file)}
each_writer = pytest.mark.parametrize("name", WRITERS)


@each_writer
def test_a_link_stays_and_its_file_is_replaced(tmp_path, name):
    (tmp_path / "far").mkdir()
    for target in (tmp_path / "far" / "old", tmp_path / "new" / "er" / "none yet"):
        link = tmp_path / name
        link.unlink(missing_ok=True)
        link.symlink_to(os.path.relpath(target, tmp_path))
        if target.name == "old":
            target.write_text("old")
        check_place(link)
        WRITERS[name](link)
        assert link.is_symlink() and target.stat().st_size > 0 and target.read_bytes() != b"old"
        assert os.listdir(target.parent) == [target.name]


@each_writer
def test_a_device_is_written_into(tmp_path, name):
    device = tmp_path / name
    device.symlink_to("/dev/null")
    check_place(device)
    WRITERS[name](device)
    assert device.is_symlink() and stat.S_ISCHR(os.stat("/dev/null").st_mode)
    device.unlink()
    try:
        os.mknod(device, 0o600 | stat.S_IFCHR, os.makedev(1, 3))
    except PermissionError:
        return  # only root makes devices
    WRITERS[name](device)
    assert stat.S_ISCHR(device.stat().st_mode) and os.listdir(tmp_path) == [name]


@each_writer
def test_a_pipe_is_written_into(tmp_path, name):
    pipe, read = tmp_path / name, []
    os.mkfifo(pipe)
    reader = threading.Thread(target=lambda: read.append(pipe.read_bytes()))
    reader.start()
    WRITERS[name](pipe)
    reader.join()
    assert stat.S_ISFIFO(pipe.stat().st_mode) and os.listdir(tmp_path) == [name]
    WRITERS[name](tmp_path / f"file {name}")
    assert read == [(tmp_path / f"file {name}").read_bytes()]
    if name == "model.safetensors":
        assert torch.equal(load(read[0])["a"], TENSORS["a"])


@each_writer
@pytest.mark.parametrize("umask", [0o022, 0o027, 0o002])
def test_permissions_are_those_of_any_new_file(tmp_path, name, umask):
    before = os.umask(umask)
    try:
        for old in (None, 0o600, 0o666):
            if old:
                (tmp_path / name).chmod(old)
            WRITERS[name](tmp_path / name)
            assert stat.S_IMODE((tmp_path / name).stat().st_mode) == 0o666 & ~umask
    finally:
        os.umask(before)


@each_writer
def test_a_name_may_have_as_many_bytes_as_the_system_allows(tmp_path, name):
    WRITERS[name](tmp_path / ("é" * 100 + "a" * (255 - 200 - len(name)) + name))
    assert len(os.listdir(tmp_path)) == 1
    with pytest.raises(OSError, match="too long"):
        check_place(tmp_path / ("a" * 256))


def test_what_is_read_is_not_written(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_text("a", "1")
    os.symlink("a", "b")
    for other in ("a", tmp_path / "a", "b", "./c/../a"):
        with pytest.raises(UserError, match="it would be replaced"):
            refuse_same("a", None, other)
    refuse_same("a", None, "c")
    refuse_same("/dev/null", "/dev/null")


def test_what_fails_leaves_the_older_file_and_nothing_else(tmp_path):
    write_text(tmp_path / "a", "old")
    with pytest.raises(RuntimeError), replacing(tmp_path / "a") as temporary:
        temporary.write_text("half")
        raise RuntimeError
    assert os.listdir(tmp_path) == ["a"] and (tmp_path / "a").read_text() == "old"


def test_bytes_of_a_path_that_are_not_utf8_survive_in_json(tmp_path):
    write_text(tmp_path / "a", json.dumps({"out": "caf\udce9 é"}, ensure_ascii=False))
    assert json.loads((tmp_path / "a").read_text()) == {"out": "caf\udce9 é"}


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="only Linux has such a device")
def test_a_full_device_is_one_clear_line():
    with pytest.raises(UserError, match="cannot write /dev/full: No space left on device"):
        generate_data.main(["--rows", "5", "--workers", "1", "--out", "/dev/full"])
