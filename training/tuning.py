"""Searches hyperparameters on the training rows, inside the job; validation and hold-out rows see none of it.

``search_space(schema, hyperparameters)`` beside `build_model` says where: by name ``(low, high)`` or ``(low,
high, "log")``, whole numbers where both bounds are, or a tuple of texts. Optuna's TPE proposes (Bergstra et
al., NeurIPS 2011), cross-validation measures, and what falls behind the median after a fold is dropped.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

import inference
import own_libraries
from dropforge.domain.contract import Contract
from dropforge.domain.errors import InvalidHyperparameters, TuningFailed
from dropforge.domain.hyperparameters import DECLARATION, problems_of
from dropforge.domain.metric_registry import Metric
from dropforge.domain.metrics import Scored
from fitting import takes, takes_validation
from raw_columns import rows_of
from settings import Settings
from splits import Rows

FOLDS = 5
ROWS = 50_000
"""Training rows that trials are measured on; what they find is then fitted on all."""

STARTUP_TRIALS = 8
"""Trials at random before TPE proposes: a constant, so that fewer trials are the first of more."""

OPTUNA = "optuna==5.0.0"
"""The line of requirements.txt that a project tunes with."""

Space = Mapping[str, Sequence[Any]]


@dataclass(frozen=True)
class Measured:
    """What is measured on: training rows, dealt to folds."""

    contract: Contract
    metric: Metric
    table: Any
    target: NDArray[Any]
    groups: NDArray[np.int64] | None
    fold: NDArray[np.int64]

    @property
    def folds(self) -> int:
        return int(self.fold.max()) + 1

    def values(self, build: Callable[[], Any]) -> Iterator[float]:
        """Yield the metric of each fold in turn, NaN where it isn't defined, of estimators built anew."""
        for held_out in range(self.folds):
            estimator = build()
            is_held, fitted = self.fold == held_out, self.fold != held_out
            more: dict[str, Any] = {}
            if takes_validation(estimator):
                # Rows that stop early can't be those that measure: the next fold's do.
                stops = self.fold == (held_out + 1) % self.folds
                fitted &= ~stops
                more = {"X_val": rows_of(self.table, stops), "y_val": self.target[stops]}
            if self.groups is not None and takes(estimator, "groups"):
                more["groups"] = np.unique(self.groups[fitted], return_inverse=True)[1]
            estimator = estimator.fit(rows_of(self.table, fitted), self.target[fitted], **more)
            scores = inference.predictor_of(estimator, self.contract)(rows_of(self.table, is_held))
            yield float(Scored.of(self.contract, self.target[is_held], scores).value(self.metric.name))


@dataclass
class Search:
    """The trials so far, and what goes into the report."""

    metric: Metric
    asked: int
    fixed: Mapping[str, Any]
    default: float | None
    trials: list[dict[str, Any]] = field(default_factory=list)
    stopped_by: str = "trials"
    seconds: float = 0.0
    importance: dict[str, float] = field(default_factory=dict)

    @property
    def best(self) -> dict[str, Any] | None:
        """The first of the best trials, if it beats what no trial has chosen; else None."""
        whole = [each for each in self.trials if each["state"] == "complete"]
        best = None
        for each in whole:
            over = self.default if best is None else best["value"]
            if over is None or self.metric.gain(each["value"], over) > 0:
                best = each
        return best

    def to_dict(self) -> dict[str, Any]:
        """Return the entry ``tuning`` of training_report.json."""
        best = self.best
        return {
            "metric": self.metric.name,
            "greater_is_better": self.metric.greater_is_better,
            "asked": self.asked,
            "done": len(self.trials),
            "stopped_by": self.stopped_by,
            "seconds": round(self.seconds, 3),
            "default": self.default,
            "best": None if best is None else best["number"],
            "parameters": {} if best is None else {**self.fixed, **best["parameters"]},
            "importance": self.importance,
            "trials": self.trials,
        }


def tuned(
    contract: Contract,
    settings: Settings,
    metric: Metric,
    table: Any,
    target: NDArray[Any],
    groups: NDArray[np.int64] | None,
    clock: Callable[[], float] = time.monotonic,
) -> tuple[dict[str, Any], dict[str, Any] | None]:
    """Return what `build_model` gets, and the search for the report; None where none is asked for.

    The same rows, settings and number of trials give the same trials. What is set by hand is not searched.
    The result is the best trial, or what stood before where none is better.

    Args:
        table: `Rows` or a DataFrame, the training rows first.
        target, groups: of the training rows; of groups more may follow.

    Raises:
        InvalidHyperparameters: the space is none, or holds what ``model.py`` doesn't take.
        TuningFailed: optuna isn't there, or no trial could be fitted.
    """
    known = {**settings.model, "metric": metric.name, "seed": settings.seed}
    if not settings.tuning_trials:
        return known, None
    import model  # noqa: PLC0415 - the user's file

    fixed, space = space_of(model, contract, settings.model)
    minutes = settings.tuning_minutes
    until = clock() + minutes * 60 if minutes else float("inf")
    rows = _rows(len(target), settings.seed)
    target = target[rows] if target.dtype.kind == "f" else target[rows].astype(np.int64)
    groups = None if groups is None else groups[rows]
    chosen = table.take(rows) if isinstance(table, Rows) else rows_of(table, rows)
    fold = _dealt(target, groups, settings.seed)
    measured = Measured(contract, metric, chosen, target, groups, fold)
    default = _mean(list(measured.values(lambda: model.build_model(contract, known))))
    print(f"tuning: {metric.name} {default:.6g} before", flush=True)
    search = Search(metric, settings.tuning_trials, fixed, default if np.isfinite(default) else None)
    if space:
        loaded, began = own_libraries.loaded_now(), clock()
        optuna = _optuna()
        brought = own_libraries.loaded_now() - loaded
        _Trials(search, measured, until, clock).run(
            optuna,
            lambda parameters: model.build_model(contract, {**known, **fixed, **parameters}),
            space,
            settings.seed,
        )
        search.seconds = clock() - began
        # What only chose the hyperparameters is not carried with the model.
        own_libraries.forget(brought)
    else:
        search.stopped_by = "nothing to search"
    best = search.best
    return ({**known, **fixed, **best["parameters"]} if best else known), search.to_dict()


def space_of(
    model: ModuleType, contract: Contract, given: Mapping[str, Any]
) -> tuple[dict[str, Any], dict[str, Sequence[Any]]]:
    """Return what ``search_space`` fixes (one text to choose from) and what is to be searched.

    Raises:
        InvalidHyperparameters: there is none, it is malformed, or it holds what ``HYPERPARAMETERS`` doesn't.
    """
    find = getattr(model, "search_space", None)
    if not callable(find):
        raise InvalidHyperparameters(
            "TuningTrials is set, and model.py has no search_space(schema, hyperparameters). Write one, or "
            "set TuningTrials to 0."
        )
    space = {
        name: tuple(each) for name, each in dict(find(contract, dict(given))).items() if name not in given
    }
    problems = [f"{name} is {each!r}" for name, each in space.items() if not _is_well_formed(each)]
    if problems:
        raise InvalidHyperparameters(
            f'search_space: {"; ".join(problems)}; it must be (low, high), (low, high, "log") or texts.'
        )
    declared = getattr(model, DECLARATION, None)
    if declared is not None:
        # Numbers by both their ends, texts each.
        ends = [(name, one) for name, each in space.items() for one in each if one != "log"]
        problems = [problem for name, one in ends for problem in problems_of({name: one}, declared)]
        problems = list(dict.fromkeys(problems))
    if problems:
        raise InvalidHyperparameters(f"search_space: {'; '.join(problems)}.")
    fixed = {name: each[0] for name, each in space.items() if len(each) == 1}
    return fixed, {name: each for name, each in space.items() if name not in fixed}


def _is_well_formed(each: tuple[Any, ...]) -> bool:
    if each and all(isinstance(one, str) for one in each):
        return True
    if len(each) not in (2, 3) or (len(each) == 3 and each[2] != "log"):
        return False
    low, high = each[:2]
    numbers = all(isinstance(one, int | float) and not isinstance(one, bool) for one in (low, high))
    return bool(numbers and low < high and (len(each) == 2 or low > 0))


class _Trials:
    """Runs trials one after the other, each on the folds in turn."""

    def __init__(self, search: Search, measured: Measured, until: float, clock: Callable[[], float]) -> None:
        self.search, self.measured, self.until, self.clock = search, measured, until, clock

    def run(self, optuna: Any, build: Callable[[Mapping[str, Any]], Any], space: Space, seed: int) -> None:
        """Run as many as are asked for, or as there is time for."""
        study = optuna.create_study(
            direction="maximize" if self.search.metric.greater_is_better else "minimize",
            sampler=optuna.samplers.TPESampler(seed=seed, n_startup_trials=STARTUP_TRIALS),
            pruner=optuna.pruners.MedianPruner(n_startup_trials=STARTUP_TRIALS),
        )
        distributions = {name: _distribution(optuna, each) for name, each in space.items()}
        states = {"pruned": optuna.trial.TrialState.PRUNED, "failed": optuna.trial.TrialState.FAIL}
        for _ in range(self.search.asked):
            trial = study.ask(distributions)
            done = None if self.clock() >= self.until else self._trial(trial, build)
            if done is None:
                # Not one of those done: a replay, which has no limit of time, doesn't run it either.
                self.search.stopped_by = "minutes"
                break
            is_complete = done["state"] == "complete"
            study.tell(trial, done["value"] if is_complete else None, state=states.get(done["state"]))
            self.search.trials.append(done)
            value = "none" if done["value"] is None else f"{done['value']:.6g}"
            print(f"tuning: trial {trial.number} {done['state']}, {value}, {trial.params}", flush=True)
        if self.search.trials and all(each["state"] == "failed" for each in self.search.trials):
            raise TuningFailed(f"no trial could be fitted; the first: {self.search.trials[0]['error']}")
        self.search.importance = _importance(optuna, study)

    def _trial(self, trial: Any, build: Callable[[Mapping[str, Any]], Any]) -> dict[str, Any] | None:
        began, state, error = self.clock(), "complete", "the metric is not defined"
        folds: list[float] = []
        try:
            for value in self.measured.values(lambda: build(trial.params)):
                folds.append(value)
                if len(folds) == self.measured.folds:
                    break
                if self.clock() >= self.until:
                    return None
                if np.isfinite(so_far := _mean(folds)):
                    trial.report(so_far, len(folds))
                    if trial.should_prune():
                        state = "pruned"
                        break
        except InvalidHyperparameters:
            raise
        except Exception as problem:  # one choice that can't be fitted isn't the end
            state, error = "failed", f"{type(problem).__name__}: {problem}"[:300]
        mean = _mean(folds)
        if state == "complete" and not np.isfinite(mean):
            state = "failed"
        return {
            "number": trial.number,
            "parameters": dict(trial.params),
            "value": mean if np.isfinite(mean) else None,
            "state": state,
            "folds": folds,
            "seconds": round(self.clock() - began, 3),
            **({"error": error} if state == "failed" else {}),
        }


def _optuna() -> Any:
    try:
        import optuna  # noqa: PLC0415 - is there where a project carries it
    except ImportError as error:
        raise TuningFailed(
            f"TuningTrials is set, and optuna isn't there. Add the line {OPTUNA} to "
            "training/requirements.txt and deploy again, or set TuningTrials to 0."
        ) from error
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    return optuna


def _distribution(optuna: Any, each: Sequence[Any]) -> Any:
    found = optuna.distributions
    if isinstance(each[0], str):
        return found.CategoricalDistribution(list(each))
    low, high, log = each[0], each[1], len(each) == 3
    if isinstance(low, int) and isinstance(high, int):
        return found.IntDistribution(low, high, log=log)
    return found.FloatDistribution(float(low), float(high), log=log)


def _importance(optuna: Any, study: Any) -> dict[str, float]:
    """Return each hyperparameter's share, by PED-ANOVA (Watanabe et al., IJCAI 2023); none of few."""
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)  # of too few trials it warns, and calls all equal
        try:
            evaluator = optuna.importance.PedAnovaImportanceEvaluator()
            found = optuna.importance.get_param_importances(study, evaluator=evaluator)
        except (RuntimeError, ValueError, UserWarning):  # or fewer than two different values
            return {}
    return {name: float(share) for name, share in found.items() if np.isfinite(share)}


def _rows(n: int, seed: int) -> NDArray[np.intp]:
    if n <= ROWS:
        return np.arange(n)
    return np.sort(np.random.default_rng(seed).permutation(n)[:ROWS])


def _dealt(target: NDArray[Any], groups: NDArray[np.int64] | None, seed: int) -> NDArray[np.int64]:
    """Deal rows to folds, int64 (n,): whole groups, or of each class its share."""
    random = np.random.default_rng(seed)
    if groups is not None:
        places = np.unique(groups, return_inverse=True)[1]
        return (random.permutation(int(places.max()) + 1) % FOLDS)[places]
    order = random.permutation(len(target))
    if target.dtype.kind != "f":
        order = order[np.argsort(target[order], kind="stable")]
    fold = np.empty(len(target), dtype=np.int64)
    fold[order] = np.arange(len(target)) % FOLDS
    return fold


def _mean(folds: Sequence[float]) -> float:
    known = [each for each in folds if np.isfinite(each)]
    return float(np.mean(known)) if known else float("nan")
