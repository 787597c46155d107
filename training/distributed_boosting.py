"""Boosts over several instances, each of which holds some of the rows: LightGBM's data-parallel trees.

LightGBM comes as a wheel (LIGHTGBM in requirements.txt). Its instances add up their histograms over sockets,
so that each grows the same trees. Where values are cut into bins is learned from one sample of all rows,
which every instance has: which rows are in it depends on their values alone, not on who holds them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dropforge.domain.errors import UnusableLibrary
from peers import Peers
from streamed_boosting import Batches

LIGHTGBM = "lightgbm==4.7.0"
"""The line of requirements.txt that a project trains on several instances with."""

SAMPLED_ROWS, SAMPLED_VALUES = 200_000, 20_000_000
"""Rows that bins are learned from, as many as LightGBM takes by default; fewer of wide tables."""

CONNECTING_MINUTES = 5

STOPPING_ROUNDS = 15

NAMES = {
    "learning_rate": "learning_rate",
    "max_leaf_nodes": "num_leaves",
    "min_samples_leaf": "min_data_in_leaf",
    "l2_regularization": "lambda_l2",
    "random_state": "seed",
}
"""LightGBM's name of each of scikit-learn's parameters; ``max_iter`` is the number of rounds."""

OBJECTIVES = {"binary": "binary", "multiclass": "multiclass", "regression": "regression"}

_MIX = np.uint64(0x9E3779B97F4A7C15)

Matrix = NDArray[np.float64]


def fit(
    task: str,
    rows: Batches,
    target: NDArray[Any],
    categorical: NDArray[np.bool_],
    settings: Mapping[str, Any],
    n_classes: int,
    stopping: tuple[Matrix, NDArray[Any]] | None,
    peers: Peers,
) -> str:
    """Boost on the rows of all hosts. Returns the trees as LightGBM writes them, the same on each host.

    Args:
        rows, target: this host's, class codes or float64 values.
        settings: scikit-learn's, by the names of NAMES, and ``max_iter``.
        stopping: the rows that stop it, on each host the same; None boosts ``max_iter`` rounds.

    Raises:
        UnusableLibrary: LightGBM isn't there.
    """
    lightgbm = library()
    settings = {"max_leaf_nodes": 31, "min_samples_leaf": 20, **settings}
    parameters = {
        **{NAMES[name]: value for name, value in settings.items() if name in NAMES},
        "objective": OBJECTIVES[task],
        **({"num_class": n_classes} if task == "multiclass" else {}),
        "max_bin": 255,
        # Rows of all hosts are binned alike, and their sums are the same in every run.
        "data_random_seed": settings.get("random_state", 0),
        "deterministic": True,
        "force_col_wise": True,
        "pre_partition": True,
        "verbosity": -1,
    }
    place, count = peers.share
    if count > 1:
        hosts = peers.ports()
        parameters |= {
            "tree_learner": "data",
            "machines": ",".join(f"{address}:{port}" for address, port in hosts),
            "local_listen_port": hosts[place][1],
            "num_machines": count,
            "time_out": CONNECTING_MINUTES,
        }
    with peers.explaining(lightgbm.basic.LightGBMError):
        return _boosted(lightgbm, parameters, rows, target, categorical, settings, stopping, peers)


def _boosted(
    lightgbm: Any,
    parameters: dict[str, Any],
    rows: Batches,
    target: NDArray[Any],
    categorical: NDArray[np.bool_],
    settings: Mapping[str, Any],
    stopping: tuple[Matrix, NDArray[Any]] | None,
    peers: Peers,
) -> str:
    sample = sampled(rows, peers)
    of_data = {
        name: parameters[name] for name in ("max_bin", "data_random_seed", "pre_partition", "verbosity")
    }
    of_data["min_data_in_leaf"] = parameters["min_data_in_leaf"]
    of_data["bin_construct_sample_cnt"] = max(len(sample), 1)
    whole = lightgbm.Dataset(
        sample,
        np.zeros(len(sample)),
        params=of_data,
        categorical_feature=np.flatnonzero(categorical).tolist(),
    ).construct()
    data = lightgbm.Dataset(_sequence(lightgbm, rows), target, reference=whole, params=of_data).construct()
    more: dict[str, Any] = {}
    if stopping is not None:
        more["valid_sets"] = [lightgbm.Dataset(*stopping, reference=whole, params=of_data)]
        more["callbacks"] = [lightgbm.early_stopping(STOPPING_ROUNDS, verbose=False)]
    # As soon as all are here: who waits for a host that isn't waits longer each time.
    peers.exchange(b"ready")
    booster = lightgbm.train(parameters, data, num_boost_round=int(settings["max_iter"]), **more)
    text = booster.model_to_string(num_iteration=booster.best_iteration if stopping is not None else -1)
    booster.free_network()
    # What follows the trees names this run's addresses and the number of threads.
    return str(text[: text.index("\nparameters:")]) + "\n"


def library() -> Any:
    """Return LightGBM. Raises UnusableLibrary where it isn't carried."""
    try:
        import lightgbm  # noqa: PLC0415 - is there where a project carries it
    except ImportError as error:
        raise UnusableLibrary(
            f"TrainingInstanceCount is above 1, and LightGBM isn't there. Add the line {LIGHTGBM} to "
            "training/requirements.txt and deploy again, or set TrainingInstanceCount to 1."
        ) from error
    return lightgbm


def sampled(rows: Batches, peers: Peers) -> Matrix:
    """Return about SAMPLED_ROWS rows of all hosts', float64 (n, n_columns), in an order of their own."""
    total = sum(peers.exchange_json(len(rows)))
    wanted = min(SAMPLED_ROWS, SAMPLED_VALUES // max(rows.shape[1], 1))
    bound = np.uint64(min(wanted / total, 1.0) * (2**64 - 2**12))
    parts = [np.empty((0, rows.shape[1]))]
    parts += [batch[_hashed(batch) <= bound] for batch in rows.batches()]
    matrix = np.concatenate(peers.exchange_array(np.concatenate(parts)))
    return np.ascontiguousarray(matrix[np.lexsort((*matrix.T, _hashed(matrix)))])


def _hashed(matrix: Matrix) -> NDArray[np.uint64]:
    """A number per row that equal rows share, whatever is next to them."""
    keys = np.zeros(len(matrix), dtype=np.uint64)
    for column in matrix.T:
        keys ^= (np.where(np.isnan(column), np.nan, column) + 0.0).view(np.uint64)
        keys = (keys + _MIX) * np.uint64(0xBF58476D1CE4E5B9)
        keys ^= keys >> np.uint64(31)
        keys *= np.uint64(0x94D049BB133111EB)
        keys ^= keys >> np.uint64(29)
    return keys


def _sequence(lightgbm: Any, rows: Batches) -> Any:
    """The rows as LightGBM reads them: once, in order, in pieces."""

    class Pieces(lightgbm.Sequence):
        batch_size = 1 << 14

        def __init__(self) -> None:
            self._take = _taking(rows)

        def __len__(self) -> int:
            return len(rows)

        def __getitem__(self, places: slice) -> Matrix:
            return self._take(places.stop - places.start)

    return Pieces()


def _taking(rows: Batches) -> Callable[[int], Matrix]:
    """Return what takes the next so many rows each time."""
    batches: Iterator[Matrix] = rows.batches()
    left = np.empty((0, rows.shape[1]))

    def take(count: int) -> Matrix:
        nonlocal left
        parts = [left]
        while (missing := count - sum(map(len, parts))) > 0:
            parts.append(next(batches))
        last = parts.pop()
        parts.append(last[: missing + len(last)] if missing < 0 else last)
        left = last[missing + len(last) :] if missing < 0 else last[:0]
        return np.concatenate(parts)

    return take
