"""A network in int8: weights per channel, activations per tensor, calibrated on photos.

ONNX Runtime's static quantisation writes plain ONNX with QuantizeLinear and DequantizeLinear nodes,
which OpenVINO and ONNX Runtime both run. The reasons for its settings are in docs/performance.md.
"""

import shutil
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx

from deepfood import runtimes
from deepfood.errors import SettingError, raising_disk_full
from deepfood.train.fuse import fuse_head, take_off_head

quantization = runtimes.quantization()

#: The operators that take most of the time, and are faster in int8.
_PRODUCTS = {"Conv", "ConvTranspose", "Gemm", "MatMul"}
#: Operators between matrix products, which keep values in int8. Not the last pooling: 256 values
#: are too few for the embedding itself.
_BETWEEN = {"Add", "Clip", "MaxPool", "Relu"}


def check_quantizable(network: bytes, name: str) -> None:
    """Raise SettingError for a network that is int8 already or would gain nothing."""
    kinds = {node.op_type for node in onnx.load_from_string(network).graph.node}
    if any("QuantizeLinear" in kind or kind.endswith("Integer") for kind in kinds):
        raise SettingError(f"the Model {name} is int8 already: give the one it was made from")
    if not kinds & _PRODUCTS:
        raise SettingError(
            f"the Model {name} has no convolution and no matrix product, so int8 gains nothing"
        )


def quantize_network(
    network: bytes, weights: Mapping[str, Path], inputs: Iterable[npt.NDArray[np.float32]]
) -> bytes:
    """The ONNX bytes of `network` in int8, calibrated on `inputs`, float32 [1, 3, size, size] each.

    `weights` are the files that the network refers to, by name. The head of an adapted Model is one
    small matrix product, and is not quantized: quantizing its input would change every vector and
    save nothing. Raises DiskFullError.
    """
    trunk, head = take_off_head(network)
    with tempfile.TemporaryDirectory(prefix="deepfood-") as name, raising_disk_full(Path(name)):
        given, plain, small = (Path(name) / f"{one}.onnx" for one in ("given", "plain", "int8"))
        given.write_bytes(trunk)
        for weights_name, path in weights.items():  # onnx follows no links
            shutil.copyfile(path, Path(name) / weights_name)
        outside = bool(weights)  # also in between: protobuf allows 2 GB
        # Folds constants (weights are stored as fp16) and operators after convolutions.
        quantization.quant_pre_process(
            str(given), str(plain), skip_symbolic_shape=True, save_as_external_data=outside
        )
        quantization.quantize_static(
            str(plain),
            str(small),
            _Inputs(onnx.load(plain).graph.input[0].name, iter(inputs)),
            quant_format=quantization.QuantFormat.QDQ,
            op_types_to_quantize=sorted(_PRODUCTS | _BETWEEN),
            # The types of AVX512-VNNI, AMX and ARM's dot products: unsigned times signed bytes.
            activation_type=quantization.QuantType.QUInt8,
            weight_type=quantization.QuantType.QInt8,
            per_channel=True,
            calibrate_method=quantization.CalibrationMethod.MinMax,
            use_external_data_format=outside,
        )
        made = onnx.load(small)
    del made.metadata_props[:]
    onnx.checker.check_model(made)
    whole = bytes(made.SerializeToString(deterministic=True))
    return whole if head is None else fuse_head(whole, head)


class _Inputs(quantization.CalibrationDataReader):  # type: ignore[misc, name-defined]
    """Yields one input after another, for ONNX Runtime's calibration."""

    def __init__(self, name: str, inputs: Iterator[npt.NDArray[np.float32]]) -> None:
        self._name = name
        self._inputs = inputs

    def get_next(self) -> dict[str, Any] | None:
        value = next(self._inputs, None)
        return None if value is None else {self._name: value}
