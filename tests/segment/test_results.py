"""A result: its parts agree with each other, its forms with the tools that read them."""

from __future__ import annotations

import importlib.util
import io
import json
import sys
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as coco_mask
from scipy.ndimage import label

from self1e.segment.calibration import Calibration
from self1e.segment.results import Segmentation, default_min_area, mask_scores

HEIGHT, WIDTH = 60, 90


def picture() -> Image.Image:
    rng = np.random.default_rng(0)
    return Image.fromarray(rng.integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8))


def masks() -> np.ndarray:
    made = np.zeros((3, HEIGHT, WIDTH), bool)
    made[0, 10:40, 20:50] = True
    made[0, 20:25, 30:35] = False
    made[1, 35:60, 45:90] = True
    return made  # the third one is empty


def result(image: bool = True) -> Segmentation:
    return Segmentation(
        masks(),
        np.array([0.9, 0.75, 0.6]),
        "the boats",
        "[SEG], [SEG] and [SEG].",
        picture() if image else None,
        "nano",
    )


def same(one: Segmentation, other: Segmentation) -> bool:
    return (
        np.array_equal(one.masks, other.masks)
        and np.array_equal(one.scores, other.scores)
        and np.array_equal(one.withheld, other.withheld)
        and (one.prompt, one.text, one.model, one.min_area) == (other.prompt, other.text, other.model, other.min_area)
    )


# ------------------------------------------------------------------------------------------------------- parts


def test_properties() -> None:
    seg = result()
    assert seg.size == (WIDTH, HEIGHT)
    assert np.array_equal(seg.mask, masks().any(axis=0))
    assert seg.area == masks().any(axis=0).sum()
    assert seg.box == (20, 10, 90, 60)
    assert seg.found and seg.score == pytest.approx(0.825)
    assert (
        repr(seg)
        == f"Segmentation('the boats', found, 3 masks, 90x60, area={seg.area}, box=(20, 10, 90, 60), score=0.82)"
    )


def test_nothing_there() -> None:
    nothing = Segmentation(np.zeros((1, 4, 5), bool), [0.97], "a whale")
    assert (nothing.found, nothing.box, nothing.area) == (False, None, 0)
    assert nothing.score == pytest.approx(0.97)
    assert repr(nothing) == "Segmentation('a whale', not found, 1 mask, 5x4, score=0.97)"
    silent = Segmentation(np.zeros((0, 4, 5), bool), [], "what is this?", "A whale.")
    assert (silent.found, silent.box, silent.score, len(silent)) == (False, None, 0.0, 0)
    assert silent.to_coco_rle() == silent.to_polygons() == []
    assert same(Segmentation.from_dict(silent.to_dict()), silent)


def test_min_area_decides_what_is_found() -> None:
    assert default_min_area(448, 448) == default_min_area(3000, 4000) == 50
    assert default_min_area(1, 1) == 1
    speck = np.zeros((1, 500, 500), bool)
    speck[0, 0, :49] = True
    assert not Segmentation(speck, [0.6]).found
    assert Segmentation(speck, [0.6]).area == 49
    assert Segmentation(speck, [0.6], min_area=1).found
    assert not Segmentation(np.zeros_like(speck), [0.6], min_area=0).found
    speck[0, 0, 49] = True
    assert Segmentation(speck, [0.6]).found


def test_indexing() -> None:
    seg = result()
    assert np.array_equal(seg[1].masks, masks()[1:2]) and seg[1].scores.tolist() == [0.75]
    assert np.array_equal(seg[-1].masks, masks()[2:])
    assert len(seg[seg.scores > 0.7]) == len(seg[:2]) == len(seg[[0, 2]]) == 2
    assert [one.prompt for one in seg] == ["the boats"] * 3
    with pytest.raises(IndexError, match="no mask 3 among 3"):
        seg[3]
    with pytest.raises(TypeError, match="found"):
        bool(seg)


def test_arrays_are_read_only_and_the_callers_stay_writable() -> None:
    own = masks()
    seg = Segmentation(own, np.ones(3, np.float32))
    for array in (seg.masks, seg.scores, seg.mask):
        with pytest.raises(ValueError, match="read-only"):
            array[:] = 0
    own[:] = False
    with pytest.raises(AttributeError):
        seg.prompt = "other"  # type: ignore[misc]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"masks": np.zeros((4, 5), bool), "scores": [1]}, "bool"),
        ({"masks": np.zeros((2, 4, 5), bool), "scores": [1]}, "2 masks"),
        ({"masks": np.zeros((1, 4, 5), bool), "scores": [1.5]}, "0, 1"),
        ({"masks": np.zeros((1, 4, 5), bool), "scores": [float("nan")]}, "0, 1"),
        ({"masks": np.zeros((1, 4, 5), bool), "scores": [1], "image": Image.new("RGB", (4, 5))}, "5x4 pixels.*4x5"),
        ({"masks": np.zeros((1, 4, 5), bool), "scores": [1], "logits": np.zeros((1, 5, 4))}, "logits"),
    ],
)
def test_disagreeing_parts_are_refused(arguments: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Segmentation(**arguments)


def test_scores_from_logits() -> None:
    logits = np.full((3, 4, 5), -3.0)
    logits[0, 1, 1:3] = [1.0, 2.0]
    logits[1] = 30
    sigmoid = 1 / (1 + np.exp(-np.array([1.0, 2.0])))
    np.testing.assert_allclose(mask_scores(logits), [sigmoid.mean(), 1, 1 - 1 / (1 + np.exp(3))], rtol=1e-5)
    extreme = np.array([[[1000.0]], [[-1000.0]], [[0.0]]])
    np.testing.assert_allclose(mask_scores(extreme), [1, 1, 0.5])
    halved = Calibration(present=((0.0, 0.0), (1.0, 0.5)), absent=((0.0, 0.25),))
    seg = Segmentation.from_logits(logits, calibration=halved, keep_logits=True)
    np.testing.assert_allclose(seg.scores, [sigmoid.mean() / 2, 0.5, 0.25], rtol=1e-5)
    assert seg.logits is not None and np.array_equal(seg.logits > 0, seg.masks)
    assert seg[:1].logits is not None and Segmentation.from_logits(logits).logits is None
    with pytest.raises(ValueError, match="K, H, W"):
        Segmentation.from_logits(logits[0])


def test_masks_that_are_withheld() -> None:
    """They are empty at every threshold, and so is what is made of them; the logits are there still."""
    logits = np.full((2, 20, 30), -5.0)
    logits[0, 2:8, 2:8], logits[1, 12:18, 12:18] = 3.0, 0.2
    calibration = Calibration(present=((0.0, 0.0), (1.0, 0.8)), least=0.7, withheld=0.9)
    seg = Segmentation.from_logits(logits, prompt="the dog", calibration=calibration, keep_logits=True)
    assert seg.withheld.tolist() == [False, True] and seg.scores[1] == pytest.approx(0.9)
    assert [mask.area for mask in seg] == [36, 0] and [mask.found for mask in seg] == [True, False]
    assert seg.score == seg[0].score, "of what is there, not of what is not"
    assert seg[1].score == seg.scores[1]
    assert seg.logits is not None and np.count_nonzero(seg.logits[1] > 0) == 36
    for threshold in (0.01, 0.4, 0.6):
        assert not seg.at(threshold).masks[1].any() and seg.at(threshold).scores[1] == seg.scores[1]
        assert same(seg.at(0.9).at(threshold), seg.at(threshold))
    assert len(seg.instances()) == 1 and not seg.instances().withheld.any()
    data = json.loads(json.dumps(seg.to_dict()))
    assert [entry["withheld"] for entry in data["masks"]] == [False, True]
    read = Segmentation.from_dict(data)
    assert np.array_equal(read.masks, seg.masks) and np.array_equal(read.withheld, seg.withheld)
    for entry in data["masks"]:
        del entry["withheld"]  # as before there was any
    assert not Segmentation.from_dict(data).withheld.any()
    with pytest.raises(ValueError, match="2 masks need `withheld`"):
        Segmentation(seg.masks, seg.scores, withheld=[True])


# ---------------------------------------------------------------------------------------------------- pictures


def test_overlay_and_cutout() -> None:
    seg = result()
    assert seg.overlay().size == (WIDTH, HEIGHT)
    assert np.array_equal(np.array(seg.overlay(alpha=0, outline=False, dim=0)), np.array(picture()))
    cut = np.array(seg.cutout())
    assert cut.shape == (HEIGHT, WIDTH, 4)
    assert np.array_equal(cut[..., 3] == 255, seg.mask)
    assert np.array_equal(cut[seg.mask][:, :3], np.array(picture())[seg.mask])
    assert not cut[~seg.mask].any()
    assert seg[0].cutout(crop=True).size == (30, 30)
    assert seg[2].cutout(crop=True).size == (WIDTH, HEIGHT)
    grey = Segmentation(masks(), np.ones(3), image=picture().convert("L"))
    assert grey.overlay().mode == "RGB"
    png = seg._repr_png_()
    assert png is not None and Image.open(io.BytesIO(png)).size == (WIDTH, HEIGHT)


def test_pictures_need_the_picture() -> None:
    assert result(image=False)._repr_png_() is None
    for method in ("overlay", "cutout"):
        with pytest.raises(ValueError, match=rf"{method}\(\) needs the picture"):
            getattr(result(image=False), method)()


# --------------------------------------------------------------------------------------------------- instances


def test_instances_are_connected_parts() -> None:
    masks = np.random.default_rng(3).random((2, 40, 50)) < 0.5
    seg = Segmentation(masks, [0.9, 0.6], "the boats", min_area=7)
    numbered = [label(mask) for mask in masks]
    expected = [marks == number for marks, count in numbered for number in range(1, count + 1)]
    parts = seg.instances(min_area=1)
    assert sorted(each.tobytes() for each in parts.masks) == sorted(each.tobytes() for each in expected)
    assert sorted(parts.scores.tolist()) == pytest.approx(sorted([0.9] * numbered[0][1] + [0.6] * numbered[1][1]))
    assert [part.area for part in seg.instances()] == [part.area for part in parts if part.area >= 7] != []
    assert all(part.box == _box_of(part.mask) and part.found for part in seg.instances())


def _box_of(mask: np.ndarray) -> tuple[int, ...]:
    ys, xs = np.nonzero(mask)
    return (xs.min(), ys.min(), xs.max() + 1, ys.max() + 1)


def test_instances_of_nothing() -> None:
    assert len(Segmentation(np.zeros((1, 4, 5), bool), [0.97], "a whale").instances()) == 0
    assert len(Segmentation(np.zeros((0, 4, 5), bool), []).instances()) == 0


def test_instances_have_scores_of_their_own() -> None:
    logits = np.full((1, 20, 30), -5.0)
    logits[0, 2:8, 2:8], logits[0, 12:18, 12:18] = 3.0, 0.2
    calibration = Calibration(present=((0.0, 0.0), (1.0, 0.8)))
    seg = Segmentation.from_logits(logits, calibration=calibration, keep_logits=True)
    sure, unsure = seg.instances()
    assert sure.score == pytest.approx(0.8 / (1 + np.exp(-3.0)), rel=1e-5)
    assert unsure.score == pytest.approx(0.8 / (1 + np.exp(-0.2)), rel=1e-5)
    assert (sure.score + unsure.score) / 2 == pytest.approx(seg.score)  # of equal areas


# ------------------------------------------------------------------------------------------------ other formats


def test_coco_rle() -> None:
    rles = json.loads(json.dumps(result().to_coco_rle()))
    assert np.array_equal(coco_mask.decode(rles).transpose(2, 0, 1), masks())


def test_polygons() -> None:
    polygons = result().to_polygons()
    assert [len(of_mask) for of_mask in polygons] == [1, 1, 0]
    filled = coco_mask.decode(coco_mask.merge(coco_mask.frPyObjects(polygons[0], HEIGHT, WIDTH)))
    assert np.array_equal(filled, masks()[0])


@pytest.mark.parametrize("form", ["rle", "polygons"])
def test_coco_annotation_is_read_by_pycocotools(form: Literal["rle", "polygons"]) -> None:
    from pycocotools.coco import COCO

    annotations = [one.to_coco_annotation(7, 3, index + 1, form) for index, one in enumerate(result())]
    dataset = {
        "images": [{"id": 7, "height": HEIGHT, "width": WIDTH}],
        "categories": [{"id": 3, "name": "boat"}],
        "annotations": annotations,
    }
    coco = COCO()
    coco.dataset = json.loads(json.dumps(dataset))
    coco.createIndex()
    for mask, annotation in zip(masks(), coco.loadAnns([1, 2, 3]), strict=True):
        assert np.array_equal(coco.annToMask(annotation), mask)
        assert annotation["area"] == mask.sum()
        assert annotation["bbox"] == coco_mask.toBbox(coco.annToRLE(annotation)).tolist()
    with pytest.raises(ValueError, match=r"must be 'rle' or 'polygons', not 'polygon'"):
        result().to_coco_annotation(7, 3, 1, "polygon")  # type: ignore[arg-type]


@pytest.mark.filterwarnings("ignore:OpenCV")
@pytest.mark.skipif(not importlib.util.find_spec("supervision"), reason="supervision is not installed")
def test_supervision() -> None:
    detections = result().to_supervision()
    assert len(detections) == 2
    assert detections.xyxy.tolist() == [[20, 10, 50, 40], [45, 35, 90, 60]]
    assert np.array_equal(detections.mask, masks()[:2])
    assert detections.confidence.tolist() == pytest.approx([0.9, 0.75])
    assert list(detections.data["class_name"]) == ["the boats"] * 2
    assert len(result()[2].to_supervision()) == 0


def test_missing_supervision_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "supervision", None)
    with pytest.raises(ImportError, match="pip install supervision"):
        result().to_supervision()


def test_dict_round_trip() -> None:
    seg = result()
    data = json.loads(json.dumps(seg.to_dict()))
    assert same(Segmentation.from_dict(data), seg)
    assert Segmentation.from_dict(data, picture()).overlay().size == seg.size
    assert data["found"] is True and data["box"] == [20, 10, 90, 60] and data["masks"][2]["box"] is None
    assert json.dumps(data["masks"][0]["score"]) == "0.9"
    assert seg.to_dict(masks="polygons")["masks"][0]["polygons"] == seg.to_polygons()[0]
    assert set(seg.to_dict(masks="none")["masks"][0]) == {"score", "area", "box", "withheld"}


def test_bad_dicts_are_refused() -> None:
    with pytest.raises(ValueError, match="rle, polygons, none"):
        result().to_dict(masks="png")
    with pytest.raises(ValueError, match="format"):
        Segmentation.from_dict({**result().to_dict(), "format": 99})
    with pytest.raises(ValueError, match="rle"):
        Segmentation.from_dict(result().to_dict(masks="polygons"))
    with pytest.raises(ValueError, match="size"):
        Segmentation.from_dict({**result().to_dict(), "width": 5})


def test_save(tmp_path: Path) -> None:
    seg = Segmentation.from_logits(np.where(masks(), 2.0, -2.0), prompt="le bâteau", text="[SEG].", keep_logits=True)
    png = np.array(Image.open(seg.save(tmp_path / "mask.PNG")))
    assert np.array_equal(png, seg.mask * np.uint8(255))
    with np.load(seg.save(tmp_path / "all.npz")) as arrays:
        assert np.array_equal(arrays["masks"], seg.masks) and np.array_equal(arrays["scores"], seg.scores)
        assert np.array_equal(arrays["logits"], seg.logits) and str(arrays["prompt"]) == "le bâteau"
        assert np.array_equal(arrays["withheld"], seg.withheld)
    assert same(Segmentation.from_dict(json.loads(seg.save(str(tmp_path / "all.json")).read_text("utf-8"))), seg)
    assert len(list(tmp_path.iterdir())) == 3


def test_save_refuses(tmp_path: Path) -> None:
    seg = result()
    seg.save(tmp_path / "mask.png")
    with pytest.raises(FileExistsError, match="overwrite"):
        seg.save(tmp_path / "mask.png")
    seg.save(tmp_path / "mask.png", overwrite=True)
    for name in ("mask.tiff", "mask"):
        with pytest.raises(ValueError, match=r"\.png, \.npz, \.json"):
            seg.save(tmp_path / name)
    with pytest.raises(FileNotFoundError, match="no folder"):
        seg.save(tmp_path / "missing" / "mask.png")
