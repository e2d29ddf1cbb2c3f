"""Data sets: shapes, splits, and files that cannot be used."""

from __future__ import annotations

import functools
import gzip
import hashlib
import http.server
import inspect
import struct
import sys
import threading
import types
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nas.data import Dataset, load
from nas.data._idx import KINDS, Source, load_idx
from profiles.errors import InputError, UnavailableError
from profiles.registry import find, names


def check(data: Dataset) -> None:
    for x, y in ((data.x_train, data.y_train), (data.x_val, data.y_val), (data.x_test, data.y_test)):
        assert x.dtype == np.float32 and len(x) == len(y) and x.shape[1:] == data.input_shape
        assert np.isfinite(x).all()
    assert len(data.x_train) and len(data.x_val)


def test_digits_are_split_once_and_for_all() -> None:
    data, again = load("digits"), load("digits")
    check(data)
    assert (data.input_shape, data.outputs, data.task) == ((1, 8, 8), 10, "classification")
    assert len(data.x_train) + len(data.x_val) + len(data.x_test) == 1797
    assert (data.x_val == again.x_val).all()
    parts = [{x.tobytes() for x in part} for part in (data.x_train, data.x_val, data.x_test)]
    assert not parts[0] & parts[1] and not parts[0] & parts[2] and not parts[1] & parts[2]
    for labels in (data.y_train, data.y_val, data.y_test):
        assert set(labels) == set(range(10))


def idx_files(count: int) -> tuple[bytes, bytes]:
    """Generated images and labels, as IDX files hold them."""
    rng = np.random.default_rng(0)
    images = struct.pack(">IIII", 2051, count, 28, 28) + rng.integers(0, 256, count * 784, np.uint8).tobytes()
    labels = struct.pack(">II", 2049, count) + rng.integers(0, 10, count, np.uint8).tobytes()
    return images, labels


def write_idx(folder: Path, count: int) -> None:
    images, labels = idx_files(count)
    (folder / "t10k-images-idx3-ubyte.gz").write_bytes(gzip.compress(images))
    (folder / "t10k-labels-idx1-ubyte").write_bytes(labels)


def test_the_test_files_alone_are_split_in_file_order(tmp_path: Path, root: Path) -> None:
    """MNIST's own 10,000 images where they lie beside the checkout, else 200 generated ones."""
    real = root.parent / "shared" / "data" / "mnist"
    if not real.is_dir():
        write_idx(tmp_path, 200)
    data = load("mnist", dir=str(real if real.is_dir() else tmp_path), download=False)
    check(data)
    assert data.input_shape == (1, 28, 28) and len(data.x_test) == 0
    assert len(data.x_train) == 4 * len(data.x_val)


@pytest.mark.parametrize(
    "damage",
    [
        lambda images: images[: len(images) // 2],
        lambda images: struct.pack(">IIII", 2051, 2**31, 28, 28) + images[16:],
        lambda images: b"<html>404</html>",
    ],
    ids=["truncated", "absurd header", "another file"],
)
def test_a_damaged_file_is_named(tmp_path: Path, damage: object) -> None:
    write_idx(tmp_path, 50)
    images = gzip.decompress((tmp_path / "t10k-images-idx3-ubyte.gz").read_bytes())
    (tmp_path / "t10k-images-idx3-ubyte.gz").write_bytes(gzip.compress(damage(images)))  # type: ignore[operator]
    with pytest.raises(InputError, match="t10k-images-idx3-ubyte"):
        load("mnist", dir=str(tmp_path), download=False)


def test_missing_files_are_not_fetched_where_that_is_forbidden(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="download"):
        load("fashion_mnist", dir=str(tmp_path), download=False)


def test_an_npz_of_ones_own(tmp_path: Path) -> None:
    x, y = np.zeros((6, 3), np.float32), np.arange(6) % 2
    np.savez(tmp_path / "own.npz", x_train=x, y_train=y, x_val=x[:2], y_val=y[:2])
    data = load(str(tmp_path / "own.npz"))
    check(data)
    assert (data.input_shape, data.outputs, data.task, len(data.x_test)) == ((3,), 2, "classification", 0)
    np.savez(tmp_path / "short.npz", x_train=x, y_train=y[:3], x_val=x[:2], y_val=y[:2])
    with pytest.raises(InputError, match=r"short\.npz"):
        load(str(tmp_path / "short.npz"))
    np.savez(tmp_path / "pickled.npz", x_train=np.array([{}], object), y_train=y, x_val=x, y_val=y)
    with pytest.raises(InputError, match=r"pickled\.npz"):
        load(str(tmp_path / "pickled.npz"))


def test_unknown_names_and_options_are_named() -> None:
    with pytest.raises(InputError, match="digits, fashion_mnist, mnist"):
        load("digitz")
    with pytest.raises(InputError, match=r"data\.colour"):
        load("digits", colour="red")


def test_an_npz_to_regress(tmp_path: Path) -> None:
    x, y = np.zeros((6, 1, 4, 4)), np.linspace(0, 1, 12).reshape(6, 2)
    np.savez(tmp_path / "own.npz", x_train=x, y_train=y, x_val=x, y_val=y, x_test=x[:1], y_test=y[:1])
    data = load("npz", file=str(tmp_path / "own.npz"))
    check(data)
    assert (data.task, data.outputs, data.y_test.shape, data.y_train.dtype) == ("regression", 2, (1, 2), np.float32)
    np.savez(tmp_path / "flat.npz", x_train=x, y_train=y[:, 0], x_val=x, y_val=y[:, 0])
    assert load(str(tmp_path / "flat.npz")).y_val.shape == (6, 1)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"x_val": np.zeros((2, 4))}, r"x_val: given \(2, 4\); accepted: \(n, \*\(3,\)\), as x_train"),
        ({"x_train": np.full((6, 3), np.nan)}, "x_train: given NaN or infinity"),
        ({"y_val": np.array([0, -1])}, "y_val: given labels from -1 to 0; .* from 0 to 5"),
        ({"y_train": np.arange(6) > 2}, r"y_train: given bool \(6,\)"),
        ({"y_val": np.array([0.0, np.nan])}, "y_val: given float64"),
        ({"y_val": np.array([0.0, 1.0])}, "y_val: given float64"),
        ({"x_train": np.array(["a"] * 6)}, "x_train: given <U1"),
        ({"x_test": np.zeros((2, 3))}, "given x_test alone"),
    ],
)
def test_an_npz_that_cannot_be_used_names_the_array(tmp_path: Path, changes: dict[str, Any], words: str) -> None:
    arrays = {"x_train": np.zeros((6, 3)), "y_train": np.arange(6), "x_val": np.zeros((2, 3)), "y_val": np.arange(2)}
    np.savez(tmp_path / "own.npz", **(arrays | changes))
    with pytest.raises(InputError, match=words):
        load(str(tmp_path / "own.npz"))


def test_all_four_files_are_fetched_once_from_a_mirror_that_has_the_right_bytes(tmp_path: Path) -> None:
    """The first mirror is gone, the second lies; afterwards no mirror is needed."""
    served, home = tmp_path / "served", tmp_path / "home"
    for folder in ("right", "wrong"):
        (served / folder).mkdir(parents=True)
    sums = {}
    for part, count in (("train", 60), ("t10k", 10)):
        for kind, content in zip(KINDS, idx_files(count), strict=True):
            packed = gzip.compress(content)
            sums[f"{part}-{kind}"] = hashlib.sha256(packed).hexdigest()
            (served / "right" / f"{part}-{kind}.gz").write_bytes(packed)
            (served / "wrong" / f"{part}-{kind}.gz").write_bytes(packed + b"!")
    handler = functools.partial(QuietHandler, directory=str(served))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        base = f"http://127.0.0.1:{server.server_address[1]}"
        mirrors = [f"{base}/{name}" for name in ("gone", "wrong", "right")]
        data = load_idx(Source(name="own", mirrors=mirrors, sha256=sums), str(home), download=True)
        bad = Source(name="own", mirrors=mirrors[:2], sha256=sums)
        with pytest.raises(UnavailableError, match=r"no mirror of .* has: .*404.*wrong checksum"):
            load_idx(bad, str(tmp_path / "elsewhere"), download=True)
        server.shutdown()
    check(data)
    assert (len(data.x_train), len(data.x_val), len(data.x_test)) == (50, 10, 10)
    again = load_idx(Source(name="own", mirrors=[], sha256={}), str(home), download=False)
    assert (again.x_train == data.x_train).all()
    assert not (tmp_path / "elsewhere").exists()


def test_labels_that_do_not_belong_to_the_images_are_refused(tmp_path: Path) -> None:
    write_idx(tmp_path, 50)
    (tmp_path / "t10k-labels-idx1-ubyte").write_bytes(idx_files(40)[1])
    with pytest.raises(InputError, match="50 images, but 40 labels"):
        load("mnist", dir=str(tmp_path), download=False)


class QuietHandler(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


@pytest.mark.parametrize("name", [name for name in names("nas.data") if name not in ("npz", "shape")])
def test_every_data_set_has_the_form_and_is_the_same_each_time(name: str, tmp_path: Path) -> None:
    """But those that are nothing without options: ``npz`` and ``shape`` have tests of their own."""
    options: dict[str, Any] = {}
    if "download" in inspect.signature(find("nas.data", name).load).parameters:
        write_idx(tmp_path, 200)
        options = {"dir": str(tmp_path), "download": False}
    data, again = load(name, **options), load(name, **options)
    check(data)
    for labels in (data.y_train, data.y_val, data.y_test):
        if data.task == "classification":
            assert labels.dtype == np.int64 and labels.ndim == 1
            assert set(labels) <= set(range(data.outputs))
        else:
            assert labels.dtype == np.float32 and labels.shape[1:] == (data.outputs,)
    assert (data.x_train == again.x_train).all() and (data.y_val == again.y_val).all()


X, LABELS = np.zeros((4, 3)), np.arange(4, dtype=np.int32)


def loaded(monkeypatch: pytest.MonkeyPatch, folder: Path, **changes: Any) -> Dataset:
    """What ``load`` makes of a function of one's own, ``own_sets:made``."""
    arrays = {"x_train": X, "y_train": LABELS, "x_val": X[:2], "y_val": LABELS[:2], "x_test": None, "y_test": None}
    made: Any = arrays | {"task": "classification", "outputs": 4} | changes
    module = types.ModuleType("own_sets")
    module.made = lambda: Dataset(**made)  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "own_sets", module)
    return load("own_sets:made")


def test_what_a_function_returns_is_brought_into_one_form(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = loaded(monkeypatch, tmp_path, x_train=np.arange(12, dtype=np.uint8).reshape(4, 3)[::-1])
    check(data)
    assert data.x_train.tolist() == [[9, 10, 11], [6, 7, 8], [3, 4, 5], [0, 1, 2]]
    assert data.y_train.dtype == np.int64 and data.y_train.tolist() == [0, 1, 2, 3]
    assert data.x_test.shape == (0, 3) and data.y_test.shape == (0,)
    one = {"task": "regression", "outputs": np.int64(1), "x_test": [[1, 2, 3]], "y_test": [7]}
    data = loaded(monkeypatch, tmp_path, **one, y_train=np.array([1.0, 2.0, 3.0, 4.0]), y_val=np.array([[5.0], [6.0]]))
    check(data)
    assert data.y_train.dtype == np.float32 and data.y_train.tolist() == [[1], [2], [3], [4]]
    assert (data.y_val.tolist(), data.y_test.tolist(), data.outputs) == ([[5], [6]], [[7]], 1)


REGRESSION = {"task": "regression", "y_train": np.zeros((4, 2)), "y_val": np.zeros((2, 2)), "outputs": 2}


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"y_train": LABELS + 1}, r"y_train: given labels from 1 to 4; accepted: .* from 0 to 3"),
        ({"y_train": LABELS[:, None]}, r"y_train: given int32 \(4, 1\); accepted: labels"),
        ({"y_val": np.zeros(2)}, r"y_val: given float64 \(2,\); accepted: labels"),
        (REGRESSION | {"y_train": np.zeros(4)}, r"y_train: given float64 \(4,\); accepted: numbers \(n, 2\)"),
        (REGRESSION | {"y_val": np.full((2, 2), 1e300)}, "y_val: given NaN or infinity; .* also as float32"),
        (REGRESSION | {"outputs": 3}, r"y_train: given float64 \(4, 2\); accepted: numbers \(n, 3\)"),
        ({"x_train": np.full((4, 3), np.inf)}, "x_train: given NaN or infinity"),
        ({"x_train": np.zeros(4)}, r"x_train: given \(4,\); accepted: \(n, \.\.\.\) with at least one more axis"),
        ({"x_train": np.zeros((4, 3), complex)}, "x_train: given complex128"),
        ({"x_train": [[1], [2, 3]]}, "x_train: given list; accepted: an array of numbers"),
        ({"x_val": None}, "x_val: given object"),
        ({"x_val": X[:, :2], "y_val": LABELS}, r"x_val: given \(4, 2\); accepted: \(n, \*\(3,\)\), as x_train"),
        ({"x_val": X[:0], "y_val": LABELS[:0]}, "x_val: given no rows"),
        ({"y_train": LABELS[:3]}, "x_train and y_train: given 4 and 3 rows"),
        ({"y_test": LABELS}, "x_test and y_test: given 0 and 4 rows"),
        ({"outputs": 0}, "outputs: given 0"),
        ({"task": "segmentation"}, "task: given 'segmentation'; accepted: classification or regression"),
    ],
)
def test_what_a_function_returns_and_cannot_be_used_names_set_and_array(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, changes: dict[str, Any], words: str
) -> None:
    with pytest.raises(InputError, match=f"^data: own_sets:made: {words}") as caught:
        loaded(monkeypatch, tmp_path, **changes)
    assert "\n" not in str(caught.value)
