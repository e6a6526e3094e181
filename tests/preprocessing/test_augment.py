"""Transforms of training images, compared with what one image at a time gives."""

import pickle

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_array_equal
from sklearn.base import clone
from skvision_tests import generator, some_images
from torch.testing import assert_close
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional as tv

from skvision.preprocessing import (
    ColorJitter,
    GaussianNoise,
    RandomErasing,
    RandomHorizontalFlip,
    RandomResizedCrop,
    RandomRotation,
    RandomShift,
    UniformNoise,
    apply_transforms,
)
from skvision.preprocessing._augment import check_transforms

ALL = [
    RandomHorizontalFlip(),
    RandomShift(max_shift=2),
    RandomShift(max_shift=(0, 0.25), fill="reflect"),
    RandomRotation(degrees=30),
    RandomRotation(degrees=30, fill="reflect"),
    RandomResizedCrop(),
    UniformNoise(),
    GaussianNoise(),
    ColorJitter(brightness=0.4, contrast=0.4, saturation=0.4),
    RandomErasing(p=0.9),
    RandomErasing(p=0.9, value="random"),
]
every_transform = pytest.mark.parametrize("transform", ALL, ids=repr)


# ------------------------------------------------------------ all transforms


@every_transform
@given(
    shape=st.tuples(
        st.integers(0, 4), st.sampled_from([1, 3]), st.integers(3, 9), st.integers(3, 9)
    ),
    dtype=st.sampled_from([torch.float32, torch.float64]),
    channels_last=st.booleans(),
    seed=st.integers(0, 2**32),
)
@settings(max_examples=15, deadline=None)
def test_shape_values_and_determinism(transform, shape, dtype, channels_last, seed):
    images = some_images(*shape, dtype=dtype)
    if channels_last:
        images = images.to(memory_format=torch.channels_last)
    before = images.clone()
    result = transform(images, generator(seed))
    assert result.shape == images.shape
    assert result.dtype == dtype
    assert_close(images, before, rtol=0, atol=0)
    assert (result >= -1e-6).all()
    assert (result <= 1 + 1e-6).all()
    again = transform(images, generator(seed))
    assert_close(result, again, rtol=0, atol=0)


@every_transform
def test_result_shares_no_memory(transform):
    images = some_images(2, 3, 8, 8)
    before = images.clone()
    transform(images).fill_(7)
    assert_close(images, before, rtol=0, atol=0)


@every_transform
def test_every_image_has_its_own_draw(transform):
    images = some_images(1, 3, 9, 9).expand(16, -1, -1, -1)
    results = transform(images, generator())
    n_different = len(results.flatten(1).unique(dim=0))
    assert n_different == 2 if isinstance(transform, RandomHorizontalFlip) else 4


@every_transform
def test_randomness_comes_from_the_generator_alone(transform):
    images = some_images(8, 3, 9, 9)
    before = torch.get_rng_state()
    drawn = generator()
    first, second = transform(images, drawn), transform(images, drawn)
    assert_array_equal(torch.get_rng_state(), before)
    assert not torch.equal(first, second)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        assert_close(transform(images), first, rtol=0, atol=0)


@every_transform
def test_device_is_kept(transform):
    # Tensors on the meta device hold no values: whatever mixes devices, or must wait
    # for values to know its shapes, raises.
    images = torch.empty(4, 3, 9, 9, device="meta")
    for rng in (None, generator()):
        result = transform(images, rng)
        assert result.device.type == "meta"
        assert result.shape == images.shape


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@every_transform
def test_same_on_gpu_with_a_cpu_generator(transform):
    images = some_images(4, 3, 9, 9)
    on_gpu = transform(images.cuda(), generator())
    assert on_gpu.is_cuda
    assert_close(on_gpu.cpu(), transform(images, generator()), rtol=1e-4, atol=1e-4)
    assert transform(images.cuda(), torch.Generator("cuda")).is_cuda


@every_transform
def test_is_a_plain_value(transform):
    for copy in (clone(transform), pickle.loads(pickle.dumps(transform))):
        assert type(copy) is type(transform)
        assert repr(copy) == repr(transform)
        assert copy.get_params() == transform.get_params()
    before = transform.get_params()
    transform(some_images(2, 1, 9, 9))
    assert transform.get_params() == before


def test_repr_shows_what_was_set():
    assert repr(RandomHorizontalFlip()) == "RandomHorizontalFlip()"
    assert repr(RandomErasing(p=1.0, value="random")) == (
        "RandomErasing(p=1.0, value='random')"
    )


# -------------------------------------------------------------------- pixels


@pytest.mark.parametrize(
    "noise, mean, std",
    [
        (UniformNoise(low=0.0, high=0.3, clip=False), 0.15, 0.3 / 12**0.5),
        (GaussianNoise(std=0.2, clip=False), 0.0, 0.2),
    ],
    ids=repr,
)
def test_noise(noise, mean, std):
    images = some_images(50, 3, 16, 16)
    added = noise(images, generator()) - images
    assert added.mean().item() == pytest.approx(mean, abs=0.005)
    assert added.std().item() == pytest.approx(std, abs=0.005)
    clipped = clone(noise).set_params(clip=True)(images, generator())
    assert_close(clipped, noise(images, generator()).clamp(0, 1), rtol=0, atol=0)
    assert noise(torch.ones(9, 1, 9, 9)).max() > 1


def test_no_noise():
    images = some_images(2, 1, 4, 4)
    assert torch.equal(GaussianNoise(std=0)(images), images)
    assert torch.equal(UniformNoise(low=0, high=0)(images), images)


@pytest.mark.parametrize("channels", [1, 3])
def test_color_jitter(channels):
    images = some_images(6, channels, 5, 7)
    jitter = ColorJitter(
        brightness=(1.3, 1.3), contrast=(1.7, 1.7), saturation=(0.4, 0.4)
    )
    for image, result in zip(images, jitter(images), strict=True):
        expected = tv.adjust_saturation(
            tv.adjust_contrast(tv.adjust_brightness(image, 1.3), 1.7), 0.4
        )
        assert_close(result, expected, rtol=0, atol=1e-6)


def test_color_jitter_draws_factors_around_one():
    images = torch.full((300, 1, 2, 2), 0.5)
    factors = ColorJitter(brightness=0.2)(images, generator())[:, 0, 0, 0] / 0.5
    assert 0.8 <= factors.min() < 0.81
    assert 1.19 < factors.max() <= 1.2
    # A factor is never negative.
    assert (ColorJitter(brightness=2.0)(images) > 0).all()


def test_color_jitter_ignores_what_does_not_apply():
    grey, colour = some_images(2, 1, 4, 4), some_images(2, 3, 4, 4)
    assert torch.equal(ColorJitter(saturation=0.5)(grey), grey)
    assert torch.equal(ColorJitter()(colour), colour)
    with pytest.raises(ValueError, match="1 or 3 channels; got 4"):
        ColorJitter()(some_images(2, 4, 4, 4))


@pytest.mark.parametrize("value", [0.0, 0.5, "random"])
def test_erasing_changes_one_rectangle(value):
    height, width = 20, 30
    images = some_images(100, 3, height, width)
    scale, ratio = (0.05, 0.2), (0.5, 2.0)
    erase = RandomErasing(p=0.7, scale=scale, ratio=ratio, value=value)
    results = erase(images, generator())
    n_erased = 0
    for image, result in zip(images, results, strict=True):
        changed = (image != result).all(dim=0)
        assert torch.equal(changed, (image != result).any(dim=0))
        if not changed.any():
            continue
        n_erased += 1
        rows, columns = changed.any(dim=1), changed.any(dim=0)
        assert torch.equal(changed, rows[:, None] & columns)
        for side in (rows, columns):
            (positions,) = side.nonzero(as_tuple=True)
            assert positions[-1] - positions[0] + 1 == len(positions)
        # The sides are rounded to whole pixels.
        n_rows, n_columns = rows.sum().item(), columns.sum().item()
        assert (n_rows - 0.5) * (n_columns - 0.5) <= scale[1] * height * width
        assert (n_rows + 0.5) * (n_columns + 0.5) >= scale[0] * height * width
        assert (n_columns - 0.5) / (n_rows + 0.5) <= ratio[1]
        assert (n_columns + 0.5) / (n_rows - 0.5) >= ratio[0]
        written = result[:, changed]
        if value == "random":
            assert len(written.unique()) > 0.9 * written.numel()
            assert (written >= 0).all() and (written < 1).all()
        else:
            assert (written == value).all()
    assert 55 < n_erased < 85


# ------------------------------------------------------------------- in lists


def test_transforms_are_applied_in_order():
    images = some_images(4, 3, 8, 8)
    shift, noise = RandomShift(2), GaussianNoise()
    rng = generator()
    expected = noise(shift(images, rng), rng)
    result = apply_transforms(images, [shift, None, noise], generator())
    assert torch.equal(result, expected)
    assert torch.equal(
        apply_transforms(images, (shift,), generator()),
        apply_transforms(images, shift, generator()),
    )


@pytest.mark.parametrize("nothing", [None, [], [None]])
def test_nothing_to_apply(nothing):
    images = some_images(2, 1, 4, 4)
    assert apply_transforms(images, nothing) is images


def test_other_transforms_get_image_by_image():
    images = some_images(40, 3, 8, 8)
    shapes = []

    def look(image):
        shapes.append(tuple(image.shape))
        return image

    with torch.random.fork_rng():
        torch.manual_seed(0)
        result = apply_transforms(images, [look, v2.RandomVerticalFlip()])
        torch.manual_seed(0)
        expected = torch.stack([v2.RandomVerticalFlip()(image) for image in images])
    assert shapes == [(3, 8, 8)] * 40
    assert torch.equal(result, expected)
    flipped = (result == images.flip(2)).flatten(1).all(dim=1)
    assert 5 < flipped.sum() < 35


def test_other_transforms_cannot_change_the_input():
    images = some_images(3, 1, 4, 4, dtype=torch.float64)
    before = images.clone()
    result = apply_transforms(images, lambda image: image.mul_(2).float())
    assert torch.equal(images, before)
    assert result.dtype == torch.float64
    assert_close(result, 2 * before, rtol=0, atol=1e-6)
    assert apply_transforms(images[:0], lambda image: image).shape == (0, 1, 4, 4)


def test_other_transforms_may_change_the_size():
    images = some_images(3, 1, 8, 8)
    assert apply_transforms(images, [v2.Resize((4, 5))]).shape == (3, 1, 4, 5)


def test_other_transforms_with_unequal_shapes():
    sizes = iter([3, 4, 4])

    def cut(image):
        return image[:, : next(sizes)]

    message = r"cut.* one shape .*\(1, 3, 6\) and \(1, 4, 6\)"
    with pytest.raises(ValueError, match=message):
        apply_transforms(some_images(3, 1, 6, 6), cut)


def test_check_transforms():
    flip, other = RandomHorizontalFlip(), v2.RandomVerticalFlip()
    assert check_transforms(None) == []
    assert check_transforms(flip) == [flip]
    assert check_transforms((flip, None, other)) == [flip, other]
