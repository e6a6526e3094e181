"""Pixels of PIL images: upright, and as deep as their files hold them."""

from __future__ import annotations

import io
import os
import sys
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from PIL.Image import Image

# Where a number of 16 bits becomes one of 8, Pillow's decoders take one of its two
# bytes: the first where numbers are said to be big-endian ("B"), else the second ("L").
# Native order ("N") is one of both.
_ORDERS = {"B": "B", "L": "L", "N": "B" if sys.byteorder == "big" else "L"}
# What they can do so with: channels of a pixel beside each other.
_IN_PAIRS = ("RGB", "RGBA", "RGBX")
_GREY = ("1", "L", "LA", "La")
# Weights of red, green and blue in grey, of 65536, as Pillow has them for 8 bits.
LUMA = np.array([19595, 38470, 7471], dtype=np.uint32)
# Tags of TIFF files.
_BITS, _PHOTOMETRIC, _SAMPLE_FORMAT = 258, 262, 339
# Where an image says how it is to be turned.
_EXIF_KEYS = ("exif", "Raw profile type exif", "XML:com.adobe.xmp", "xmp")


class UnsuitableImage(ValueError):
    """An image that is as it should be, but not for this purpose."""


def is_pil(x: Any) -> bool:
    """Whether x is a PIL image."""
    return hasattr(x, "getbands")


def pixels_of(image: Image, mode: str | None = None, *, where: str = "") -> np.ndarray:
    """Return the pixels of a PIL image, turned as its EXIF data say.

    Parameters
    ----------
    image : PIL.Image.Image
        One that has not been loaded yet is read at the depth of its file, and so is
        one that has, if nothing was done to it.
    mode : {"RGB", "L", "RGBA"}, default=None
        Whether the pixels become coloured or grey, or coloured with their opacity; None
        leaves the first or the second to the image. What is not opaque lies on white.
    where : str, default=""
        What error messages call the image.

    Returns
    -------
    pixels : ndarray of shape (H, W), (H, W, 3) or, with opacity, (H, W, 4)
        uint8; uint16 of images with 16 bits per channel; int32 or float32 of those in
        Pillow's modes "I" and "F".

    Raises
    ------
    UnsuitableImage
        If there is no way to get its pixels in this mode, or at their depth.
    """
    where = where or "the image"
    samples = _samples(image, where)
    if samples is not None:
        return _converted(samples, mode)
    origin, tags = image.format, getattr(image, "tag_v2", {})
    image = upright(image)  # Of some, loading tells the mode.
    is_signed = image.mode == "L" and tags.get(_SAMPLE_FORMAT) == (2,)
    if image.mode.startswith(("I", "F")) or is_signed:
        samples = _as_in_tiff(np.asarray(image), tags)
        # Files of 16 bits come as 32, or in the byte order of another machine.
        wide = image.mode == "I" and origin in ("PNG", "PPM")
        native = samples.dtype.newbyteorder("=")
        samples = samples.astype(np.uint16 if wide else native, copy=False)
        return _converted(samples, mode)
    mode = mode or ("L" if image.mode in _GREY else "RGB")
    try:
        if image.has_transparency_data and mode != "RGBA":
            image = _on_white(image)
        # To convert what is in the mode already would copy it.
        return np.asarray(image if image.mode == mode else image.convert(mode))
    except ValueError as error:
        raise UnsuitableImage(
            f"{where} cannot be turned into mode={mode!r}: {error}. Save it in that "
            "mode first."
        ) from error


def is_grey(image: Image) -> bool:
    """Whether a PIL image has no colours."""
    return image.mode in _GREY or image.mode.startswith(("I", "F"))


def check_grey(image: Image, where: str) -> None:
    """Refuse a PIL image in colours where all others are grey."""
    if not is_grey(image):
        raise UnsuitableImage(
            f"{where} has colours (mode {image.mode!r}), but the images before it, or "
            "those of fit, are grey. Set color_mode='grey' on the estimator to take "
            "all as grey, or color_mode='rgb' before fit."
        )


def is_deep(image: Image) -> bool:
    """Whether an image that is not loaded has more than 8 bits per channel."""
    return image.mode.startswith(("I", "F")) or _loses_depth(image)


def upright(image: Image) -> Image:
    """Return a PIL image turned as its EXIF data say, after which they say nothing."""
    from PIL.Image import Transpose

    methods = {
        2: Transpose.FLIP_LEFT_RIGHT,
        3: Transpose.ROTATE_180,
        4: Transpose.FLIP_TOP_BOTTOM,
        5: Transpose.TRANSPOSE,
        6: Transpose.ROTATE_270,
        7: Transpose.TRANSVERSE,
        8: Transpose.ROTATE_90,
    }
    image.load()  # TIFF files are turned here already.
    method = methods.get(orientation_of(image))
    if method is None:
        return image
    turned = image.transpose(method)
    for key in _EXIF_KEYS:
        turned.info.pop(key, None)
    return turned


def orientation_of(image: Image) -> int:
    """Return how an image lies, by its EXIF data; those above 4 are on their side."""
    try:
        return image.getexif().get(0x0112, 1)
    except Exception:
        return 1  # Damaged data say nothing; what is raised depends on the damage.


def _as_in_tiff(samples: np.ndarray, tags: Any) -> np.ndarray:
    """Return numbers of a TIFF file that Pillow takes for others."""
    kind, is_white = tags.get(_SAMPLE_FORMAT, ()), tags.get(_PHOTOMETRIC) == 0
    if kind == (2,) and samples.dtype == np.uint8:
        return samples.view(np.int8)
    if kind == (1,) and samples.dtype == np.int32:
        return samples.view(np.uint32)
    if is_white and samples.dtype == np.uint16:
        # 0 is white, as Pillow knows of 8 bits.
        return (1 << max(tags[_BITS])) - 1 - samples
    return samples


def _on_white(image: Image) -> Image:
    """Return an image that is opaque, as it looks on a white page."""
    from PIL import Image as module

    image = image.convert("RGBA")
    page = module.new("RGBA", image.size, "white")
    return module.alpha_composite(page, image).convert("RGB")


def _converted(samples: np.ndarray, mode: str | None) -> np.ndarray:
    """Return samples of more than 8 bits in a mode, on white where they have alpha."""
    if samples.ndim == 3 and samples.shape[2] in (2, 4) and mode != "RGBA":
        colours, alpha = np.split(samples.astype(np.uint64), [-1], axis=2)
        white = np.iinfo(np.uint16).max
        whole = colours * alpha + white * (white - alpha)
        samples = ((whole + white // 2) // white).astype(np.uint16)
        samples = samples[..., 0] if samples.shape[2] == 1 else samples
    if samples.ndim == 2:
        return np.stack([samples] * 3, axis=-1) if mode == "RGB" else samples
    return as_grey(samples) if mode == "L" else samples


def as_grey(colours: np.ndarray) -> np.ndarray:
    """Return the luma of an array of shape (..., 3), in its data type."""
    if colours.dtype.kind == "f":
        return (colours @ (LUMA / (1 << 16))).astype(colours.dtype)
    grey = colours.astype(np.int64) @ LUMA.astype(np.int64)
    return ((grey + (1 << 15)) >> 16).astype(colours.dtype)


# ------------------------------------------------ 16 bits per channel and coloured


def _samples(image: Any, where: str) -> np.ndarray | None:
    """Return uint16 pixels of an image that Pillow reduces to 8 bits per channel.

    None stands for an image of which nothing is lost.
    """
    from PIL import Image
    from PIL.ImageFile import ImageFile

    if not isinstance(image, ImageFile) or image.mode.startswith(("I", "F")):
        return None
    if image.tile:
        if not _loses_depth(image):
            return None
        return _read_samples(_source(image), image.tell(), where)
    # An image that was loaded does not tell what its file holds.
    path = image.filename
    if (
        image.format not in ("AVIF", "PNG", "TIFF")
        or not path
        or not os.path.isfile(path)
    ):
        return None
    with Image.open(path) as again:
        again.seek(image.tell())
        if not _loses_depth(again):
            return None
    samples = _read_samples(path, image.tell(), where)
    loaded = np.asarray(image)
    high = (samples >> 8).astype(np.uint8)
    same = loaded[..., [0, -1]] if high.shape[2:] == (2,) else loaded
    return samples if np.array_equal(high, same) else None


def _loses_depth(image: Any) -> bool:
    """Whether an image that is not loaded will lose bits when it is."""
    if image.mode.startswith(("I", "F")):
        return False
    if image.format == "JPEG2000":
        return _depth_of_jpeg2000(image.fp) > 8
    if image.format == "AVIF":
        return _is_deep_avif(image.fp)
    if image.format == "TIFF":
        return max(image.tag_v2.get(_BITS, (8,))) > 8
    for codec, _, _, args in image.tile:
        arguments = args if isinstance(args, tuple) and args else (args,)
        if codec == "SGI16" or (codec.startswith("ppm") and arguments[-1] > 255):
            return True
        # Windows' bitmaps of 16 bits hold them for all three colours.
        raw = str(arguments[0])
        if ";16" in raw and not raw.startswith("BGR"):
            return True
    return False


def _depth_of_jpeg2000(file: Any) -> int:
    head = _head(file)
    start = head.find(b"\xff\x4f\xff\x51")  # Of the image and tile size marker.
    return 8 if start < 0 else (head[start + 42] & 0x7F) + 1


def _is_deep_avif(file: Any) -> bool:
    # Of the configuration of each picture in it, such as its opacity.
    _, *parts = _head(file).split(b"av1C")
    return any(part[2] & 0x40 for part in parts if len(part) > 2)


def _head(file: Any) -> bytes:
    place = file.tell()
    file.seek(0)
    head: bytes = file.read(1 << 16)
    file.seek(place)
    return head


def _source(image: Any) -> Any:
    """Return what an image that is not loaded can be opened from once more."""
    if image.filename and os.path.isfile(image.filename):
        return image.filename
    place = image.fp.tell()
    image.fp.seek(0)
    content = image.fp.read()
    image.fp.seek(place)
    return io.BytesIO(content)


def _read_samples(source: Any, frame: int, where: str) -> np.ndarray:
    """Return both bytes of each number, by decoding an image for each of them."""
    from PIL import Image

    with Image.open(source) as image:
        image.seek(frame)
        kinds = {_raw_mode(tile) for tile in image.tile}
        planar = getattr(image, "tag_v2", {}).get(284, 1) != 1
    kind, _, order = next(iter(kinds)).partition(";16")
    if len(kinds) == 1 and (kind, order) == ("LA", "B"):
        both = _decoded(source, frame, "RGBA").astype(np.uint16)
        return both[..., ::2] << 8 | both[..., 1::2]
    if len(kinds) > 1 or planar or kind not in _IN_PAIRS or order not in _ORDERS:
        raise UnsuitableImage(
            f"{where} has more than 8 bits per pixel and channel, which Pillow cannot "
            "read in this format. Save it as a PNG file."
        )
    first, last = (_decoded(source, frame, f"{kind};16{order}") for order in "BL")
    high, low = (first, last) if _ORDERS[order] == "B" else (last, first)
    return high.astype(np.uint16) << 8 | low


def _raw_mode(tile: Any) -> str:
    args = tile[3]
    return str(args[0] if isinstance(args, tuple) else args)


def _decoded(source: Any, frame: int, raw_mode: str) -> np.ndarray:
    from PIL import Image

    if not isinstance(source, str):
        source.seek(0)
    with Image.open(source) as image:
        image.seek(frame)
        image.tile = [_with_raw_mode(tile, raw_mode) for tile in image.tile]
        return np.asarray(upright(image))


def _with_raw_mode(tile: Any, raw_mode: str) -> Any:
    args = tile[3]
    args = (raw_mode, *args[1:]) if isinstance(args, tuple) else raw_mode
    # Older versions of Pillow have plain tuples.
    named = hasattr(tile, "_replace")
    return tile._replace(args=args) if named else (*tile[:3], args)
