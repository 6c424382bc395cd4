"""Which files a command line means, and what outputs are called."""

from __future__ import annotations

import json
import os
import re
from importlib.util import find_spec
from pathlib import Path

import pytest
from command_line import Cli, assert_one_sentence, save_picture
from PIL import Image

from self1e.cli.inputs import LONGEST_PROMPT, check_prompts, distinct, find_pictures, name_pictures, output_stems, slug
from self1e.cli.lists import read_list
from self1e.cli.terminal import CliError
from self1e.processing.images import ImageError, load_image


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("b.png", "a.JPG", "deeper/c.png", "a.the-dog.overlay.png", "a.the-dog.mask.png"):
        save_picture(tmp_path / name)
    (tmp_path / "notes.txt").write_text("no picture")
    return tmp_path


def names(paths: list[Path]) -> list[str]:
    return [path.name for path in paths]


def test_folders_give_their_pictures_but_not_earlier_results(folder: Path) -> None:
    assert names(find_pictures([str(folder)], False)) == ["a.JPG", "b.png"]
    assert names(find_pictures([str(folder)], True)) == ["a.JPG", "b.png", "c.png"]


def test_patterns(folder: Path) -> None:
    assert names(find_pictures([f"{folder}/*.png"], False)) == ["b.png"]
    assert names(find_pictures([f"{folder}/**/*.png"], False)) == ["b.png", "c.png"]


def test_a_file_named_like_a_pattern_is_a_file(tmp_path: Path) -> None:
    path = save_picture(tmp_path / "a[1].png")
    assert find_pictures([str(path)], False) == [path]


def test_each_file_once_and_named_files_whatever_they_are(folder: Path) -> None:
    given = [str(folder / "notes.txt"), str(folder / "b.png"), str(folder / "deeper" / ".." / "b.png"), "missing.png"]
    assert names(find_pictures(given, False)) == ["notes.txt", "b.png", "missing.png"]


def test_nothing_to_do_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(CliError, match="has no pictures"):
        find_pictures([str(tmp_path / "empty")], False)
    with pytest.raises(CliError, match="no picture matches"):
        find_pictures([f"{tmp_path}/*.png"], False)


@pytest.mark.parametrize("address", ["https://x.org/a.png", "http://x.org/a.png?size=9", "s3://bucket/a.png"])
def test_addresses_are_no_paths(cli: Cli, address: str) -> None:
    """Not even where they have become one, and lost a slash."""
    assert_one_sentence(cli("segment", address, "-p", "the dog"), f"{address} is an address: download")
    assert_one_sentence(cli("chat", address), f"{address} is an address: download")
    with pytest.raises(ImageError, match=re.escape(f"{address} is an address")):
        load_image(Path(address))


def test_prompts() -> None:
    assert check_prompts([" a dog ", "a cat", "a dog"]) == ["a dog", "a cat"]
    with pytest.raises(CliError, match="empty"):
        check_prompts(["a dog", " \n"])
    with pytest.raises(CliError, match="100,000 characters"):
        check_prompts(["x" * 100_000])
    assert check_prompts(["x" * LONGEST_PROMPT])


def test_slugs_are_file_names() -> None:
    assert slug("../../etc/passwd") == "etc-passwd"
    assert slug("红色的船") == "红色的船"
    assert slug("word " * 100) == "-".join(["word"] * 12)


@pytest.mark.parametrize(
    ("given", "below", "expected"),
    [
        (["."], "", ["a.JPG", "b.png", "deeper/c.png"]),
        (["deeper"], "deeper", ["c.png"]),
        (["deeper/c.png"], "deeper", ["c.png"]),
        (["a.JPG", "b.png"], "", ["a.JPG", "b.png"]),
        (["**/*.png"], "", ["b.png", "deeper/c.png"]),
        (["deep*/*"], "", ["deeper/c.png"]),
        (["deeper", "b.png"], "", ["deeper/c.png", "b.png"]),
        (["deeper/../deeper/c.png"], "deeper", ["c.png"]),
    ],
)
def test_names_are_paths_below_the_folder_of_all(
    folder: Path, monkeypatch: pytest.MonkeyPatch, given: list[str], below: str, expected: list[str]
) -> None:
    monkeypatch.chdir(folder)
    for arguments in (given, [str(folder / each) for each in given]):
        found, pictures = name_pictures(arguments, ["a dog"], recursive=True)
        assert found == folder / below
        assert [picture.name for picture in pictures] == expected
        assert all((found / picture.name).samefile(picture.source) for picture in pictures)


def test_results_inside_of_the_pictures_folder_are_no_pictures(folder: Path) -> None:
    save_picture(folder / "out" / "images" / "b.png")
    for given in (str(folder), f"{folder}*"):
        _, pictures = name_pictures([given], ["a dog"], recursive=True, out=folder / "out")
        assert "out/images/b.png" not in [picture.name for picture in pictures] != []
    _, pictures = name_pictures([str(folder / "out")], ["a dog"], recursive=True, out=folder / "out")
    assert [picture.name for picture in pictures] == ["images/b.png"]


def test_outputs_never_share_a_name() -> None:
    pictures = ["a/cat.png", "a/cat.jpg", "b/cat.jpg", "b/Cat.jpg", "a/cat-2.png", "x" * 240 + ".png"]
    prompts = ["the dog", "The dog!", "the dog?"]
    stems, slugs = output_stems(pictures), distinct([slug(prompt) for prompt in prompts])
    every = [f"{stem}.{each}".lower() for stem in stems for each in slugs]
    assert len(set(every)) == len(pictures) * len(prompts)
    assert every[0] == "a/cat.the-dog"
    assert "b/cat.the-dog" in every
    assert max(map(len, every)) < 200


def test_names_fit_into_file_systems_in_any_script() -> None:
    """255 bytes are the most, of which a character takes up to four."""
    pictures = ["图" * 80 + ".png", "图" * 80 + "!.png", os.fsdecode(b"\xff" * 240 + b".png")]
    slugs = distinct([slug(prompt) for prompt in ("船" * 40, "船" * 40 + "?")])
    every = [f"{stem}.{each}" for stem in output_stems(pictures) for each in slugs]
    assert len(set(every)) == 6 and not any(name.startswith(".") for name in every)
    assert max(len(os.fsencode(f"{name}.overlay.png")) for name in every) < 255


def test_distinct_leaves_unique_names_alone() -> None:
    assert distinct(["a", "b"]) == ["a", "b"]
    assert distinct(["a", "A", "a", "a-2"]) == ["a", "A-3", "a-4", "a-2"]


def test_what_systems_leave_in_folders_is_no_picture(folder: Path) -> None:
    for name in ("._a.JPG", ".DS_Store", "Thumbs.db", "__MACOSX/deeper.png", ".thumbnails/b.png", "deeper/._c.png"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(b"\0\5\26\7\0")
    assert names(find_pictures([str(folder)], False)) == ["a.JPG", "b.png"]
    assert names(find_pictures([str(folder)], True)) == ["a.JPG", "b.png", "c.png"]


def test_patterns_pass_over_what_systems_leave(folder: Path) -> None:
    save_picture(folder / "@eaDir" / "b.png" / "SYNO_THUMB.png")
    save_picture(folder / "__MACOSX" / "c.png")
    assert names(find_pictures([f"{folder}/**/*.png"], False)) == ["b.png", "c.png"]
    assert names(find_pictures([f"{folder}/*"], True)) == ["a.JPG", "b.png", "c.png"]
    hidden = save_picture(folder / ".cache" / "d.png").parent  # which somebody named
    assert names(find_pictures([f"{hidden}/*.png"], False)) == ["d.png"]


@pytest.mark.parametrize("absolute", [False, True])
def test_pictures_outside_of_the_folder_of_their_list(tmp_path: Path, absolute: bool) -> None:
    """Nothing is called so that its results would be written outside of theirs."""
    inside, outside = save_picture(tmp_path / "lists" / "b.png"), save_picture(tmp_path / "photos" / "a.png")
    listed = outside if absolute else "../photos/a.png"
    (tmp_path / "lists" / "list.csv").write_text(f"image,prompt\n{listed},the dog\nb.png,the dog\n")
    folder, pictures = name_pictures([str(tmp_path / "lists" / "list.csv")], [], False)
    assert folder == tmp_path and [picture.name for picture in pictures] == ["photos/a.png", "lists/b.png"]
    (tmp_path / "lists" / "list.csv").write_text(f"image,prompt\n{listed},the dog\n")
    folder, pictures = name_pictures([str(tmp_path / "lists" / "list.csv")], [], False)
    assert folder == outside.parent and [picture.name for picture in pictures] == ["a.png"]
    (tmp_path / "lists" / "list.csv").write_text("image,prompt\n../lists/b.png,the dog\n")
    folder, pictures = name_pictures([str(tmp_path / "lists" / "list.csv")], [], False)
    assert folder == inside.parent and [picture.name for picture in pictures] == ["b.png"]


def test_lists_hold_paths_and_no_patterns(tmp_path: Path) -> None:
    folder = tmp_path / "scans [2024]"
    save_picture(folder / "a.png")
    (folder / "list.csv").write_text("image,prompt\na.png,the dog\nmissing.png,the dog\n")
    _, pictures = name_pictures([str(folder / "list.csv")], [], False)
    assert [picture.source for picture in pictures] == [folder / "a.png", folder / "missing.png"]


def test_lists_of_json(tmp_path: Path) -> None:
    lines = [
        {"image": "a.png", "prompts": "boat"},
        {"image": "b.png", "prompts": ["boat", {"prompt": "sail"}]},
        {"image": "c.png", "conversations": [{"question": "Where?", "answer": "Here [SEG]."}], "masks": [[]]},
        {"image": "a.png", "prompt": "sea", "masks": []},
    ]
    (tmp_path / "list.jsonl").write_text("\n".join(map(json.dumps, lines)))
    with pytest.warns(UserWarning, match=r"list\.jsonl: passed over 1 lines of conversations"):
        assert read_list(tmp_path / "list.jsonl") == {"a.png": ["boat", "sea"], "b.png": ["boat", "sail"]}
    for wrong in ({"image": "a.png"}, {"image": "a.png", "prompts": [1]}, {"image": "a.png", "prompt": None}, []):
        (tmp_path / "list.jsonl").write_text(json.dumps(wrong))
        with pytest.raises(CliError, match="line 1"):
            read_list(tmp_path / "list.jsonl")


def test_all_that_pillow_reads_is_a_picture_and_the_rest_is_named(folder: Path) -> None:
    for name, form in (
        ("d.jpe", "JPEG"),
        ("e.mpo", "MPO"),
        ("f.AVIF", "AVIF"),
        ("g.j2k", "JPEG2000"),
        ("h.pnm", "PPM"),
    ):
        Image.new("RGB", (4, 4)).save(folder / name, form)
    for name in ("i.psd", "j.nef", "k.NEF", "l.json"):
        (folder / name).touch()
    with pytest.warns(UserWarning, match=r"^passed over 2 \.nef, 1 \.psd, which cannot be read here \(convert them"):
        found = find_pictures([str(folder)], False)
    assert names(found) == ["a.JPG", "b.png", "d.jpe", "e.mpo", "f.AVIF", "g.j2k", "h.pnm"]
    assert all(load_image(path) for path in found)


def test_heic_is_read_with_the_extra(folder: Path) -> None:
    (folder / "d.heic").touch()
    if find_spec("pillow_heif") is None:
        with pytest.warns(
            UserWarning, match=r"1 \.heic, which cannot be read here \(\.heic: pip install 'self1e\[heif\]'"
        ):
            assert names(find_pictures([str(folder)], False)) == ["a.JPG", "b.png"]
        return
    load_image(folder / "b.png")  # Pillow knows the form as soon as pictures are read
    Image.new("RGB", (64, 48), (200, 30, 30)).save(folder / "d.heic")
    assert names(find_pictures([str(folder)], False)) == ["a.JPG", "b.png", "d.heic"]
    picture = load_image(folder / "d.heic")
    assert picture.size == (64, 48) and picture.getpixel((5, 5))[0] > 150
