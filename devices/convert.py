"""The file that a target of another precision runs: fp16, or int8 by static quantisation, by onnxruntime's own tools.

fp16    weights and arithmetic; inputs and outputs stay float32
int8    QDQ: weights int8 per channel, activations uint8 with the least and greatest value seen in calibration. Layers
        that multiply (Conv, Gemm, MatMul) and what passes their values on; sums, LayerNorm and softmax stay float32,
        since one scale for the whole residual stream of a transformer costs it its accuracy

A conversion is computed once: the file's name in the cache holds the digest of all that it depends on. The same bytes
come out each time. Not covered: models above 2 GB, quantisation-aware training. On x86 without VNNI, ONNX Runtime's
int8 products may saturate: the parity check and the accuracy of a study say so.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import importlib.metadata
import itertools
import logging
import tempfile
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from devices import inputs, onnxfile
from devices.depot import cache_folder
from devices.engines import PROGRAM
from devices.inputs import Arrays, Input
from profiles import registry
from profiles.errors import InputError, MeasurementError
from profiles.files import write_bytes
from profiles.records import Target, digest_of

RANDOM_CALIBRATION = "random_calibration"  # the flag of a model whose activation ranges come from noise
RANDOM_SAMPLES = 16

_QUANTISING = ("QuantizeLinear", "DynamicQuantizeLinear", "QLinearConv", "QLinearMatMul")
_QUANTISED = ["AveragePool", "Clip", "Conv", "ConvTranspose", "Flatten", "Gemm", "MatMul", "MaxPool", "Pad", "Relu"]
_QUANTISED += ["Reshape", "Squeeze", "Transpose", "Unsqueeze"]

_PER_CHANNEL_OPSET = 13  # the first with an axis to quantise along
_WARNING, _FATAL = 2, 4  # of ONNX Runtime's log; the first is its default

Samples = Mapping[str, npt.NDArray[Any]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Converted:
    """``flags`` go into the record of every measurement of ``model``."""

    model: Path
    flags: tuple[str, ...] = ()


def convert(
    model: Path,
    precision: str,
    *,
    calibration: Samples | Path | None = None,
    shapes: Mapping[str, Sequence[int]] | None = None,
    symmetric: bool = False,
    folder: Path | None = None,
) -> Converted:
    """``model`` (fp32 ONNX) in ``precision``; "fp32" is the file itself, and so is one that is quantised already.

    ``calibration``: for int8, samples by input name, along the first axis, or an .npz file of them; without it
    ``RANDOM_SAMPLES`` random ones of ``shapes``, which the flag says. ``symmetric``: int8 activations around 0, the
    only ones that TensorRT takes. ``folder``: default is hwnas' cache.

    Raises InputError on a model or calibration that cannot be used, MeasurementError where the conversion fails.
    """
    if precision == "fp32":
        return Converted(model=model)
    if precision not in ("fp16", "int8"):
        raise InputError(f"precision: given {precision!r}; accepted: fp32, fp16, int8")
    if precision == precision_of(model):
        return Converted(model=model)
    known = _inputs(model)
    feeds, flags = _calibration(known, calibration, shapes or {}) if precision == "int8" else ([], ())
    path = (folder or cache_folder() / "converted") / f"{_key(model, precision, feeds, symmetric)}-{precision}.onnx"
    if not path.is_file():
        try:
            with _silent():
                data = _to_fp16(model) if precision == "fp16" else _to_int8(model, feeds, symmetric)
        except Exception as error:  # the tools' errors share no base
            reason = " ".join(str(error).split())[:300]
            text = f"{model}: the conversion to {precision} failed: {type(error).__name__}: {reason}"
            raise MeasurementError(text) from error
        write_bytes(path, data)
    return Converted(model=path, flags=flags)


def precision_of(model: Path) -> str:
    """Of an ONNX file as it is: "int8" where it quantises, "fp16" where it holds weights of that type, else "fp32".

    Raises InputError where it is no model.
    """
    return _looked_at(model)[0]


def input_names(model: Path) -> frozenset[str]:
    """Of an ONNX file. Raises InputError where it is none."""
    return _looked_at(model)[1]


def own_precision(model: Path) -> str | None:
    """Of a file that is quantised or halved already, which its output is judged by; ``None``: the target's. What is no
    model has none: whoever measures it says so.
    """
    try:
        found = "fp32" if model.suffix == PROGRAM else precision_of(model)
    except InputError:
        return None
    return None if found == "fp32" else found


def _looked_at(model: Path) -> tuple[str, frozenset[str]]:
    onnxfile.external_files(model)
    now = model.stat()
    return _read(model, now.st_ino, now.st_mtime_ns, now.st_size)


@functools.lru_cache(maxsize=1024)
def _read(model: Path, inode: int, mtime_ns: int, size: int) -> tuple[str, frozenset[str]]:
    """Precision and inputs; read once for each state of the file: it is asked for whenever a candidate is measured."""
    import onnx

    try:
        graph = onnx.load(model, load_external_data=False).graph
    except Exception as error:  # protobuf's own
        raise InputError(f"{model}: not a readable ONNX file: {error}") from None
    names = frozenset(one.name for one in graph.input) - {one.name for one in graph.initializer}  # both, before IR 4
    if any(node.op_type in _QUANTISING for node in graph.node):
        return "int8", names
    halved = any(one.data_type == onnx.TensorProto.FLOAT16 for one in graph.initializer)
    return "fp16" if halved else "fp32", names


def _to_fp16(model: Path) -> bytes:
    import onnx
    from onnxruntime.transformers.float16 import convert_float_to_float16

    converted = convert_float_to_float16(onnx.load(model), keep_io_types=True)
    data: bytes = converted.SerializeToString(deterministic=True)
    return data


def _to_int8(model: Path, feeds: Sequence[Arrays], symmetric: bool) -> bytes:
    import onnx
    import onnx.version_converter
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    class Reader(CalibrationDataReader):  # type: ignore[misc]  # the tool's own base, without types
        def __init__(self) -> None:
            self._rest = iter(feeds)

        def get_next(self) -> Arrays | None:
            return next(self._rest, None)

    with tempfile.TemporaryDirectory(prefix="hwnas-int8-") as scratch:
        whole, prepared, quantised = (Path(scratch) / f"{name}.onnx" for name in ("whole", "prepared", "int8"))
        # As a file with its weights: what is given a model in memory loses the initialisers that say axes and shapes.
        loaded = onnx.load(model)
        if _opset(loaded) < _PER_CHANNEL_OPSET:
            loaded = onnx.version_converter.convert_version(loaded, _PER_CHANNEL_OPSET)
        onnx.save(loaded, whole)
        quant_pre_process(whole, prepared, skip_symbolic_shape=True)
        quantize_static(
            prepared,
            quantised,
            Reader(),
            quant_format=QuantFormat.QDQ,
            op_types_to_quantize=_QUANTISED,
            per_channel=True,
            activation_type=QuantType.QInt8 if symmetric else QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            extra_options={"ActivationSymmetric": True} if symmetric else {},
        )
        return quantised.read_bytes()


def _opset(model: Any) -> int:
    """Of ONNX's own operators."""
    return max((one.version for one in model.opset_import if one.domain in ("", "ai.onnx")), default=1)


def _calibration(
    known: Sequence[Input], given: Samples | Path | None, shapes: Mapping[str, Sequence[int]]
) -> tuple[list[Arrays], tuple[str, ...]]:
    """One set of inputs for each run of the calibration, and flags."""
    if given is None:
        fitting = inputs.shapes_of(known, 1, shapes)
        return [inputs.random_inputs(known, fitting, seed) for seed in range(RANDOM_SAMPLES)], (RANDOM_CALIBRATION,)
    where = str(given) if isinstance(given, Path) else "calibration"
    arrays = inputs.read_npz(given, _free(known)) if isinstance(given, Path) else dict(given)
    arrays = inputs.check(arrays, _free(known), where)
    sizes = {one.name: one.dims[0] or 1 for one in known if one.dims and isinstance(one.dims[0], int)}
    open_ones = [one for one in known if one.dims and isinstance(one.dims[0], str)]
    sizes |= dict.fromkeys(inputs.sample_names(open_ones, arrays), 1)
    counts = {name: len(arrays[name]) // size for name, size in sizes.items()}
    for name, count in counts.items():
        if count == 0:
            least = f"at least {sizes[name]}, along the first axis of {name}"
            raise InputError(f"{where}: no samples to calibrate with; accepted: {least}")
    sampled = {name: sizes[name] for name, count in counts.items() if count > 1}  # one sample is for all runs
    count = min((counts[name] for name in sampled), default=1)
    return [
        arrays | {name: arrays[name][start * size : (start + 1) * size] for name, size in sampled.items()}
        for start in range(count)
    ], ()


def _free(known: Sequence[Input]) -> list[Input]:
    """The same inputs with any number of samples; a number has none."""
    return [dataclasses.replace(one, dims=("samples", *one.dims[1:])) if one.dims else one for one in known]


def _inputs(model: Path) -> Sequence[Input]:
    engine = registry.find("devices.engines", "onnxruntime")
    loaded: Sequence[Input] = engine.load(model, Target(name="convert", device="local"), plain=True).inputs
    return loaded


def _key(model: Path, precision: str, feeds: Sequence[Arrays], symmetric: bool) -> str:
    whole = hashlib.sha256()
    for name, array in itertools.chain.from_iterable(sorted(one.items()) for one in feeds):
        whole.update(f"{name} {array.dtype} {array.shape} ".encode())
        whole.update(np.ascontiguousarray(array).tobytes())
    versions = [importlib.metadata.version("onnx"), _onnxruntime_version()]
    source = hashlib.sha256(Path(__file__).read_bytes()).hexdigest()
    return digest_of([onnxfile.digest(model), precision, symmetric, whole.hexdigest(), versions, source])[:24]


def _onnxruntime_version() -> str:
    import onnxruntime

    return str(onnxruntime.__version__)


@contextmanager
def _silent() -> Iterator[None]:
    """The tools advise on the root logger, which would also set it up, and ONNX Runtime on stderr; nothing of that on
    the user's terminal."""
    import onnxruntime

    root, handler, level = logging.getLogger(), logging.NullHandler(), logging.root.manager.disable
    root.addHandler(handler)
    logging.disable(logging.WARNING)
    onnxruntime.set_default_logger_severity(_FATAL)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        onnxruntime.set_default_logger_severity(_WARNING)
        logging.disable(level)
        root.removeHandler(handler)
