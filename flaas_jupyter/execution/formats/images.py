"""Folders of images: each folder is a class, named by it; PNG, JPEG, BMP, GIF (its first picture), WebP and TIFF.

Rows are ``x``, of type uint8 and shape (height, width, 1 or 3), and ``y``, the number of the class. Folders that are
all named by whole numbers are these classes; otherwise classes are numbered in the order of the folders' names, so that
nodes that learn together need folders of the same names (an empty one counts). ``images:32x32`` brings all images to
one size, in pixels of height and width; without it they must have one.
"""

from __future__ import annotations

import json
import re
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

import numpy as np
import pyarrow as pa

from ...errors import InvalidInput
from . import tensors
from .data_file import DataFile
from .listing import Listing
from .refusals import unreadable

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff")
_FORMATS = ("PNG", "JPEG", "BMP", "GIF", "WEBP", "TIFF")
_PIXELS = 50_000_000
_BYTES = 64 << 20
_SIZE = re.compile(r"(\d{1,5})x(\d{1,5})")
_GREY = ("1", "L", "I", "F", "I;16", "LA")


@dataclass(frozen=True)
class Images:
    """A `Reader` of images.

    Parameters
    ----------
    size : tuple of int, optional
        Height and width that images are brought to.
    """

    size: tuple[int, int] | None = None
    suffixes: tuple[str, ...] = SUFFIXES

    @classmethod
    def of(cls, option: str) -> Images:
        """Return the reader for what follows ``images:``.

        Raises
        ------
        InvalidInput
            Code ``unknown-data-format``.
        """
        if not option:
            return cls()
        found = _SIZE.fullmatch(option)
        if found is None or "0" in (found[1], found[2]):
            raise InvalidInput(
                f"{option[:40]!r} is no size of images; write images:HEIGHTxWIDTH, such as images:32x32.",
                code="unknown-data-format",
            )
        return cls((int(found[1]), int(found[2])))

    def schema(self, listing: Listing) -> Any:
        """See `Reader.schema`."""
        classes = _classes(listing)
        size, colour, first = self.size, False, listing.files[0]
        for file in listing.files:
            with _opened(file) as image:
                found, grey = (image.height, image.width), image.mode in _GREY
            colour = colour or not grey
            size = size or found
            if self.size is None and found != size:
                raise InvalidInput(
                    f"{file.shown} has {found[0]}x{found[1]} pixels and {first.shown} {size[0]}x{size[1]}.",
                    code="parts-differ",
                    hint="Bring them to one size when they are read: --format images:HEIGHTxWIDTH.",
                )
        assert size is not None
        kind = tensors.tensor_type(np.dtype("uint8"), (*size, 3 if colour else 1))
        return pa.schema(
            [pa.field("x", kind), pa.field("y", pa.int64(), metadata={"classes": json.dumps(list(classes))})]
        )

    def batches(self, listing: Listing, schema: Any, columns: Sequence[str], rows: int) -> Iterator[Any]:
        """See `Reader.batches`."""
        classes = _classes(listing)
        shape = tuple(schema.field("x").type.shape)
        wanted = pa.schema([schema.field(name) for name in columns])
        step = max(1, min(rows, _BYTES // max(1, int(np.prod(shape)))))
        for start in range(0, len(listing.files), step):
            files = listing.files[start : start + step]
            made: dict[str, Any] = {"y": pa.array([classes[_class_of(listing, file)] for file in files], pa.int64())}
            if "x" in columns:
                made["x"] = tensors.from_numpy(np.stack([_pixels(file, shape) for file in files]))
            yield pa.RecordBatch.from_arrays([made[name] for name in columns], schema=wanted)


def _classes(listing: Listing) -> dict[str, int]:
    names = sorted({_class_of(listing, file) for file in listing.files} | set(listing.folders))
    if all(re.fullmatch(r"\d{1,9}", name) for name in names):
        return {name: int(name) for name in names}
    return {name: number for number, name in enumerate(names)}


def _class_of(listing: Listing, file: DataFile) -> str:
    inside = PurePosixPath(file.path).relative_to(listing.root).parts if listing.root else ()
    if len(inside) < 2:
        raise unreadable(
            file.shown,
            "it is not in the folder of a class",
            "A folder for each class, named by it: class/a.png.",
        )
    return inside[0]


def _opened(file: DataFile) -> Any:
    try:
        from PIL import Image
    except ImportError as error:
        raise InvalidInput(
            "Images are read with Pillow, which is not installed here.",
            code="not-installed",
            hint='pip install "flaas_jupyter[node]"',
        ) from error
    stream = file.seekable()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of large images: our own limit is below the one that Pillow warns at
            image = Image.open(stream, formats=_FORMATS)
    except Image.DecompressionBombError as error:
        raise _too_large(file) from error
    except Exception as error:  # Pillow's readers raise whatever their parsing runs into
        raise unreadable(file.shown, "it is no image, or a damaged one") from error
    if image.width * image.height > _PIXELS:
        raise _too_large(file)
    return image


def _too_large(file: DataFile) -> InvalidInput:
    return InvalidInput(
        f"{file.shown} has more than {_PIXELS} pixels.", code="expands-too-much", hint="Make it smaller."
    )


def _pixels(file: DataFile, shape: tuple[int, ...]) -> Any:
    height, width, channels = shape
    with _opened(file) as image:
        try:
            made = image.convert("L" if channels == 1 else "RGB")
            if made.size != (width, height):
                made = made.resize((width, height))
        except Exception as error:
            raise unreadable(file.shown, "it is no image, or a damaged one") from error
    return np.asarray(made, dtype=np.uint8).reshape(shape)
