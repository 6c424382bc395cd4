import io
import os
from contextlib import nullcontext
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from self1e.processing import images
from self1e.processing.images import (
    ImageError,
    load_image,
    read_head,
    turned_upright,
)
from self1e.processing.tiles import IMAGENET_MEAN, IMAGENET_STD, tile_grid, to_tiles

RED, GREEN, BLUE, WHITE = (255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255)


def pixel(image: Image.Image, x: int = 0, y: int = 0) -> tuple:
    assert image.mode == "RGB"
    return image.getpixel((x, y))


# Reading


@pytest.mark.parametrize("kind", ["path", "string", "bytes", "file", "buffer", "picture", "array"])
def test_every_kind_of_source(kind, tmp_path):
    path = tmp_path / "picture.png"
    picture = Image.new("RGB", (3, 2), RED)
    picture.save(path)
    with path.open("rb") as file:
        source = {
            "path": path,
            "string": str(path),
            "bytes": path.read_bytes(),
            "file": file,
            "buffer": io.BytesIO(path.read_bytes()),
            "picture": picture,
            "array": np.asarray(picture),
        }[kind]
        image = load_image(source)
    assert image.size == (3, 2)
    assert pixel(image, 2, 1) == RED


@pytest.mark.parametrize(
    ("mode", "colour", "expected", "ending"),
    [
        ("1", 1, WHITE, "png"),
        ("L", 128, (128, 128, 128), "png"),
        ("LA", (128, 0), WHITE, "png"),
        ("LA", (128, 255), (128, 128, 128), "png"),
        ("RGBA", (255, 0, 0, 0), WHITE, "png"),
        ("RGBA", (255, 0, 0, 51), (255, 204, 204), "png"),
        ("RGBA", (255, 0, 0, 255), RED, "webp"),
        ("I;16", 65535, WHITE, "png"),
        ("I;16", 32896, (128, 128, 128), "png"),
        ("I;16", 4112, (16, 16, 16), "tiff"),
        ("I", 32896, (128, 128, 128), "tiff"),
        ("I", 128, (128, 128, 128), "tiff"),
        ("F", 0.5, (128, 128, 128), "tiff"),
        ("F", 1.02, WHITE, "tiff"),
        ("CMYK", (0, 255, 255, 0), RED, "tiff"),
        ("CMYK", (0, 0, 0, 0), WHITE, "jpg"),
        ("YCbCr", (255, 128, 128), WHITE, "jpg"),
    ],
)
@pytest.mark.filterwarnings("error")
def test_modes(mode, colour, expected, ending, tmp_path):
    path = tmp_path / f"picture.{ending}"
    Image.new(mode, (4, 4), colour).save(path, **({"lossless": True} if ending == "webp" else {}))
    assert pixel(load_image(path)) == expected
    assert pixel(load_image(Image.new(mode, (4, 4), colour))) == expected


@pytest.mark.parametrize(
    ("mode", "values", "white", "expected"),
    [
        ("F", [0.0, 128.0, 255.0], 255, [0, 128, 255]),
        ("I", [0, 255, 256], 4095, [0, 16, 16]),  # one more than 255 would be nearly black of 16 bits
        ("I", [0, 2048, 4095], 4095, [0, 128, 255]),
        ("I;16", [0, 128, 255], 255, [0, 128, 255]),
        ("I;16", [0, 2048, 4095], 4095, [0, 128, 255]),
    ],
)
def test_a_scale_that_is_not_plain_is_told(mode, values, white, expected, tmp_path):
    picture = Image.new(mode, (3, 1))
    picture.putdata(values)
    picture.save(tmp_path / "deep.tiff")
    arrays = [np.array([values], np.uint16)] if mode == "I;16" else []
    for source in (tmp_path / "deep.tiff", picture, *arrays):
        with pytest.warns(UserWarning, match=rf"and is read as 0 \(black\) to {white} \(white\)"):
            image = load_image(source)
        assert [pixel(image, x)[0] for x in range(3)] == expected


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("mode", ["I;16", "I", "F"])
def test_black_is_black_whatever_the_scale(mode):
    assert pixel(load_image(Image.new(mode, (3, 2)))) == (0, 0, 0)


@pytest.mark.parametrize(
    ("mode", "values", "told"),
    [
        ("F", [0.0, 4000.0], "from 0.0 to 4000.0"),
        ("F", [-50.0, 200.0], "from -50.0 to 200.0"),
        ("F", [0.0, np.nan], "from nan"),
        ("I", [0, 70_000], "from 0 to 70000"),
        ("I", [-1, 200], "from -1 to 200"),
    ],
)
def test_values_of_no_known_scale_are_refused(mode, values, told, tmp_path):
    picture = Image.new(mode, (2, 1))
    picture.putdata(values)
    picture.save(tmp_path / "deep.tiff")
    with pytest.raises(ImageError, match=rf"deep\.tiff holds .* values {told}"):
        load_image(tmp_path / "deep.tiff")


@pytest.mark.parametrize("channels", [3, 4])
@pytest.mark.parametrize("ending", ["png", "tiff", "ppm", "jp2"])
def test_colours_of_8_and_12_bits_in_16_are_refused(channels, ending, tmp_path):
    def written(pixels):
        assert cv2.imwrite(str(tmp_path / f"deep.{ending}"), pixels[..., : 3 if ending == "ppm" else 4])
        return tmp_path / f"deep.{ending}"

    def deep(highest):
        return written(np.full((64, 64, channels), highest, np.uint16))

    for highest in (1, 200, 255, 256, 4095):
        with pytest.raises(ImageError, match=rf"deep\.{ending} has 16 bits a channel, and values up to \d+ at most"):
            load_image(deep(highest))
        with Image.open(deep(highest)) as opened, pytest.raises(ImageError, match="the picture has 16 bits a channel"):
            load_image(opened)
    assert load_image(deep(5632)) and load_image(written(np.zeros((64, 64, channels), np.uint8)))


def test_numbers_as_text_of_16_bits_are_refused(tmp_path):
    for white, refused in ((65535, True), (255, False)):
        (tmp_path / "deep.ppm").write_text(f"P3 1 1 {white} 200 9 9")
        with pytest.raises(ImageError, match="16 bits a channel") if refused else nullcontext():
            assert pixel(load_image(tmp_path / "deep.ppm")) == (200, 9, 9)


def test_palette_with_and_without_transparency(tmp_path):
    picture = Image.new("P", (2, 1))
    picture.putpalette([*RED, *BLUE])
    picture.putdata([0, 1])
    picture.save(tmp_path / "opaque.png")
    picture.save(tmp_path / "transparent.png", transparency=1)
    assert pixel(load_image(tmp_path / "opaque.png"), 1) == BLUE
    assert pixel(load_image(tmp_path / "transparent.png"), 0) == RED
    assert pixel(load_image(tmp_path / "transparent.png"), 1) == WHITE


@pytest.mark.parametrize("mode", ["La", "RGBa", "HSV", "LAB", "PA", "RGBX"])
def test_modes_that_live_in_memory_only(mode):
    assert load_image(Image.new(mode, (3, 2))).size == (3, 2)


def test_animation_gives_its_first_frame(tmp_path):
    frames = [Image.new("RGB", (2, 2), colour) for colour in (RED, GREEN)]
    for name in ("moving.gif", "moving.png", "moving.webp"):
        frames[0].save(tmp_path / name, save_all=True, append_images=frames[1:], duration=100, lossless=True)
        assert pixel(load_image(tmp_path / name)) == RED


def test_exif_orientation_is_applied_and_the_source_left_alone(tmp_path):
    picture = Image.new("RGB", (4, 2), RED)
    picture.putpixel((0, 0), GREEN)
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned clockwise by a quarter
    picture.save(tmp_path / "turned.png", exif=exif)
    opened = Image.open(tmp_path / "turned.png")
    with pytest.warns(UserWarning, match=r"turned \(orientation 6\): it is read upright, as 2x4 pixels"):
        image = load_image(opened)
    assert opened.size == (4, 2)
    assert image.size == (2, 4)
    assert pixel(image, 1, 0) == GREEN


@pytest.mark.filterwarnings("error")  # files have no shape yet that could differ
@pytest.mark.parametrize("ending", ["jpg", "png", "tiff", "webp"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_masks_of_stored_pixels_are_turned_as_the_picture_is(orientation, ending, tmp_path):
    pixels = np.zeros((32, 48), np.uint8)
    pixels[:16, :16] = 255
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = tmp_path / f"turned.{ending}"
    Image.fromarray(pixels).save(path, exif=exif)
    upright = np.asarray(load_image(path).convert("L")) > 127
    head = read_head(path)
    assert (head.orientation, head.stored, head.upright) == (orientation, (32, 48), upright.shape)
    assert np.array_equal(turned_upright((pixels > 0).astype(np.uint8), orientation), upright)


def test_broken_exif_does_not_spoil_the_picture(tmp_path):
    Image.new("RGB", (4, 2), RED).save(tmp_path / "picture.jpg", exif=b"Exif\0\0garbage" * 3)
    assert load_image(tmp_path / "picture.jpg").size == (4, 2)
    assert read_head(tmp_path / "picture.jpg").orientation == 1
    exif = Image.Exif()
    exif[0x0112] = 9  # there is no such orientation
    Image.new("RGB", (4, 2), RED).save(tmp_path / "picture.jpg", exif=exif)
    assert load_image(tmp_path / "picture.jpg").size == (4, 2) and read_head(tmp_path / "picture.jpg").orientation == 1


@pytest.mark.parametrize(
    ("array", "expected"),
    [
        (np.full((2, 3), 128, np.uint8), (128, 128, 128)),
        (np.full((2, 3, 1), 128, np.uint8), (128, 128, 128)),
        (np.full((2, 3, 3), RED, np.uint8), RED),
        (np.full((2, 3, 4), (255, 0, 0, 51), np.uint8), (255, 204, 204)),
        (np.full((2, 3, 3), (1.0, 0.0, 0.0)), RED),
        (np.full((2, 3), 1.0000001, np.float32), WHITE),
        (np.full((2, 3), 0.5, np.float16), (128, 128, 128)),
        (np.full((2, 3), 65535, np.uint16), WHITE),
        (np.full((2, 3), 32896, ">u2"), (128, 128, 128)),
        (np.full((2, 3), True), WHITE),
        (np.full((2, 3, 3), RED, np.int64), RED),
        (np.full((2, 6, 3), RED, np.uint8)[:, ::-2], RED),
    ],
)
def test_arrays(array, expected):
    image = load_image(array)
    assert image.size == (3, 2)
    assert pixel(image) == expected


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.zeros((3, 8, 8), np.uint8), "shape .3, 8, 8.*transpose"),
        (np.zeros((8,), np.uint8), r"shape \(8,\)"),
        (np.zeros((1, 8, 8, 3), np.uint8), r"shape \(1, 8, 8, 3\)"),
        (np.zeros((8, 8, 2), np.uint8), r"shape \(8, 8, 2\)"),
        (np.zeros((0, 8, 3), np.uint8), "not empty"),
        (np.full((8, 8), 255.0), "float64 values from 255.0 to 255.0: .*float 0..1"),
        (np.full((8, 8), np.nan), "from nan to nan"),
        (np.full((8, 8), -1), "int64 values from -1 to -1"),
        (np.full((8, 8), 1j), "complex128"),
        (np.full((8, 8), "x"), "holds <U1"),
        (np.full((8, 8), None), "holds object"),
    ],
)
def test_arrays_that_are_no_picture(array, message):
    with pytest.raises(ImageError, match=message):
        load_image(array)


def test_bad_files(tmp_path):
    good = io.BytesIO()
    Image.effect_noise((64, 64), 50).save(good, "png")
    contents = {
        "empty.png": b"",
        "text.png": b"hello",
        "short.png": good.getvalue()[:2000],
        "shorter.png": good.getvalue()[:20],
        "flipped.png": good.getvalue()[:500] + bytes(500) + good.getvalue()[1000:],
    }
    messages = {
        "empty.png": "is empty",
        "text.png": "no picture that Pillow can read",
        "short.png": "broken or cut short",
        "shorter.png": "broken|no picture",
        "flipped.png": "broken or cut short",
    }
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(ImageError, match=f"{name} .*({messages[name]})"):
            load_image(tmp_path / name)
        with pytest.raises(ImageError, match=f"the byte string .*({messages[name]})"):
            load_image(content)


def test_postscript_is_not_run():
    buffer = io.BytesIO()
    Image.new("RGB", (4, 4)).save(buffer, "eps")
    with pytest.raises(ImageError, match="is PostScript"):
        load_image(buffer.getvalue())


def test_bad_paths(tmp_path):
    with pytest.raises(ImageError, match=r"there is no file .*nowhere\.png: check the path"):
        load_image(tmp_path / "nowhere.png")
    with pytest.raises(ImageError, match="is a folder"):
        load_image(tmp_path)
    with pytest.raises(ImageError, match="cannot open"):
        load_image("x" * 5000)
    with pytest.raises(ImageError, match="cannot open"):
        load_image("a\0b")
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(ImageError, match="no regular file"):
        load_image(tmp_path / "pipe")


def test_bad_sources(tmp_path):
    with pytest.raises(ImageError, match="Tensor is no picture"):
        load_image(torch.zeros(3, 8, 8))
    with pytest.raises(ImageError, match="NoneType is no picture"):
        load_image(None)
    (tmp_path / "a.txt").write_text("hello")
    with (tmp_path / "a.txt").open() as file, pytest.raises(ImageError, match="opened as text"):
        load_image(file)
    closed = Image.open(io.BytesIO(png(2, 2)))
    closed.close()
    with pytest.raises(ImageError, match="the picture is broken"):
        load_image(closed)
    with pytest.raises(ImageError, match="0x5 pixels"):
        load_image(Image.new("RGB", (0, 5)))


def png(width: int, height: int) -> bytes:
    buffer = io.BytesIO()
    Image.new("1", (width, height)).save(buffer, "png")
    return buffer.getvalue()


def test_bombs_are_refused_before_they_are_unpacked():
    bomb = png(20_000, 20_000)
    assert len(bomb) < 100_000
    with pytest.raises(ImageError, match=f"more than {images.MAX_PIXELS} pixels"):
        load_image(bomb)


@pytest.mark.filterwarnings("error")
def test_the_limit_is_the_module_s(monkeypatch):
    monkeypatch.setattr(images, "MAX_PIXELS", 99)
    assert load_image(png(9, 11)).size == (9, 11)
    for source in (png(10, 10), Image.new("L", (10, 10)), np.zeros((10, 10), np.uint8)):
        with pytest.raises(ImageError, match="10x10 pixels, more than 99"):
            load_image(source)


def test_heads_are_refused_as_pictures_are(tmp_path, monkeypatch):
    path = tmp_path / "a.png"
    path.write_bytes(png(20_000, 20_000))
    with pytest.raises(ImageError, match=r"a\.png has more than \d+ pixels"):
        read_head(path)
    path.write_bytes(b"no picture")
    with pytest.raises(ImageError, match=r"a\.png is no picture"):
        read_head(path)
    path.write_bytes(png(10, 10))
    monkeypatch.setattr(images, "MAX_PIXELS", 99)
    with pytest.raises(ImageError, match="10x10 pixels, more than 99"):
        read_head(path)
    with pytest.raises(FileNotFoundError):
        read_head(tmp_path / "b.png")


# Tiling


def test_grids_and_pixels_equal_the_reference(reference, real_data):
    assert len(reference["pictures"]) == 30
    for picture in reference["pictures"]:
        image = load_image(real_data / picture["file"])
        assert list(image.size) == picture["size"]
        tiles, grid = to_tiles(image, picture["max_tiles"], 448)
        assert list(grid) == picture["grid_cols_rows"]
        assert tiles.shape == (picture["tiles"], 3, 448, 448)
        np.testing.assert_allclose(tiles.flatten()[picture["flat_index"]], picture["values"], rtol=0, atol=6e-6)
        np.testing.assert_allclose(tiles.mean((0, 2, 3)), picture["mean"], rtol=0, atol=2e-6)


SIDES = st.integers(1, 5000)


@given(width=SIDES, height=SIDES, max_tiles=st.integers(1, 40))
def test_no_other_grid_is_closer_in_aspect_ratio(width, height, max_tiles):
    columns, rows = tile_grid(width, height, max_tiles, 448)
    assert 1 <= columns * rows <= max_tiles
    for other_cols in range(1, max_tiles + 1):
        for other_rows in range(1, max_tiles // other_cols + 1):
            assert abs(width / height - columns / rows) <= abs(width / height - other_cols / other_rows)


@given(width=SIDES, height=SIDES)
def test_one_tile_at_most_is_one_tile(width, height):
    assert tile_grid(width, height, 1, 448) == (1, 1)


@pytest.mark.parametrize(
    ("size", "grid"),
    [
        ((100, 100), (1, 1)),
        ((633, 633), (1, 1)),  # just less than half of 2x2 tiles
        ((634, 634), (2, 2)),
        ((2000, 2000), (3, 3)),
        ((10_000, 10), (12, 1)),
        ((10, 10_000), (1, 12)),
        ((800, 400), (2, 1)),
        ((1800, 900), (4, 2)),
    ],
)
def test_grids_of_known_sizes(size, grid):
    assert tile_grid(*size, 12, 448) == grid


@pytest.mark.parametrize("arguments", [(0, 5, 1, 448), (5, 5, 0, 448), (5, 5, 1, 0), (5, 5, 10**9, 448)])
def test_impossible_grids_are_refused(arguments):
    with pytest.raises(ValueError, match="at least 1"):
        tile_grid(*arguments)


def test_tiles_are_row_major_and_normalised():
    colours = [RED, GREEN, BLUE, WHITE, RED, BLUE]
    image = Image.new("RGB", (3, 2))
    image.putdata(colours)
    tiles, grid = to_tiles(image.resize((96, 64), Image.Resampling.NEAREST), 6, 32)
    assert grid == (3, 2)
    assert tiles.shape == (6, 3, 32, 32)
    assert tiles.dtype == np.float32
    mean, std = np.array(IMAGENET_MEAN), np.array(IMAGENET_STD)
    for tile, colour in zip(tiles, colours, strict=True):
        assert np.allclose(tile[:, 16, 16] * std + mean, np.array(colour) / 255, atol=1e-6)


@pytest.mark.parametrize("size", [(10_000, 10), (1, 1), (1, 3000)])
def test_extreme_pictures(size):
    tiles, (columns, rows) = to_tiles(Image.new("RGB", size, WHITE), 12, 28)
    assert tiles.shape == (columns * rows, 3, 28, 28)
    assert np.isfinite(tiles).all()


def test_only_rgb_is_tiled():
    with pytest.raises(ValueError, match="not from mode 'L': read it with load_image"):
        to_tiles(Image.new("L", (4, 4)), 1, 28)


def test_no_path_is_left_open(tmp_path):
    path = Path(tmp_path / "a.png")
    path.write_bytes(png(2, 2))
    image = load_image(path)
    path.unlink()
    assert pixel(image) == (0, 0, 0)
