"""The model run by OpenVINO, on a CPU.

It has up to three times sentence-transformers' speed, and starts in half a second.
"""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Callable, Iterable
from importlib.util import find_spec
from pathlib import Path
from queue import SimpleQueue
from threading import Lock
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from activekg_pipelines.embedding import local_encoder
from activekg_pipelines.embedding.artifacts import DamagedArtifact, load_or_build
from activekg_pipelines.embedding.backend import Backend, EncoderConfig, Precision
from activekg_pipelines.embedding.compiled_encoder import CompiledEncoder, refuse_other_devices
from activekg_pipelines.embedding.model import ModelFiles
from activekg_pipelines.embedding.torch_encoder import has_gpu
from activekg_pipelines.errors import ModelError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from activekg_pipelines.embedding.batching import Batch

    _Done: TypeAlias = tuple[list[int], NDArray[np.float32]]

_GRAPH: Final = "model.xml"
# The converted graphs are checked for these architectures only. Others take the torch
# backend unless another is asked for.
_CONVERTIBLE: Final = frozenset({"bert", "distilbert", "roberta", "xlm-roberta", "mpnet"})
_FOR_MANY_TEXTS: Final[dict[str, Any]] = {"PERFORMANCE_HINT": "THROUGHPUT"}
_MOST_STREAMS: Final = 4
_HINTS: Final = {Precision.FLOAT32: "f32", Precision.BFLOAT16: "bf16"}


class OpenVinoEncoder(CompiledEncoder):
    """The model as a graph that OpenVINO has compiled for this CPU."""

    def __init__(self, config: EncoderConfig) -> None:
        refuse_other_devices(config, "openvino")
        openvino = _import_openvino()
        files, precision = config.files, _checked_precision(openvino, config.precision)
        name = f"{files.fingerprint[:16]}-{openvino.__version__.split('-')[0]}-{precision}"
        speed = _for_single_texts() if config.single_texts else _FOR_MANY_TEXTS
        self._graph = load_or_build(
            config.cache_dir / "openvino" / name,
            build=lambda draft: _convert(files, precision, draft),
            load=lambda built: _compile(built, precision, config.threads, speed),
        )
        self._requests: _Apart | _Together = (
            _Apart(self._graph, speed["NUM_STREAMS"])
            if config.single_texts
            else _Together(openvino.AsyncInferQueue(self._graph))
        )
        super().__init__(files, precision, self._graph.output(0).partial_shape[1].get_length())

    def _infer(self, batches: Iterable[Batch]) -> list[_Done]:
        return self._requests.infer(batches)


class _Together:
    """All cores for the batches of one caller; another one waits until they are done."""

    def __init__(self, requests: Any) -> None:
        self._requests = requests
        self._one_at_a_time = Lock()

    def infer(self, batches: Iterable[Batch]) -> list[_Done]:
        done: list[_Done] = []
        with self._one_at_a_time:
            # The output belongs to the request and is overwritten by its next batch.
            self._requests.set_callback(
                lambda request, rows: done.append((rows, request.get_output_tensor(0).data.copy()))
            )
            for batch in batches:
                self._requests.start_async([batch.input_ids, batch.attention_mask], batch.rows)
            self._requests.wait_all()
        return done


class _Apart:
    """Callers side by side: a short question does not wait for a long one."""

    def __init__(self, graph: Any, streams: int) -> None:
        self._idle: SimpleQueue[Any] = SimpleQueue()
        for _ in range(streams):
            self._idle.put(graph.create_infer_request())

    def infer(self, batches: Iterable[Batch]) -> list[_Done]:
        request = self._idle.get()
        try:
            return [
                (batch.rows, request.infer([batch.input_ids, batch.attention_mask])[0].copy())
                for batch in batches
            ]
        finally:
            self._idle.put(request)


def _for_single_texts() -> dict[str, Any]:
    # On two cores a question of four words takes 8 ms beside one of 300 words, and 63 ms
    # where each has all cores in turn.
    return {"NUM_STREAMS": min(_MOST_STREAMS, os.cpu_count() or 1)}


def _import_openvino() -> Any:
    # OpenVINO reports imports and conversions to Google Analytics unless it finds this
    # package missing.
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
    try:
        import openvino
    except ImportError as error:
        raise ModelError("The openvino backend needs OpenVINO: pip install openvino") from error
    return openvino


def _checked_precision(openvino: Any, precision: Precision) -> Precision:
    """The precision to compute in.

    What this CPU would silently compute in another format is refused.
    """
    if precision is Precision.FLOAT32:
        return precision
    native = "BF16" in openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    if precision is Precision.AUTO:
        return Precision.BFLOAT16 if native else Precision.FLOAT32
    if precision is not Precision.BFLOAT16:
        raise ModelError(
            f"The openvino backend computes in float32 or bfloat16, not in {precision}."
        )
    if not native:
        raise ModelError("This CPU has no bfloat16 arithmetic; use float32.")
    return precision


def _compile(folder: Path, precision: Precision, threads: int | None, speed: dict[str, Any]) -> Any:
    openvino = _import_openvino()
    core = openvino.Core()
    settings: dict[str, Any] = {
        **speed,
        # Without this OpenVINO takes bfloat16 wherever the CPU has it, and vectors
        # depend on the machine.
        "INFERENCE_PRECISION_HINT": _HINTS[precision],
        # With it several processes on a machine are all pinned to the same cores.
        "ENABLE_CPU_PINNING": False,
    }
    if threads is not None:
        settings["INFERENCE_NUM_THREADS"] = threads
    try:
        return core.compile_model(core.read_model(folder / _GRAPH), "CPU", settings)
    except RuntimeError as error:
        raise DamagedArtifact(str(error)) from error


def _convert(files: ModelFiles, precision: Precision, folder: Path) -> None:
    from activekg_pipelines.embedding import conversion

    openvino = _import_openvino()
    model = conversion.load_for_conversion(files)
    module, example = conversion.embedding_module(model)
    with warnings.catch_warnings():
        # Tracing warns of branches on constants; the check below is what counts.
        warnings.simplefilter("ignore")
        graph = openvino.convert_model(module, example_input=example)
    openvino.save_model(graph, folder / _GRAPH, compress_to_fp16=False)
    compiled = _compile(folder, precision, None, _FOR_MANY_TEXTS)
    conversion.check_conversion(
        files,
        model,
        lambda input_ids, attention_mask: compiled([input_ids, attention_mask])[0],
        precision,
    )


def suits(config: EncoderConfig, has_gpu: Callable[[], bool] = has_gpu) -> bool:
    """Whether ``auto`` takes OpenVINO: for models it is checked for, on a CPU."""
    files = config.files
    return (
        (config.device == "cpu" or (config.device is None and not has_gpu()))
        and files.setting("config.json", "model_type") in _CONVERTIBLE
        and files.setting("config_sentence_transformers.json", "default_prompt_name") is None
        and (files.path / "tokenizer.json").is_file()
        and find_spec("openvino") is not None
    )


BACKEND: Final = Backend(
    "openvino", open=OpenVinoEncoder, version=local_encoder.version, suits=suits
)
