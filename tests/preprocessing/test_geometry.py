"""Random transforms that move pixels."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from skvision_tests import generator, some_images
from torch.nn.functional import pad
from torch.testing import assert_close
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional as tv

from skvision.preprocessing import (
    RandomHorizontalFlip,
    RandomResizedCrop,
    RandomRotation,
    RandomShift,
)
from skvision.preprocessing._base import random_boxes, uniform


def test_flip():
    images = some_images(200, 3, 4, 5)
    results = RandomHorizontalFlip(p=0.3)(images, generator())
    flipped = [
        torch.equal(result, image.flip(-1))
        for image, result in zip(images, results, strict=True)
    ]
    assert 35 < sum(flipped) < 85
    kept = ~torch.tensor(flipped)
    assert torch.equal(results[kept], images[kept])
    assert torch.equal(RandomHorizontalFlip(p=1.0)(images), images.flip(-1))
    assert torch.equal(RandomHorizontalFlip(p=0.0)(images), images)


@pytest.mark.parametrize("fill", [0.0, 0.5, "reflect"])
@pytest.mark.parametrize(
    "max_shift, dy, dx", [(2, 2, 2), ((1, 3), 1, 3), (0.2, 2, 1), ((0, 0.5), 0, 4)]
)
def test_shift_is_padding_and_cropping(max_shift, dy, dx, fill):
    height, width = 9, 7
    images = some_images(150, 2, height, width)
    results = RandomShift(max_shift=max_shift, fill=fill)(images, generator())
    places = set()
    for image, result in zip(images, results, strict=True):
        padded = (
            pad(image, (dx, dx, dy, dy), mode="reflect")
            if fill == "reflect"
            else pad(image, (dx, dx, dy, dy), value=fill)
        )
        (place,) = (
            (top, left)
            for top in range(2 * dy + 1)
            for left in range(2 * dx + 1)
            if torch.equal(padded[:, top : top + height, left : left + width], result)
        )
        places.add(place)
    assert {top for top, _ in places} == set(range(2 * dy + 1))
    assert {left for _, left in places} == set(range(2 * dx + 1))


def test_reflecting_more_than_the_image():
    with pytest.raises(ValueError, match=r"max_shift must be less .* 9 and 4; got 4"):
        RandomShift(fill="reflect")(some_images(1, 1, 9, 4))


@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 9, 6)])
@pytest.mark.parametrize("angle", [0.0, 13.0, 90.0, -135.0])
def test_rotation_by_a_fixed_angle(shape, angle):
    images = some_images(3, *shape)
    results = RandomRotation(degrees=(angle, angle))(images)
    for image, result in zip(images, results, strict=True):
        expected = tv.rotate(image, angle, interpolation=v2.InterpolationMode.BILINEAR)
        assert_close(result, expected, rtol=0, atol=1e-5)


def test_rotation_by_random_angles():
    images = some_images(5, 1, 8, 10)
    results = RandomRotation(degrees=45)(images, generator())
    angles = uniform(images, generator(), (5, 1, 1), -45, 45).flatten()
    for image, result, angle in zip(images, results, angles.tolist(), strict=True):
        expected = tv.rotate(image, angle, interpolation=v2.InterpolationMode.BILINEAR)
        assert_close(result, expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("fill", [0.5, "reflect"])
def test_rotation_fills_the_corners(fill):
    images = torch.full((1, 1, 9, 9), 0.5)
    assert_close(RandomRotation(degrees=(45, 45), fill=fill)(images), images)


@pytest.mark.parametrize(
    "size, shape",
    [(None, [12, 16]), (5, [5, 5]), ((20, 7), [20, 7]), ((1, 1), [1, 1])],
)
def test_resized_crop(size, shape):
    images = some_images(20, 3, 12, 16)
    crop = RandomResizedCrop(size=size)
    results = crop(images, generator())
    assert results.shape == (20, 3, *shape)
    boxes = torch.stack(
        random_boxes(images, crop.scale, crop.ratio, generator()), dim=1
    )
    for image, result, box in zip(images, results, boxes.int().tolist(), strict=True):
        assert_close(result, tv.resized_crop(image, *box, shape), rtol=0, atol=1e-5)


def test_resized_crop_of_everything_changes_nothing():
    images = some_images(3, 3, 8, 8, dtype=torch.float64)
    crop = RandomResizedCrop(scale=(1, 1), ratio=(1, 1))
    assert_close(crop(images), images)


@given(
    height=st.integers(1, 40),
    width=st.integers(1, 40),
    scale=st.tuples(st.floats(0.01, 1), st.floats(0.01, 1)).map(sorted),
    ratio=st.tuples(st.floats(0.1, 10), st.floats(0.1, 10)).map(sorted),
)
@settings(max_examples=50, deadline=None)
def test_boxes_lie_in_the_image(height, width, scale, ratio):
    images = torch.empty(50, 1, height, width)
    top, left, rows, columns = random_boxes(images, scale, ratio, generator())
    for start, length, size in ((top, rows, height), (left, columns, width)):
        assert (start >= 0).all()
        assert (length >= 1).all()
        assert (start + length <= size).all()
        assert torch.equal(start, start.round())
        assert torch.equal(length, length.round())


def test_boxes_are_drawn_as_in_torchvision():
    images = torch.empty(4000, 1, 40, 40)
    scale, ratio = (0.08, 1.0), (3 / 4, 4 / 3)
    ours = torch.stack(random_boxes(images, scale, ratio, generator()), dim=1)
    reference = v2.RandomResizedCrop(40, scale, ratio)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        drawn = [reference.make_params([images[0]]) for _ in range(4000)]
    names = ("top", "left", "height", "width")
    theirs = torch.tensor([[float(draw[name]) for name in names] for draw in drawn])
    assert_close(ours.mean(dim=0), theirs.mean(dim=0), rtol=0, atol=0.7)
    assert_close(ours.std(dim=0), theirs.std(dim=0), rtol=0, atol=0.5)
