"""Reads any picture as RGB. Importing this is cheap: what makes tiles of pictures for the model is in `tiles`."""

from __future__ import annotations

import io
import os
import threading
import warnings
from pathlib import Path
from typing import IO, NamedTuple

import numpy as np
from PIL import Image, ImageFile, ImageOps, UnidentifiedImageError

from self1e.files import address_of, expand_name, register_heif

ImageSource = str | os.PathLike[str] | bytes | IO[bytes] | Image.Image | np.ndarray

PICTURES = Path(__file__).parents[1] / "assets" / "pictures"
"""Photographs and a drawn scene that come with this package."""

MAX_PIXELS = 178_956_970
"""Larger pictures are refused: a small file can unpack to fill the memory. The same limit as Pillow's hard one."""

_EXIF_ORIENTATION = 0x0112
_LYING = (5, 6, 7, 8)
"""Orientations that change height for width."""


_filtering_warnings = threading.Lock()  # warnings have one set of filters for all threads


class ImageError(ValueError):
    """A picture that cannot be read. The message names it and says what to do."""


def load_image(source: ImageSource) -> Image.Image:
    """Read a picture as 8-bit RGB, upright, on a white background.

    EXIF orientation is applied, transparent parts become white, 16-bit and floating-point values are brought to 8 bits,
    and of an animation the first frame is taken. A given PIL picture is left as it is: where its EXIF turns it, the
    result fits `ImageOps.exif_transpose(picture)` and not the picture itself, and a warning says so.

    A scale that values do not make plain is told in a warning: 12 bits in 16, or floats of more than 1 in a file.

    Args:
        source: a path (in text `~` is the home folder), the bytes of a file, an open binary file, a PIL picture, or an
            array [H, W] or [H, W, 1|3|4] (grey, RGB, RGBA) of bool, uint8 0..255, uint16 0..65535 or float 0..1.

    Raises:
        ImageError: if there is no such file, it is no picture, broken, empty or too large, its values or the array do
            not fit.
    """
    if isinstance(source, np.ndarray):
        return _on_white(_from_array(source, "the array"))
    if isinstance(source, Image.Image):
        image = _to_rgb(source, "the picture")
        if (orientation := _orientation(source)) != 1:
            warnings.warn(
                f"the picture's EXIF says that it is turned (orientation {orientation}): it is read upright, as "
                f"{image.width}x{image.height} pixels, and so are masks of it. ImageOps.exif_transpose(picture) is the "
                "picture that they fit",
                stacklevel=2,
            )
        return image
    if isinstance(source, bytes | bytearray | memoryview):
        return _decode(io.BytesIO(source), "the byte string")
    if isinstance(source, str | os.PathLike):
        return _decode_path(Path(expand_name(source) if isinstance(source, str) else source))
    if hasattr(source, "read"):
        return _decode_stream(source)
    kind = type(source).__name__
    raise ImageError(f"{kind} is no picture: give a path, bytes, an open file, a PIL picture or a numpy array")


class Head(NamedTuple):
    """What the head of a picture's file says.

    Attributes:
        upright: (height, width) of the picture as `load_image` returns it.
        orientation: How its EXIF turns it: 1 (not at all) to 8.
    """

    upright: tuple[int, int]
    orientation: int

    @property
    def stored(self) -> tuple[int, int]:
        """(height, width) of the pixels as they are stored."""
        return self.upright[::-1] if self.orientation in _LYING else self.upright


def read_head(path: Path) -> Head:
    """Size and orientation of a picture, most of which stays unread.

    Raises:
        OSError: When there is no such file.
        ImageError: When it is no picture, or too large, as for `load_image`.
    """
    # A file, as for `load_image`: of a path, Pillow maps some TIFFs into memory, and turns those wrongly.
    with path.open("rb") as file, _opened(file, str(path)) as image:
        _check_size(*image.size, str(path))
        orientation = _orientation(image)
        if image.format == "TIFF" and orientation in _LYING:  # which Pillow turns by itself, some versions when loaded
            try:
                image.load()
            except Exception as error:
                raise _broken(str(path), error) from error
            return Head((image.height, image.width), orientation)
        return Head((image.width, image.height) if orientation in _LYING else (image.height, image.width), orientation)


def turned_upright(mask: np.ndarray, orientation: int) -> np.ndarray:
    """A mask, uint8[H, W], of a picture as it is stored, turned as `load_image` turns the picture.

    >>> turned_upright(np.array([[1, 0, 0], [0, 0, 0]], np.uint8), 6).tolist()
    [[0, 1], [0, 0], [0, 0]]
    """
    image = Image.fromarray(mask)
    image.getexif()[_EXIF_ORIENTATION] = orientation
    return np.array(ImageOps.exif_transpose(image))


def _decode_path(path: Path) -> Image.Image:
    try:
        if path.is_dir():
            raise ImageError(f"{path} is a folder: give one picture file")
        if path.exists() and not path.is_file():  # reading a pipe or a device may never end
            raise ImageError(f"{path} is no regular file: give a picture file")
        file = path.open("rb")
    except ImageError:
        raise
    except FileNotFoundError:
        if address := address_of(path):
            raise ImageError(f"{address} is an address: download the picture, and give its file") from None
        raise ImageError(f"there is no file {path}: check the path") from None
    except (OSError, ValueError) as error:
        raise ImageError(f"cannot open {str(path)!r} ({error}): check the path and its permissions") from error
    with file:
        return _decode(file, str(path))


def _decode_stream(stream: IO[bytes]) -> Image.Image:
    name = str(getattr(stream, "name", "the file object"))
    content = stream.read()  # whole, as Pillow has to seek and a stream may not be able to
    if not isinstance(content, bytes):
        raise ImageError(f"{name} was opened as text: open it as open(path, 'rb')")
    return _decode(io.BytesIO(content), name)


def _decode(file: IO[bytes], name: str) -> Image.Image:
    with _opened(file, name) as image:
        if image.format == "EPS":
            raise ImageError(f"{name} is PostScript, a program that would have to be run: convert it to PNG or JPEG")
        return _to_rgb(image, name)


def _opened(file: IO[bytes], name: str) -> Image.Image:
    """The picture in a file, of which Pillow has read the head."""
    if not file.read(1):
        raise ImageError(f"{name} is empty: give a picture file")
    file.seek(0)
    register_heif()
    try:
        with _filtering_warnings, warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # MAX_PIXELS is the limit here
            return Image.open(file)
    except Image.DecompressionBombError as error:
        raise ImageError(f"{name} has more than {MAX_PIXELS} pixels: scale it down first") from error
    except UnidentifiedImageError as error:
        file.seek(4)
        heif = "install self1e[heif] if it is HEIC, or " if file.read(4) == b"ftyp" else ""
        raise ImageError(f"{name} is no picture that Pillow can read: {heif}convert it to PNG or JPEG") from error
    except Exception as error:  # Pillow's decoders let all kinds of errors through for broken headers
        raise ImageError(f"{name} is a broken picture ({error}): save it again") from error


def _check_size(width: int, height: int, name: str) -> None:
    if width * height > MAX_PIXELS:
        raise ImageError(f"{name} has {width}x{height} pixels, more than {MAX_PIXELS}: scale it down first")


def _broken(name: str, error: Exception) -> ImageError:
    return ImageError(f"{name} is broken or cut short ({error}): save or download it again")


def _to_rgb(image: Image.Image, name: str) -> Image.Image:
    width, height = image.size
    if width * height == 0:
        raise ImageError(f"{name} is {width}x{height} pixels: give a picture that is not empty")
    _check_size(width, height, name)
    try:
        deep = _has_16_bits(image)
        image.load()
        image = _upright(image)
        if image.mode.startswith("I") or image.mode == "F":
            image = _from_array(np.asarray(image), name, of_pillow=True)
        elif deep:
            _refuse_low_bits(image, name)
        return _on_white(image)
    except ImageError:
        raise
    except Exception as error:  # as above: no list of what a broken file can raise would be complete
        raise _broken(name, error) from error


def _has_16_bits(image: Image.Image) -> bool:
    """Whether a file that is not decoded yet has 16 bits a channel, of which Pillow keeps the upper 8 of colours."""
    if not isinstance(image, ImageFile.ImageFile) or not image.tile or image.fp is None:
        return False
    if image.format == "JPEG2000":
        image.fp.seek(0)
        content = image.fp.read()
        start = content.find(b"\xff\x4f\xff\x51")  # of the code stream, whose first segment says it
        return content[start + 42] & 0x7F == 15
    if image.format == "PPM":  # args: mode and the value of white, if there are two
        return any(isinstance(args, tuple) and args[-1] == 65535 for *_, args in image.tile)
    return any(";16" in str(args) for *_, args in image.tile)


def _orientation(image: Image.Image) -> int:
    try:
        orientation = image.getexif().get(_EXIF_ORIENTATION, 1)
    except Exception:  # a broken EXIF block is left aside, as below
        return 1
    return orientation if orientation in range(1, 9) else 1


def _upright(image: Image.Image) -> Image.Image:
    try:
        return ImageOps.exif_transpose(image)
    except Exception:  # a broken EXIF block does not spoil the pixels
        return image


def _on_white(image: Image.Image) -> Image.Image:
    if not image.has_transparency_data:
        return image.convert("RGB")
    if image.mode in ("La", "RGBa"):  # premultiplied alpha, which has no direct way to RGBA for grey
        image = image.convert("LA" if image.mode == "La" else "RGBA")
    image = image.convert("RGBA")
    white = Image.new("RGBA", image.size, "white")
    return Image.alpha_composite(white, image).convert("RGB")


def _refuse_low_bits(image: Image.Image, name: str) -> None:
    """Raises ImageError for colours of 12 or 8 bits in 16, of which Pillow has kept the upper 8 bits: next to nothing.

    Black cannot be told from values up to 255 any more, nor 12 bits after a lossy compression from a little more.
    """
    highest = int(np.asarray(image.convert("RGB")).max())
    if highest < 20:
        raise ImageError(
            f"{name} has 16 bits a channel, and values up to {256 * highest + 255} at most, which is nearly black: "
            "scale them to 0..65535, or to 8 bits"
        )


def _from_array(array: np.ndarray, name: str, of_pillow: bool = False) -> Image.Image:
    """An array [H, W] or [H, W, 1|3|4] as a PIL picture of mode L, RGB or RGBA; `of_pillow`: see `_scales`."""
    shape = array.shape
    if array.ndim not in (2, 3) or (array.ndim == 3 and shape[2] not in (1, 3, 4)):
        hint = "; move the channels last: array.transpose(1, 2, 0)" if array.ndim == 3 and shape[0] in (1, 3, 4) else ""
        raise ImageError(f"{name} has shape {shape}, not [H, W] or [H, W, 1|3|4]{hint}")
    if array.size == 0:
        raise ImageError(f"{name} has shape {shape}: give a picture that is not empty")
    _check_size(shape[1], shape[0], name)
    if array.ndim == 3 and shape[2] == 1:
        array = array[:, :, 0]
    return Image.fromarray(_to_uint8(array, name, of_pillow))


_ACCEPTED_VALUES = "give bool, uint8 0..255, uint16 0..65535 or float 0..1"


def _scales(dtype: np.dtype, of_pillow: bool) -> dict[int, bool]:
    """Values that can stand for white, the lowest first: value -> whether that goes without saying.

    Args:
        dtype: Of the pixels.
        of_pillow: Whether they are from a PIL picture. In its modes, floats are 0..255, and 32-bit integers are often
            what Pillow reads 16-bit files as.
    """
    if dtype.kind == "f":
        return {1: True, 255: False} if of_pillow else {1: True}
    if dtype.newbyteorder("=") == np.uint16:
        return {255: False, 4095: False, 65535: True}
    return {255: True, 4095: False, 65535: True} if of_pillow else {255: True}


def _to_uint8(array: np.ndarray, name: str, of_pillow: bool) -> np.ndarray:
    kind = array.dtype.kind
    if kind not in "biuf":
        raise ImageError(f"{name} holds {array.dtype} values: {_ACCEPTED_VALUES}")
    if array.dtype == np.uint8:
        return np.ascontiguousarray(array)
    if kind == "b":
        return array.astype(np.uint8) * 255
    low, high = array.min(), array.max()
    slack = 0.1 if kind == "f" else 0  # resizing overshoots by a little: such values are clipped
    for white, plain in _scales(array.dtype, of_pillow).items():
        if -slack * white <= low and high <= (1 + slack) * white:  # NaN fails the comparison
            if not plain and high > 0:
                warnings.warn(
                    f"{name} holds {array.dtype} values from {low:g} to {high:g}, and is read as 0 (black) to {white} "
                    "(white): scale it yourself if that is not what they mean",
                    stacklevel=2,
                )
            return np.round(np.clip(array * (255 / white), 0, 255)).astype(np.uint8)
    raise ImageError(f"{name} holds {array.dtype} values from {low} to {high}: {_ACCEPTED_VALUES}")
