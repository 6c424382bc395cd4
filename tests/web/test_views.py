"""What is seen and downloaded, against the library's own writers and readers."""

from __future__ import annotations

import json
import tempfile

import numpy as np
import pytest
from pycocotools import mask as coco_mask
from showing import lakeside, pixels_of, source

from self1e.data.forms.labelme import Reader
from self1e.segment.overlay import PALETTE
from self1e.segment.results import Segmentation
from self1e.web import views
from self1e.web.state import Layer, PageError, Session, Source
from self1e.web.views import DOWNLOADS, thumbnail


@pytest.fixture
def found(session: Session) -> Session:
    """A page on which three things were asked for, the last of which is hidden."""
    session.open(lakeside(), thumbnail)
    session.segment("the red boat; the bus; the sky")
    session.toggle(2)
    return session


def expected(session: Session) -> list[Segmentation]:
    return [layer.result.at(session.threshold) for layer in session.layers[:2]]


def test_the_view_is_the_overlay(found):
    masks = np.stack([each.mask for each in expected(found)])
    drawn = Segmentation(masks, np.ones(2), image=found.picture.image).overlay(
        list(PALETTE[:2]), alpha=found.opacity, dim=views.DIMMED
    )
    assert np.array_equal(pixels_of(views.overlay(found)), np.asarray(drawn))
    view = pixels_of(views.masks(found)).astype(int)
    assert np.abs(view - np.asarray(drawn, int)).mean() < 3  # JPEG
    assert np.abs(view - pixels_of(views.original(found))).mean() > 10


def test_large_pictures_are_seen_smaller_and_downloaded_whole(session):
    session.open(source(3301, 40), thumbnail)
    session.segment("the sky")
    session.set(0.02, 1)
    assert pixels_of(views.masks(session)).shape == (14, 1101, 3)
    assert pixels_of(views.original(session)).shape == (14, 1101, 3)
    assert pixels_of(views.overlay(session)).shape == pixels_of(views.cutout(session))[..., :3].shape == (40, 3301, 3)


def test_cutout_and_mask_follow_the_threshold(found):
    found.set(0.9, 0.4)
    inside = np.any([each.mask for each in expected(found)], axis=0)
    assert np.array_equal(pixels_of(views.mask(found)) == 255, inside)
    assert np.array_equal(pixels_of(views.cutout(found))[..., 3] == 255, inside)
    assert inside.sum() < found.layers[0].result.area


def test_coco_holds_what_is_shown(found):
    tree = json.loads(views.coco(found))
    assert [each["name"] for each in tree["categories"]] == ["the red boat", "the bus"]
    assert tree["images"] == [{"id": 1, "file_name": "lakeside.png", "width": 448, "height": 448}]
    (annotation,) = tree["annotations"]  # what was not found has none
    assert np.array_equal(coco_mask.decode(annotation["segmentation"]) == 1, expected(found)[0].mask)


def test_labelme_reads_back(found, tmp_path):
    pytest.importorskip("supervision")
    (tmp_path / "lakeside.png").write_bytes(found.picture.source.content)
    (tmp_path / "lakeside.json").write_bytes(views.labelme(found))
    (marked,) = Reader(tmp_path)
    (thing,) = marked.things
    assert thing.label == "the red boat"
    assert np.array_equal(thing.pixels(), expected(found)[0].mask)


def test_downloads_leave_nothing_behind(found, tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    for *_, make in DOWNLOADS.values():
        assert make(found)
    assert list(tmp_path.iterdir()) == []


def test_names_of_downloads(session):
    session.open(Source(lakeside().content, "../a b<c>.png"), thumbnail)
    assert [views.file_name(session, name) for name in ("overlay", "coco")] == [
        "a_b_c_.overlay.png",
        "a_b_c_.coco.json",
    ]
    assert json.loads(views.labelme(session))["imagePath"] == "a b<c>.png"


def test_answers_have_a_colour_for_each_mask(found):
    list(found.ask("I would like to cross the lake. Explain."))
    (said,) = found.talk
    drawn = views.draw(found.picture.image, [Layer(one, number) for number, one in enumerate(said)], 0.5, found.opacity)
    assert np.abs(pixels_of(views.reply(found, 0)).astype(int) - np.asarray(drawn, int)).mean() < 3
    with pytest.raises(PageError):
        views.reply(found, 1)
