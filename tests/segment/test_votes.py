"""The mean over views is that of their logits, brought back to the picture."""

from __future__ import annotations

import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageOps

from self1e import Segmenter
from self1e.segment.requests import SEPARATE

PICTURE = Path(__file__).parents[2] / "examples" / "pictures" / "cat.jpg"
ASKED, MIRRORED = "the cat on the left", "the cat on the right"
IN_DOUBT = "the right tool"
CLOSE = {"rtol": 1e-5, "atol": 1e-5}


@pytest.fixture(scope="module")
def segmenter(tiny_model_folder: Path) -> Segmenter:
    return Segmenter.from_pretrained(tiny_model_folder, device="cpu", dtype="float32")


@pytest.fixture(scope="module")
def views(segmenter: Segmenter) -> list[np.ndarray]:
    """Logits of the four views, made by hand: 451 x 300 pixels of a map of 16 x 16 cells are moved by 14 and 9."""

    def logits(picture: Image.Image, prompt: str) -> np.ndarray:
        found = segmenter.segment(picture, prompt, logits=True).logits
        assert found is not None
        return found

    def moved(picture: Image.Image) -> Image.Image:
        rows, columns = [0] * 9 + list(range(300 - 9)), [0] * 14 + list(range(451 - 14))
        return Image.fromarray(np.asarray(picture)[rows][:, columns])

    def back(logits: np.ndarray) -> np.ndarray:
        rows, columns = [*range(9, 300), *[299] * 9], [*range(14, 451), *[450] * 14]
        return logits[:, rows][:, :, columns]

    picture = Image.open(PICTURE).convert("RGB")
    mirror = ImageOps.mirror(picture)
    return [
        logits(picture, ASKED),
        logits(mirror, MIRRORED)[..., ::-1],
        back(logits(moved(picture), ASKED)),
        back(logits(moved(mirror), MIRRORED))[..., ::-1],
    ]


@pytest.mark.parametrize("votes", [1, 2, 3, 4])
def test_the_mean_counts(segmenter: Segmenter, views: list[np.ndarray], votes: int) -> None:
    found = segmenter.segment(PICTURE, ASKED, votes=votes, logits=True)
    assert found.logits is not None and found.prompt == ASKED and found.text == "[SEG]."
    np.testing.assert_allclose(found.logits, np.mean(views[:votes], axis=0), **CLOSE)
    assert np.array_equal(found.mask, found.logits[0] > 0)
    assert votes == 1 or np.abs(found.logits - views[0]).max() > 1e-3


def test_mirrored_views_have_no_vote_where_words_do_not_follow(segmenter: Segmenter) -> None:
    encoded = segmenter.encode(PICTURE)
    both = segmenter.segment([(encoded, [ASKED, IN_DOUBT]), (PICTURE, IN_DOUBT), (PICTURE, [])], votes=2, logits=True)
    (_, doubtful), alone, nothing = both
    plain = segmenter.segment(encoded, [ASKED, IN_DOUBT], logits=True)[1]
    assert nothing == [] and plain.logits is not None
    np.testing.assert_allclose(doubtful.logits, plain.logits, **CLOSE)
    np.testing.assert_allclose(alone.logits, plain.logits, **CLOSE)


def test_a_picture_of_one_pixel_cannot_be_moved(segmenter: Segmenter) -> None:
    assert segmenter.segment(Image.new("RGB", (1, 40)), ASKED, votes=4).mask.shape == (40, 1)


@pytest.mark.parametrize("batch_size", [1, 2, None])
def test_several_pictures_share_passes_and_views_are_encoded_once(
    segmenter: Segmenter, batch_size: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    prompts = [ASKED, IN_DOUBT, "the cat"]
    pairs: list[Any] = [(PICTURE, prompts), (ImageOps.mirror(Image.open(PICTURE).convert("RGB")), "the cat")]
    (*expected,), last = [segmenter.segment(*pair, votes=4, logits=True) for pair in pairs]
    encoded, passes = [], []
    encode, mask_logits = segmenter.runner.encode, segmenter.runner.mask_logits
    monkeypatch.setattr(segmenter.runner, "encode", lambda picture: encoded.append(1) or encode(picture))
    monkeypatch.setattr(
        segmenter.runner, "mask_logits", lambda pictures, rows: passes.append(len(rows)) or mask_logits(pictures, rows)
    )
    (*found,), also = segmenter.segment(pairs, votes=4, logits=True, batch_size=batch_size)
    for one, other in zip([*found, also], [*expected, last], strict=True):
        assert one.prompt == other.prompt
        np.testing.assert_allclose(one.logits, other.logits, **CLOSE)
    assert len(encoded) == 2 * 4
    asked = 2 * 4 + 2 + 4  # nothing that is in doubt is asked of mirrored views
    assert sum(passes) == asked and len(passes) == -(-asked // (batch_size or SEPARATE))


def test_memory_grows_with_masks_not_with_votes(segmenter: Segmenter) -> None:
    """Logits of the picture's size, of which one takes 2 MiB here, are those of one prompt at a time."""
    picture = segmenter.encode(Image.open(PICTURE).convert("RGB").resize((1024, 512)))
    pixels = 1024 * 512

    def peak(prompts: int) -> int:
        tracemalloc.start()
        try:
            found = segmenter.segment(picture, [ASKED] * prompts, votes=4)
            return tracemalloc.get_traced_memory()[1] - sum(each.masks.nbytes for each in found)
        finally:
            tracemalloc.stop()

    few = peak(2)
    assert few > 4 * pixels  # or it would not see the logits
    assert peak(12) - few < 4 * pixels


def test_logits_are_kept_only_if_asked_for(segmenter: Segmenter) -> None:
    assert segmenter.segment(PICTURE, ASKED, votes=2).logits is None


@pytest.mark.parametrize("votes", [0, 5, 1.5, 2.0, "2"])
def test_so_many_views_there_are(segmenter: Segmenter, votes: object) -> None:
    with pytest.raises(ValueError, match="votes is 1 to 4, not"):
        segmenter.segment(PICTURE, ASKED, votes=votes)  # type: ignore[call-overload]
