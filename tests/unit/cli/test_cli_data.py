"""The data folder: its lock, its key, its limits, and who may enter it."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

import pytest

from api.cli.errors import CannotRun
from api.cli.local import data_dir, log_files
from api.cli.local.data_dir import Data
from api.cli.local.run_as import bound_paths, can_enter, can_read
from api.cli.local.supervisor import Supervisor

NOBODY = (65_534, 65_534)


def test_it_is_made_once_and_only_its_owner_may_look_in(tmp_path: Path) -> None:
    folder = data_dir.prepare(tmp_path / "d")
    assert data_dir.prepare(tmp_path / "d") == folder
    assert stat.S_IMODE(folder.root.stat().st_mode) == 0o755
    for part in folder.own_folders:
        assert stat.S_IMODE(part.stat().st_mode) == 0o700


def test_a_folder_that_exists_keeps_its_mode(tmp_path: Path) -> None:
    (tmp_path / "d").mkdir(mode=0o700)
    folder = data_dir.prepare(tmp_path / "d")
    assert stat.S_IMODE(folder.root.stat().st_mode) == 0o700


def test_the_longest_path_leaves_room_for_the_socket() -> None:
    longest = Path("/" + "x" * 88)
    assert len(os.fsencode(Data(longest).run / ".s.PGSQL.5432")) == data_dir.SOCKET_PATH_BYTES_MAX
    with pytest.raises(CannotRun, match="90 bytes, at most 89"):
        data_dir.prepare(Path("/" + "x" * 89))


def test_the_length_counts_bytes_not_characters() -> None:
    with pytest.raises(CannotRun, match="too long"):
        data_dir.prepare(Path("/" + "ä" * 50))


def test_it_is_held_by_one_at_a_time(tmp_path: Path) -> None:
    folder = data_dir.prepare(tmp_path / "d")
    assert not data_dir.is_locked(folder)
    with data_dir.locked(folder):
        assert data_dir.is_locked(folder)
        with pytest.raises(CannotRun, match="another `unbroken up`"), data_dir.locked(folder):
            pass
    assert not data_dir.is_locked(folder)


def test_its_key_is_made_once_and_private(tmp_path: Path) -> None:
    folder = data_dir.prepare(tmp_path / "d")
    key = data_dir.secret_key(folder)
    assert data_dir.secret_key(folder) == key
    assert len(key) == 44
    assert stat.S_IMODE((folder.root / "secret.key").stat().st_mode) == 0o600


def test_a_planted_link_is_replaced_not_followed(tmp_path: Path) -> None:
    precious = tmp_path / "precious"
    precious.write_text("kept")
    for name in ("api.pid", ".api.pid.new"):
        (tmp_path / name).symlink_to(precious)
    data_dir.write_private(tmp_path / "api.pid", "1\n")
    assert precious.read_text() == "kept"
    assert (tmp_path / "api.pid").read_text() == "1\n"


def test_a_long_log_is_put_aside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log_files, "LOG_BYTES_MAX", 3)
    log = tmp_path / "api.log"
    log.write_text("1234")
    os.close(log_files.open_log(log))
    assert log.read_text() == ""
    assert (tmp_path / "api.log.1").read_text() == "1234"


def test_logs_are_bounded_in_size_and_number_while_their_roles_write(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(log_files, "LOG_BYTES_MAX", 3)
    log = tmp_path / "api.log"
    descriptor = log_files.open_log(log)  # as a role keeps it, from its start to its end
    for nth in range(7):
        os.write(descriptor, b"%d...\n" % nth)
        log_files.put_all_aside(tmp_path)
    os.write(descriptor, b"7")
    os.close(descriptor)
    found = {path.name: path.read_text() for path in tmp_path.iterdir()}
    aside = {"api.log.1": "6...\n", "api.log.2": "5...\n", "api.log.3": "4...\n"}
    assert found == {"api.log": "7"} | aside
    assert stat.S_IMODE((tmp_path / "api.log.1").stat().st_mode) == 0o600


def test_a_log_begins_anew_where_a_full_disk_has_no_room_for_its_copy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "no room")

    monkeypatch.setattr(log_files, "LOG_BYTES_MAX", 3)
    monkeypatch.setattr("shutil.copyfileobj", full)
    (tmp_path / "api.log").write_text("1234")
    log_files.put_all_aside(tmp_path)
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [("api.log", "")]


def test_the_logs_of_up_are_looked_at_while_it_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(log_files, "LOG_BYTES_MAX", 3)
    folder = data_dir.Data(tmp_path)
    folder.logs.mkdir()
    folder.log("api").write_text("1234")
    Supervisor(folder, {}).tend()
    assert folder.log("api").read_text() == ""


def test_the_end_of_a_log_leaves_out_empty_lines(tmp_path: Path) -> None:
    log = tmp_path / "api.log"
    log.write_text("one\n\ntwo\n\nthree\n\n")
    assert data_dir.log_tail(log, 2) == ["two", "three"]
    assert data_dir.log_tail(tmp_path / "none.log", 2) == []


def test_a_closed_folder_above_keeps_an_ordinary_user_out(tmp_path: Path) -> None:
    inner = tmp_path / "closed" / "inner"
    inner.mkdir(parents=True)
    (tmp_path / "closed").chmod(0o700)
    assert not can_enter(inner, NOBODY)
    assert can_enter(Path("/usr/bin"), NOBODY)


def test_a_file_of_mode_0700_is_for_its_owner(tmp_path: Path) -> None:
    program = tmp_path / "program"
    program.write_text("")
    tmp_path.chmod(0o755)
    program.chmod(0o700)
    owner = program.stat()
    assert can_read(program, (owner.st_uid, owner.st_gid))
    assert not can_read(program, NOBODY)
    program.chmod(0o755)
    assert can_read(program, NOBODY)


def test_a_wheel_that_only_root_may_read_is_copied_into_the_namespace(tmp_path: Path) -> None:
    folder, install = Data(tmp_path), tmp_path / "wheel" / "pg18"
    (install / "bin").mkdir(parents=True)
    (tmp_path / "wheel.libs").mkdir()
    (install / "bin" / "postgres").touch(0o755)
    for path in (install / "bin", install / "bin" / "postgres"):
        path.chmod(0o755)
    bound = bound_paths(folder, folder.postgres, install, NOBODY)
    assert (bound.binaries, bound.postgres) == (Path("/mnt/wheel/pg18/bin"), "/mnt/data")
    assert set(bound.binds) == {"data", "run", "wheel/pg18", "wheel.libs"}
    (install / "bin" / "postgres").chmod(0o700)
    copied = bound_paths(folder, folder.postgres, install, NOBODY)
    assert (set(copied.binds), set(copied.copies)) == (
        {"data", "run"},
        {"wheel/pg18", "wheel.libs"},
    )
