from __future__ import annotations

import json
import stat
from pathlib import Path
from typing import Any

import pytest

from self1e.files import (
    expand_user,
    files_of_user,
    folder_when_complete,
    remove_leftovers,
    write_atomically,
    write_json,
    write_json_as_it_comes,
)


def test_appears_with_ordinary_permissions(tmp_path: Path) -> None:
    ordinary = tmp_path / "ordinary"
    ordinary.touch()
    with write_atomically(tmp_path / "a.bin") as file:
        file.write(b"abc")
        assert not (tmp_path / "a.bin").exists()
    assert (tmp_path / "a.bin").read_bytes() == b"abc"
    assert stat.S_IMODE((tmp_path / "a.bin").stat().st_mode) == stat.S_IMODE(ordinary.stat().st_mode)


def test_links_to_folders_are_followed_once(tmp_path: Path) -> None:
    for name in ("photos/a.jpg", "elsewhere/deep/b.jpg", "photos/.hidden/c.jpg", "photos/._a.jpg"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    photos = tmp_path / "photos"
    (photos / "more").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "elsewhere/deep/back").symlink_to(photos)
    (photos / "itself").symlink_to(photos)
    assert files_of_user(photos, "**/*.jpg") == [photos / "a.jpg", photos / "more/deep/b.jpg"]
    assert files_of_user(photos, "*.jpg") == [photos / "a.jpg"]
    assert files_of_user(tmp_path / "nowhere", "**/*") == []


def test_failure_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "a.bin"
    path.write_bytes(b"old")
    with pytest.raises(RuntimeError, match="half way"), write_atomically(path, overwrite=True) as file:
        file.write(b"new")
        raise RuntimeError("half way")
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_overwrites_only_when_told(tmp_path: Path) -> None:
    path = tmp_path / "a.bin"
    path.write_bytes(b"old")
    with pytest.raises(FileExistsError, match="overwrite"), write_atomically(path):
        pass
    with write_atomically(path, overwrite=True) as file:
        file.write(b"new")
    assert path.read_bytes() == b"new"


def test_a_file_that_appears_meanwhile_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "a.bin"
    with pytest.raises(FileExistsError), write_atomically(path) as file:
        file.write(b"mine")
        path.write_bytes(b"theirs")
    assert path.read_bytes() == b"theirs"
    assert list(tmp_path.iterdir()) == [path]


def test_bad_places_are_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no folder"), write_atomically(tmp_path / "no" / "a.bin"):
        pass
    with pytest.raises(IsADirectoryError, match="folder"), write_atomically(tmp_path, overwrite=True):
        pass


def test_denied_places_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def deny(self: Path, mode: str) -> None:
        raise PermissionError(13, "Permission denied")

    # Folders without write permission would not stop a test that runs as root.
    monkeypatch.setattr(Path, "open", deny)
    with (
        pytest.raises(PermissionError, match=r"cannot write .*a\.bin: Permission denied"),
        write_atomically(tmp_path / "a.bin"),
    ):
        pass


def test_json_holds_any_text(tmp_path: Path) -> None:
    tree = {"name": "\udcff 船 \n", "numbers": [1, None]}
    write_json(tmp_path / "a.json", tree)
    assert json.loads((tmp_path / "a.json").read_text(encoding="utf-8")) == tree
    assert "船" in (tmp_path / "a.json").read_text(encoding="utf-8")
    with pytest.raises(FileExistsError):
        write_json(tmp_path / "a.json", {})


def test_a_folder_appears_whole_and_readable(tmp_path: Path) -> None:
    with folder_when_complete(tmp_path / "new" / "model", replace=False) as folder:
        (folder / "weights").write_bytes(b"1")
        (folder / "weights").chmod(0o600)
        assert not (tmp_path / "new" / "model").exists()
    (tmp_path / "ordinary").touch()
    made = tmp_path / "new" / "model" / "weights"
    assert stat.S_IMODE(made.stat().st_mode) == stat.S_IMODE((tmp_path / "ordinary").stat().st_mode)
    with pytest.raises(RuntimeError), folder_when_complete(tmp_path / "new" / "model", replace=True):
        raise RuntimeError
    assert made.read_bytes() == b"1"
    with folder_when_complete(tmp_path / "new" / "model", replace=True):
        pass
    assert not made.exists()
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["model"]


def test_what_links_lead_to_keeps_its_permissions(tmp_path: Path) -> None:
    theirs = tmp_path / "theirs"
    theirs.touch()
    theirs.chmod(0o600)
    with folder_when_complete(tmp_path / "model", replace=False) as folder:
        (folder / "link").symlink_to(theirs)
    assert stat.S_IMODE(theirs.stat().st_mode) == 0o600


def test_a_folder_is_replaced_only_when_told(tmp_path: Path) -> None:
    mine = tmp_path / "model" / "notes"
    mine.parent.mkdir()
    with folder_when_complete(mine.parent, replace=False) as folder:  # an empty one holds nothing of anybody
        (folder / "notes").write_bytes(b"mine")
    with pytest.raises(FileExistsError, match="model exists"), folder_when_complete(mine.parent, replace=False):
        pytest.fail("minutes of work would begin")
    assert mine.read_bytes() == b"mine"
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def test_a_folder_that_appears_meanwhile_is_kept(tmp_path: Path) -> None:
    theirs = tmp_path / "model" / "notes"
    with pytest.raises(FileExistsError), folder_when_complete(theirs.parent, replace=False) as folder:
        (folder / "weights").touch()
        theirs.parent.mkdir()
        theirs.write_bytes(b"theirs")
    assert theirs.read_bytes() == b"theirs"
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def test_what_appears_in_the_last_moment_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After the last look: the system refuses to take away or to replace what is no longer empty."""
    theirs = tmp_path / "model" / "notes"
    for method in ("rmdir", "rename"):
        theirs.parent.mkdir(exist_ok=True)
        theirs.unlink(missing_ok=True)
        of_system = getattr(Path, method)

        def late(self: Path, *target: Path, of_system: Any = of_system) -> None:
            theirs.parent.mkdir(exist_ok=True)
            theirs.write_bytes(b"theirs")
            of_system(self, *target)

        with monkeypatch.context() as patched:
            patched.setattr(Path, method, late)
            with pytest.raises(OSError, match="not empty"), folder_when_complete(theirs.parent, replace=False):
                pass
        assert theirs.read_bytes() == b"theirs"
        assert [path.name for path in tmp_path.iterdir()] == ["model"]


@pytest.mark.parametrize("replace", [True, False])
def test_a_folder_replaces_no_file(tmp_path: Path, replace: bool) -> None:
    (tmp_path / "model").write_bytes(b"mine")
    with pytest.raises(FileExistsError), folder_when_complete(tmp_path / "model", replace=replace):
        pass
    assert (tmp_path / "model").read_bytes() == b"mine"
    assert len(list(tmp_path.iterdir())) == 1


def test_homes_of_nobody(tmp_path: Path) -> None:
    assert expand_user("~") == Path.home()
    assert expand_user("~nobody-of-this-name/x") == Path("~nobody-of-this-name/x")


def test_the_longest_name_works(tmp_path: Path) -> None:
    with write_atomically(tmp_path / ("x" * 255)) as file:
        file.write(b"abc")
    assert len(list(tmp_path.iterdir())) == 1


def test_leftovers_of_a_killed_process_are_removed_and_nothing_else(tmp_path: Path) -> None:
    leftover = tmp_path / ".0123456789abcdef.tmp"
    for path in (leftover, tmp_path / ".other.tmp", tmp_path / "a.png"):
        path.write_bytes(b"")
    with write_atomically(tmp_path / "b.png") as file:
        file.write(b"whole")
        remove_leftovers(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == [".other.tmp", "a.png", "b.png"]


def test_json_as_it_comes_is_the_same(tmp_path: Path) -> None:
    tree: dict[str, object] = {"a": 1, "none": [], "some": [{"b": "é\udcff"}, 2], "c": {"d": [3]}}
    write_json(tmp_path / "whole.json", tree)
    write_json_as_it_comes(tmp_path / "parts.json", {**tree, "none": iter([]), "some": iter(tree["some"])})  # type: ignore[call-overload]
    assert (tmp_path / "parts.json").read_bytes() == (tmp_path / "whole.json").read_bytes()
    assert json.loads((tmp_path / "parts.json").read_bytes()) == tree
