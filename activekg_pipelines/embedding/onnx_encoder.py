"""The model run by ONNX Runtime, for machines that OpenVINO does not serve well."""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from activekg_pipelines.embedding import local_encoder
from activekg_pipelines.embedding.artifacts import DamagedArtifact, load_or_build
from activekg_pipelines.embedding.backend import Backend, EncoderConfig, Precision
from activekg_pipelines.embedding.compiled_encoder import CompiledEncoder, refuse_other_devices
from activekg_pipelines.embedding.model import ModelFiles
from activekg_pipelines.errors import ModelError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from activekg_pipelines.embedding.batching import Batch

_GRAPH: Final = "model.onnx"
_INSTALL: Final = "pip install 'activekg-pipelines[onnx]'"


class OnnxEncoder(CompiledEncoder):
    """The model as a session of ONNX Runtime."""

    def __init__(self, config: EncoderConfig) -> None:
        refuse_other_devices(config, "onnx")
        files, precision = config.files, config.precision
        if precision is Precision.AUTO:
            precision = Precision.FLOAT32
        if precision not in {Precision.FLOAT32, Precision.INT8}:
            raise ModelError(f"The onnx backend computes in float32 or int8, not in {precision}.")
        runtime = _import_runtime()
        name = f"{files.fingerprint[:16]}-{runtime.__version__}-{precision}"
        self._session = load_or_build(
            config.cache_dir / "onnx" / name,
            build=lambda draft: _convert(files, precision, draft),
            load=lambda built: _open_session(built, config.threads),
        )
        super().__init__(files, precision, self._session.get_outputs()[0].shape[1])

    def _infer(self, batches: Iterable[Batch]) -> list[tuple[list[int], NDArray[np.float32]]]:
        return [
            (batch.rows, _run(self._session, batch.input_ids, batch.attention_mask))
            for batch in batches
        ]


def _import_runtime() -> Any:
    try:
        onnxruntime = import_module("onnxruntime")
    except ImportError as error:
        raise ModelError(f"The onnx backend needs ONNX Runtime: {_INSTALL}") from error
    return onnxruntime


def _open_session(folder: Path, threads: int | None) -> Any:
    runtime = _import_runtime()
    options = runtime.SessionOptions()
    if threads is not None:
        options.intra_op_num_threads = threads
    try:
        return runtime.InferenceSession(
            folder / _GRAPH, options, providers=["CPUExecutionProvider"]
        )
    except Exception as error:  # ONNX Runtime's errors have no other base class
        raise DamagedArtifact(str(error)) from error


def _run(
    session: Any, input_ids: NDArray[np.int64], attention_mask: NDArray[np.int64]
) -> NDArray[np.float32]:
    try:
        vectors: NDArray[np.float32] = session.run(
            None, {"input_ids": input_ids, "attention_mask": attention_mask}
        )[0]
    except Exception as error:  # ONNX Runtime's errors have no other base class
        raise RuntimeError(str(error)) from error
    return vectors


def _convert(files: ModelFiles, precision: Precision, folder: Path) -> None:
    if find_spec("onnx") is None or find_spec("onnxscript") is None:
        raise ModelError(
            f"Converting the model for the onnx backend needs onnx and onnxscript: {_INSTALL}"
        )
    import torch

    from activekg_pipelines.embedding import conversion

    model = conversion.load_for_conversion(files)
    module, example = conversion.embedding_module(model)
    free = {0: "batch", 1: "width"}
    with warnings.catch_warnings():
        # The exporter warns of its own deprecations; the check below is what counts.
        warnings.simplefilter("ignore")
        torch.onnx.export(
            module,
            example,
            folder / _GRAPH,
            input_names=list(conversion.INPUTS),
            output_names=["vectors"],
            dynamic_shapes=(free, free),
            dynamo=True,
            external_data=False,
            verbose=False,
        )
    if precision is Precision.INT8:
        _quantize(folder / _GRAPH)
    session = _open_session(folder, threads=None)
    conversion.check_conversion(
        files,
        model,
        lambda input_ids, attention_mask: _run(session, input_ids, attention_mask),
        precision,
    )


def _quantize(graph: Path) -> None:
    """Turn the matrix products by weights, nine tenths of the time, into 8 bits.

    The scales follow each input.
    """
    from onnxruntime.quantization import QuantType, quantize_dynamic

    quantize_dynamic(
        graph,
        graph,
        op_types_to_quantize=["MatMul", "Gemm"],
        # One scale for a whole matrix costs a cosine of 0.08.
        per_channel=True,
        weight_type=QuantType.QInt8,
        extra_options={"MatMulConstBOnly": True},
    )


def _suits(config: EncoderConfig) -> bool:
    return config.precision is Precision.INT8


BACKEND: Final = Backend("onnx", open=OnnxEncoder, version=local_encoder.version, suits=_suits)
