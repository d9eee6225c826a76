"""Tensors of an ONNX graph whose bytes are in a file beside it.

The graph, which others wrote, names the file: a path outside its folder is refused before anything
there is opened.
"""

import math
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import IO, Any

from deepfood.artifacts import open_file
from deepfood.errors import (
    ArtifactCorruptError,
    ArtifactFormatError,
    ArtifactMissingError,
    raising_disk_full,
)
from deepfood.model.artifact import weights_name

#: Tensors are aligned to pages, so that they can be memory-mapped.
_PAGE_BYTES = 4096
_CHUNK_BYTES = 2**20
#: ONNX's types that pack several values into a byte, and their bits.
_BITS = {"int4": 4, "uint4": 4, "float4e2m1": 4, "int2": 2, "uint2": 2}


def is_outside(tensor: Any) -> bool:
    return bool(tensor.data_location == tensor.EXTERNAL)


def size_of(tensor: Any) -> int:
    """The size of its values in bytes; 0 for strings."""
    from onnx import helper

    name = type_name(tensor.data_type)
    values: int = math.prod(tensor.dims)
    if name in _BITS:
        return -(-values * _BITS[name] // 8)
    if name in ("string", "undefined"):
        return 0
    itemsize: int = helper.tensor_dtype_to_np_dtype(tensor.data_type).itemsize
    return values * itemsize


def type_name(data_type: int) -> str:
    """ONNX's name of a type, in lower case; "undefined" for an unknown one."""
    from onnx import TensorProto

    names: dict[int, str] = {number: name.lower() for name, number in TensorProto.DataType.items()}
    return names.get(data_type, "undefined")


def check(tensor: Any, graph: Path) -> None:
    """Check that the tensor's bytes are in an allowed file, and of the declared size.

    Raises ArtifactFormatError for a path outside the folder of `graph`, ArtifactCorruptError or
    ArtifactMissingError.
    """
    if any(dim < 0 for dim in tensor.dims):
        raise ArtifactCorruptError(f"{graph}: the tensor {tensor.name!r} has a negative size")
    if not is_outside(tensor):
        if tensor.HasField("raw_data") and len(tensor.raw_data) != size_of(tensor):
            raise ArtifactCorruptError(
                f"{graph}: the tensor {tensor.name!r} has {len(tensor.raw_data)} bytes, but its "
                f"shape needs {size_of(tensor)}"
            )
        return
    path, offset, length = _place(tensor, graph)
    try:
        there = path.stat().st_size
    except OSError:
        raise ArtifactMissingError(
            f"{graph} needs {path.name} beside it, which is missing"
        ) from None
    if length != size_of(tensor):
        raise ArtifactCorruptError(
            f"{graph}: the tensor {tensor.name!r} has {size_of(tensor)} bytes, but {length} in "
            f"{path.name}"
        )
    if not 0 <= offset <= there - length:
        raise ArtifactCorruptError(
            f"{path} has {there} bytes, but {graph.name} needs {offset + length}: it was cut short"
        )


def internalize(tensor: Any, graph: Path) -> None:
    """Copy the bytes of a checked tensor into the graph."""
    with _opened(tensor, graph) as (file, length):
        data = file.read(length)
    _clear(tensor)
    tensor.raw_data = data


def externalize(
    tensors: Iterable[Any], graph: Path, scratch: Path, prefix: str
) -> tuple[str, Path]:
    """Move the bytes of checked tensors to one file in `scratch`, to which they then refer.

    Returns the name that the file must have beside the graph, which begins with `prefix`, and its
    current path. Raises DiskFullError.
    """
    from onnx import numpy_helper

    tensors = list(tensors)
    new = scratch / f"{prefix}new"
    places: list[tuple[int, int]] = []
    with raising_disk_full(scratch), new.open("wb") as out:
        for tensor in tensors:
            out.write(bytes(-out.tell() % _PAGE_BYTES))
            start = out.tell()
            if is_outside(tensor):
                with _opened(tensor, graph) as (file, length):
                    _copy(file, out, length)
            elif tensor.HasField("raw_data"):
                out.write(tensor.raw_data)
            else:
                out.write(numpy_helper.from_array(numpy_helper.to_array(tensor)).raw_data)
            places.append((start, out.tell() - start))
    name = weights_name(prefix, new)
    for tensor, (start, length) in zip(tensors, places, strict=True):
        _clear(tensor)
        tensor.data_location = tensor.EXTERNAL
        for key, value in (("location", name), ("offset", start), ("length", length)):
            tensor.external_data.add(key=key, value=str(value))
    return name, new


def _place(tensor: Any, graph: Path) -> tuple[Path, int, int]:
    """The file of a tensor, the offset of its bytes in it, and their number."""
    entries = {entry.key: entry.value for entry in tensor.external_data}
    location = entries.get("location", "")
    parts = PurePosixPath(location).parts
    if not parts or location.startswith("/") or ".." in parts or set(location) & set("\\:\0"):
        raise ArtifactFormatError(
            f"{graph} cannot be imported: its tensor {tensor.name!r} is in {location!r}, which is "
            "outside the graph's folder"
        )
    path = graph.parent
    for part in parts:
        path = path / part
        if path.is_symlink():
            raise ArtifactFormatError(
                f"{graph} cannot be imported: {path} is a link, which may lead out of the folder: "
                "copy the folder with cp -rL"
            )
    try:
        offset = int(entries.get("offset", "0"))
        length = int(entries["length"]) if "length" in entries else size_of(tensor)
    except ValueError:
        raise ArtifactCorruptError(
            f"{graph}: the offset or length of the tensor {tensor.name!r} is not a number"
        ) from None
    return path, offset, length


@contextmanager
def _opened(tensor: Any, graph: Path) -> Iterator[tuple[IO[bytes], int]]:
    path, offset, length = _place(tensor, graph)
    with open_file(path) as file:
        file.seek(offset, os.SEEK_SET)
        yield file, length


def _copy(source: IO[bytes], out: IO[bytes], length: int) -> None:
    while length > 0 and (chunk := source.read(min(length, _CHUNK_BYTES))):
        out.write(chunk)
        length -= len(chunk)


def _clear(tensor: Any) -> None:
    """Remove the values from a tensor, whatever field they are in."""
    for field in (
        "raw_data",
        "float_data",
        "int32_data",
        "int64_data",
        "double_data",
        "uint64_data",
        "external_data",
        "data_location",
    ):
        tensor.ClearField(field)
