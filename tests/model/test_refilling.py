"""The refilling head against the paper's equations, worked out pixel by pixel on grids that are not square."""

import math

import pytest
import torch
from builders import batch_of, conversation, pixels, tiny_model
from transformers import InternVLModel

from self1e.model.refilling import pixel_unshuffle, stitch, upsample_x2

GRIDS = [(1, 1), (2, 1), (1, 3), (3, 2)]  # columns, rows


def mlp(module, vector):
    hidden = module.linear_1.weight @ vector + module.linear_1.bias
    hidden = torch.stack([h * 0.5 * (1 + math.erf(h / math.sqrt(2))) for h in hidden])
    return module.linear_2.weight @ hidden + module.linear_2.bias


def amplified_map(module, tiles, columns, rows):
    """{(y, x): vector} over the whole picture; a token gives 2 x 2 pixels, one for each chunk of its amplification."""
    side = math.isqrt(tiles.shape[1])
    result = {}
    for y in range(2 * side * rows):
        for x in range(2 * side * columns):
            tile = (y // (2 * side)) * columns + x // (2 * side)
            inside_y, inside_x = y % (2 * side), x % (2 * side)
            token = tiles[tile, (inside_y // 2) * side + inside_x // 2]
            chunk = 2 * (inside_y % 2) + inside_x % 2
            result[y, x] = mlp(module, token).chunk(4)[chunk]
    return result


def bilinear_at(values, height, width, y, x):
    """Value at a fractional position; beyond the border, that of the border."""
    y, x = min(max(y, 0), height - 1), min(max(x, 0), width - 1)
    top, left = math.floor(y), math.floor(x)
    bottom, right = min(top + 1, height - 1), min(left + 1, width - 1)
    down, along = y - top, x - left
    upper = (1 - along) * values[top, left] + along * values[top, right]
    lower = (1 - along) * values[bottom, left] + along * values[bottom, right]
    return (1 - down) * upper + down * lower


def reference_mask_logits(head, f_img, f_v1, f_v1_hq, f_seg, columns, rows):
    """Final and low-resolution logits of one `[SEG]`: equations 1 to 5 of the method."""
    width = f_seg.shape[0]
    side = math.isqrt(f_img.shape[1])
    height_1, width_1 = 2 * side * rows, 2 * side * columns
    llm = amplified_map(head.amplify_llm, f_img, columns, rows)
    vit = amplified_map(head.amplify_vit, f_v1, columns, rows)
    vit_hq = amplified_map(head.amplify_vit, f_v1_hq, columns, rows)
    residual = {pixel: llm[pixel] - vit[pixel] for pixel in llm}
    s = mlp(head.fuse, sum(mlp(head.amplify_llm, f_seg).chunk(4)) / 4)
    low = torch.zeros(height_1, width_1)
    for (y, x), vector in llm.items():
        low[y, x] = vector @ s / math.sqrt(width)
    final = torch.zeros(2 * height_1, 2 * width_1)
    for (y, x), vector in vit_hq.items():
        upsampled = bilinear_at(residual, height_1, width_1, (y + 0.5) / 2 - 0.5, (x + 0.5) / 2 - 0.5)
        final[y, x] = mlp(head.fuse, vector + upsampled) @ s / math.sqrt(width)
    return final, low


@pytest.mark.parametrize("grid", GRIDS[:3])
@torch.no_grad()
def test_mask_logits_against_the_equations(grid):
    columns, rows = grid
    model = tiny_model()
    batch = batch_of([conversation(columns * rows, 2)], pixels(columns * rows), grids=[grid])
    output = model(batch)
    states, ids = output.last_hidden_state[0], batch.input_ids[0]
    f_img = states[ids == model.config.image_token_id].unflatten(0, (columns * rows, -1))
    features = output.image_features
    for index, position in enumerate((ids == model.config.seg_token_id).nonzero().flatten().tolist()):
        f_seg = states[position - 1]
        final, low = reference_mask_logits(
            model.refilling_head, f_img, features.compressed, features.uncompressed, f_seg, columns, rows
        )
        torch.testing.assert_close(output.mask_logits[0][index], final, rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(output.low_resolution_mask_logits[0][index], low, rtol=1e-4, atol=1e-4)


@torch.no_grad()
def test_features_against_their_definition():
    """F_V1 is the projector on 2 x 2 patches side by side, F_V1^HQ on each patch four times over."""
    model = tiny_model()
    projector = model.model.multi_modal_projector
    patches = model.model.vision_tower(pixels(1)).last_hidden_state[0, 1:]
    features = model.encode_images(pixels(1))
    for token in range(4):
        y, x = 2 * (token // 2), 2 * (token % 2)
        square = [patches[4 * (y + down) + x + right] for down in (0, 1) for right in (0, 1)]
        torch.testing.assert_close(features.compressed[0, token], projector(torch.cat(square)))
    for patch in range(16):
        torch.testing.assert_close(features.uncompressed[0, patch], projector(torch.cat([patches[patch]] * 4)))


@pytest.mark.parametrize("grid", GRIDS)
@torch.no_grad()
def test_size_of_each_rung(grid):
    columns, rows = grid
    for refilling, side in {"baseline": 2, "uncompressed": 4, "rfr": 4, "rfa": 8}.items():
        model = tiny_model(refilling=refilling)
        output = model(batch_of([conversation(columns * rows, 1)], pixels(columns * rows), grids=[grid]))
        assert output.mask_logits[0].shape == (1, side * rows, side * columns)
        low_side = 4 if refilling == "rfa" else 2
        assert output.low_resolution_mask_logits[0].shape == (1, low_side * rows, low_side * columns)


@torch.no_grad()
def test_lower_rungs_against_the_equations():
    """On one tile of 2 x 2 tokens: `rfr` adds the upsampled residual, the others leave it or everything else out."""
    for refilling in ("baseline", "uncompressed", "rfr"):
        model = tiny_model(refilling=refilling)
        head = model.refilling_head
        batch = batch_of([conversation(1, 1)], pixels(1))
        output = model(batch)
        states, ids = output.last_hidden_state[0], batch.input_ids[0]
        f_img = states[ids == model.config.image_token_id]
        s = mlp(head.fuse, states[(ids == model.config.seg_token_id).nonzero().item() - 1])
        features = output.image_features
        side = 2 if refilling == "baseline" else 4
        for y in range(side):
            for x in range(side):
                vector = f_img[2 * y + x] if refilling == "baseline" else features.uncompressed[0, 4 * y + x]
                if refilling == "rfr":
                    difference = f_img - features.compressed[0]
                    residual = {(i, j): difference[2 * i + j] for i in range(2) for j in range(2)}
                    vector = vector + bilinear_at(residual, 2, 2, (y + 0.5) / 2 - 0.5, (x + 0.5) / 2 - 0.5)
                expected = mlp(head.fuse, vector) @ s / math.sqrt(len(s))
                torch.testing.assert_close(output.mask_logits[0][0, y, x], expected, rtol=1e-4, atol=1e-4)


def test_pixel_unshuffle_undoes_the_pixel_shuffle_of_internvl():
    picture = torch.randn(3, 6, 6, 5)
    shuffled = InternVLModel.pixel_shuffle(None, picture, 0.5)
    assert torch.equal(pixel_unshuffle(shuffled), picture)


def test_pixel_unshuffle_of_a_wide_map():
    features = torch.randn(2, 3, 4 * 5)
    result = pixel_unshuffle(features)
    assert result.shape == (4, 6, 5)
    for y in range(4):
        for x in range(6):
            chunk = 2 * (y % 2) + x % 2
            assert torch.equal(result[y, x], features[y // 2, x // 2, 5 * chunk : 5 * chunk + 5])


def test_stitch_puts_tiles_row_by_row():
    tiles = torch.arange(6).float().view(6, 1, 1, 1).expand(6, 2, 2, 1)
    picture = stitch(tiles, columns=3, rows=2)[..., 0]
    assert picture.shape == (4, 6)
    assert picture[::2, ::2].tolist() == [[0, 1, 2], [3, 4, 5]]


def test_upsampling_keeps_a_plane():
    ramp = torch.arange(5.0).view(1, 1, 5, 1).expand(1, 3, 5, 1)
    assert upsample_x2(ramp)[0, 0, 1:-1, 0].tolist() == [0.25 + 0.5 * step for step in range(8)]
