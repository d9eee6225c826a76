"""Dot products of one query with stored rows, without decoding them first, from one thread.

faiss does the sums. float16 and bytes go through the scanner of its scalar quantizers, which
converts numbers in registers: a scan of them takes less time than one of float32, as it reads less.
"""

from functools import cache
from typing import Any

import faiss as untyped_faiss
import numpy as np
import numpy.typing as npt

#: The stubs that come with faiss miss what is used here.
faiss: Any = untyped_faiss

#: What faiss takes a byte for: its value - 128, which is exact.
BYTE_OFFSET = 128

#: Rows at a time, so that what faiss keeps of them beside the answer stays small.
_CHUNK = 65_536


def dots(
    stored: npt.NDArray[Any], row_bytes: int, query: npt.NDArray[np.float32]
) -> npt.NDArray[np.float32]:
    """Dot product of `query`, float32 [dim], with each row: float32 [n].

    `stored` [n, dim] is float32, float16, or bytes that stand for their value - BYTE_OFFSET. Its
    rows begin `row_bytes` apart and each is contiguous.
    """
    count, dimension = stored.shape
    query = np.ascontiguousarray(query, np.float32)
    if stored.dtype == np.float32:
        return dots_of_rows(stored, np.arange(count), query)
    found = np.full(count, -np.inf, np.float32)
    scanner = _quantizer(stored.dtype, dimension).select_InvertedListScanner(
        faiss.METRIC_INNER_PRODUCT, None, True, None
    )
    scanner.code_size = row_bytes
    scanner.set_query(faiss.swig_ptr(query))
    scanner.set_list(0, 0.0)
    for start in range(0, count, _CHUNK):
        rows = stored[start : start + _CHUNK]
        ranges = faiss.RangeSearchResult(1)
        partial = faiss.RangeSearchPartialResult(ranges)
        first = faiss.swig_ptr(rows[0].view(np.uint8))
        # Everything above -inf: the one call that hands out all dot products.
        scanner.scan_codes_range(len(rows), first, None, -np.inf, partial.new_result(0))
        partial.finalize()
        size = int(faiss.rev_swig_ptr(ranges.lims, 2)[1])  # fewer than rows where some are NaN
        if size:
            at = faiss.rev_swig_ptr(ranges.labels, size)
            found[start + at] = faiss.rev_swig_ptr(ranges.distances, size)
    return found


def dots_of_rows(
    stored: npt.NDArray[np.float32], rows: npt.NDArray[np.int64], query: npt.NDArray[np.float32]
) -> npt.NDArray[np.float32]:
    """Dot product of `query`, float32 [dim], with some rows of float32 [n, dim], read in place.

    `stored` and `rows` are contiguous, and `rows` are below n, which nobody checks.
    """
    # Not @: that starts BLAS's threads, which spin on for 100 ms after each search, on the cores
    # that the next photo needs. And of the functions without threads, the one whose sums are those
    # of `flat_index` in every bit.
    found, at = np.empty(len(rows), np.float32), faiss.swig_ptr
    # It would start OpenMP's threads for one query too, and wait for each to get a core.
    faiss.omp_set_num_threads(1)
    faiss.fvec_inner_products_by_idx(
        at(found), at(query), at(stored), at(rows), len(query), 1, len(rows)
    )
    return found


def flat_index(stored: npt.NDArray[Any]) -> Any:
    """faiss' flat index by inner product over float32 or float16 [n, dim], read in place."""
    dimension = stored.shape[1]
    if stored.dtype == np.float32:
        index = faiss.IndexFlatIP(dimension)
    else:
        half = faiss.ScalarQuantizer.QT_fp16
        index = faiss.IndexScalarQuantizer(dimension, half, faiss.METRIC_INNER_PRODUCT)
        index.is_trained = True  # there is nothing to learn
    codes = stored.reshape(-1).view(np.uint8)
    view = faiss.MaybeOwnedVectorUInt8.create_view
    index.codes = view(faiss.swig_ptr(codes), codes.size, index.codes.owner)
    index.ntotal = len(stored)
    return index


@cache  # it is only read; making one takes longer than scoring ten rows
def _quantizer(dtype: np.dtype[Any], dimension: int) -> Any:
    if dtype == np.float16:
        return faiss.ScalarQuantizer(dimension, faiss.ScalarQuantizer.QT_fp16)
    quantizer = faiss.ScalarQuantizer(dimension, faiss.ScalarQuantizer.QT_8bit_uniform)
    # It decodes to trained[0] + trained[1] * (byte + 0.5) / 255.
    trained = np.array([-BYTE_OFFSET - 0.5, 255], np.float32)
    faiss.copy_array_to_vector(trained, quantizer.trained)
    return quantizer
