"""Images from files, and a model's predictions for them."""

import math
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from fedgates.data.folders import WIDE
from fedgates.model_file import Model
from fedgates.models.shapes import Shape
from fedgates.util.text import error_line, one_line

_BATCH, _MOST_VALUES = 256, 1 << 24
"""Number of images that are predicted together, and of values in them."""
_ARRAYS = ("x", "x_test")
"""Names of image arrays in an npz file, in order of preference."""
_FORMATS = ("BMP", "GIF", "JPEG", "PNG", "PPM", "TIFF", "WEBP")
"""Accepted formats of Pillow; it reads some others by starting other programs."""
_LONGEST_SIDE, _MOST_PIXELS = 20_000, 1 << 26
"""Largest image that is scaled; without scaling, only an image of the model's size is decoded."""
_SCALED = f"at most {_MOST_PIXELS:,} pixels, and {_LONGEST_SIDE:,} in a row or a column, to be scaled"
_ENDINGS = frozenset({".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp"})
"""Suffixes of image files in a folder."""


class ImageError(ValueError):
    """Images are missing or do not fit the model; the message says what is expected."""


@dataclass(frozen=True)
class Images:
    """Images in the form of a model's input."""

    names: Sequence[str]
    pixels: NDArray[np.uint8]
    """Shape ``[n, C, H, W]``."""
    passed_over: int = 0
    """Number of files in the folder without an image suffix."""
    left_out: Sequence[str] = ()
    """For each skipped image in the folder the reason, one line."""


def read_images(path: Path, shape: Shape, *, resize: bool = False) -> Images:
    """Read an image, all images below a folder (in the order of their paths), or those of an npz file.

    Parameters
    ----------
    path : Path
        Images are converted to the model's number of channels, grey or colour, as in training; transparency is ignored, and an
        animation is represented by its first frame. In a folder, hidden files and files without an image suffix are ignored,
        and images that cannot be used are skipped. In an npz file, ``x`` or ``x_test`` is uint8 ``[n, H, W]`` or ``[n, H, W,
        C]``.
    shape : tuple of int
        (C, H, W) of the model's images.
    resize : bool
        Scale images of another size bilinearly, ignoring proportions. Arrays of an npz file are not scaled.

    Raises
    ------
    ImageError
        No image can be used.
    """
    try:
        files, others = _listed(path) if path.is_dir() else (None, 0)
    except OSError as error:
        raise ImageError(f"{path}: expected an image, or a folder of them ({error.strerror})") from error
    if files is not None:
        if not files:
            raise ImageError(f"{path}: expected a folder with images in it ({', '.join(sorted(_ENDINGS))})")
        usable: dict[str, NDArray[np.uint8]] = {}
        left_out = []
        for file in files:
            try:
                usable[str(file.relative_to(path))] = _image(file, shape, resize=resize)
            except ImageError as error:
                left_out.append(str(error))  # not the error, which refers to the image
        if not usable:
            raise ImageError(left_out[0] + (f"; nor can {len(left_out) - 1:,} others be used" if len(left_out) > 1 else ""))
        return Images(list(usable), np.stack(list(usable.values())), others, left_out)
    if path.exists() and not path.is_file():  # reading a pipe would block
        raise ImageError(f"{path}: expected an image, or a folder of them")
    if path.suffix.lower() == ".npz":
        return _from_npz(path, shape)
    return Images([path.name], _image(path, shape, resize=resize)[None])


def _listed(folder: Path) -> tuple[list[Path], int]:
    """Return the images below a folder, and the number of other files."""
    every = [file for file in folder.rglob("*") if file.is_file()]
    seen = [file for file in every if not any(part.startswith(".") for part in file.relative_to(folder).parts)]
    files = sorted(file for file in seen if file.suffix.lower() in _ENDINGS)
    return files, len(seen) - len(files)


def _image(file: Path, shape: Shape, *, resize: bool) -> NDArray[np.uint8]:
    from PIL import Image, UnidentifiedImageError  # noqa: PLC0415  # comes with torchvision; loading a model needs neither

    channels, height, width = shape
    if channels not in (1, 3):
        raise ImageError(f"{file}: the model's images have {channels} channels, expected an npz file")
    pixels = None
    try:
        with warnings.catch_warnings(action="ignore"), Image.open(file, formats=_FORMATS) as image:
            found, mode = image.size, image.mode
            fits = found == (width, height)
            scales = resize and math.prod(found) <= _MOST_PIXELS and max(found) <= _LONGEST_SIDE
            if (fits or scales) and not mode.startswith(WIDE):  # pixels of other images are not decoded
                same = image.convert("L" if channels == 1 else "RGB")
                pixels = np.asarray(same if fits else same.resize((width, height), Image.Resampling.BILINEAR), dtype=np.uint8)
    except Image.DecompressionBombError:
        expected = _SCALED if resize else f"{width}x{height}"
        raise ImageError(f"{file}: far more pixels than can be looked at, expected {expected}") from None
    except Exception as error:  # Pillow raises a dozen kinds for a damaged file, all meaning the same
        known = "its format is not known" if isinstance(error, UnidentifiedImageError) else "damaged"
        raise ImageError(f"{file}: expected an image ({getattr(error, 'strerror', None) or known})") from error
    if pixels is None and not fits and not resize:
        raise ImageError(f"{file}: {found[0]}x{found[1]} pixels, expected {width}x{height} (--resize scales pictures)")
    if pixels is None and not mode.startswith(WIDE):
        raise ImageError(f"{file}: {found[0]}x{found[1]} pixels, expected {_SCALED}")
    if pixels is None:
        raise ImageError(f"{file}: expected 8 bits a channel, and it has more (mode {mode})")
    return pixels.reshape(height, width, channels).transpose(2, 0, 1)


def _from_npz(path: Path, shape: Shape) -> Images:
    channels, height, width = shape
    name, x = "", None
    try:
        stored = np.load(path, allow_pickle=False)
        if not isinstance(stored, np.ndarray):
            with stored:
                name = next((name for name in _ARRAYS if name in stored.files), "")
                x = stored[name] if name else None
    except Exception as error:  # numpy and zipfile raise a dozen kinds for a damaged file, all meaning the same
        raise ImageError(f"{path}: expected an npz file of plain arrays ({error_line(error)})") from error
    if isinstance(stored, np.ndarray):
        raise ImageError(f"{path}: expected an npz file, which names its arrays, and this is a single array without a name")
    if x is None:
        raise ImageError(f"{path}: expected an array {' or '.join(_ARRAYS)} in it")
    x = x[..., None] if x.ndim == 3 else x
    if x.dtype != np.uint8 or x.ndim != 4 or x.shape[1:] != (height, width, channels) or not len(x):
        raise ImageError(f"{path}: {name} is {x.dtype} {list(x.shape)}, expected uint8 [n, {height}, {width}, {channels}]")
    return Images([f"{name}[{i}]" for i in range(len(x))], np.ascontiguousarray(x.transpose(0, 3, 1, 2)))


def predictions(model: Model, images: Images, top: int) -> list[dict[str, Any]]:
    """Return for each image the `top` most probable labels with their probabilities, or the value of a regression."""
    with torch.no_grad():
        batch = min(_BATCH, max(1, _MOST_VALUES // math.prod(images.pixels.shape[1:])))
        logits = torch.cat([model(part) for part in torch.split(torch.from_numpy(images.pixels.copy()), batch)])
    classes = model.facts.class_names
    if not classes:
        return [{"image": name, "value": float(row[0])} for name, row in zip(images.names, logits, strict=True)]
    shares, order = logits.softmax(1).sort(1, descending=True)
    return [
        {
            "image": name,
            "labels": [
                {"label": classes[int(i)], "probability": float(share)} for share, i in zip(p[:top], at[:top], strict=True)
            ],
        }
        for name, p, at in zip(images.names, shares, order, strict=True)
    ]


def format_predictions(results: Sequence[Mapping[str, Any]]) -> str:
    """Return the result of :func:`predictions` as text, one line per image."""
    names = [one_line(each["image"]) for each in results]
    wide = max(map(len, names))
    lines = []
    for name, each in zip(names, results, strict=True):
        labels = each.get("labels")
        text = (
            f"{each['value']:.6g}"
            if labels is None
            else "  ".join(f"{one_line(label['label'])} {100 * label['probability']:.1f} %" for label in labels)
        )
        lines.append(f"{name:<{wide}}  {text}")
    return "\n".join(lines)
