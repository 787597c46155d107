"""Every error that dropforge raises on purpose.

The class name is a contract: Lambda reports it as ``errorType``, the state machines' ``Retry`` and
``Catch`` match on it, and the runbook is indexed by it. Renaming a class is a breaking change; a test
compares the names used in ``statemachine/`` with this module.
"""

from __future__ import annotations

LONGEST_MESSAGE = 4000
"""Characters; a state's cause may have 32,768, and an e-mail should be read."""
_MESSAGE_END = 600
"""What to do stands at a message's end."""
_GAP = 60
"""Room for the words that stand for what is left out."""


def cut(message: str, longest: int = LONGEST_MESSAGE) -> str:
    """Cut a message in its middle, and say how much is left out.

    Example:
        >>> cut("Columns: " + 1000 * "a, " + "z. Drop a file that has them.", longest=100)
        'Columns: a, a, a, a, (2,998 characters are left out here)  file that has them.'
    """
    if len(message) <= longest:
        return message
    kept = longest - _GAP
    end = min(_MESSAGE_END, kept // 2)
    gap = f" ({len(message) - kept:,} characters are left out here) "
    return message[: kept - end] + gap + message[-end:]


class DropforgeError(Exception):
    """Base of all errors raised on purpose. The message says what is wrong, where, and what to do.

    A table of thousands of columns has as many differences to tell of, and what travels with an error holds
    a few kilobytes. So a message is cut; `whole` has all of it.
    """

    def __init__(self, message: str = "") -> None:
        self.whole = message
        super().__init__(cut(message))

    def name_whole(self, place: str) -> None:
        """Say in the message where the whole of it lies."""
        self.args = (f"{self} The whole message is in {place}.",)


class RetryableError(DropforgeError):
    """The same call may succeed later: throttling, a lock held by another, an object not yet visible."""


class PermanentError(DropforgeError):
    """Repeating the call changes nothing; somebody has to change the data, the code or the settings."""


# --- settings and input -----------------------------------------------------------------------------


class InvalidSettings(PermanentError):
    """An environment variable or parameter is missing or malformed; all problems are named at once."""


class InvalidEvent(PermanentError):
    """The event that started a function or a run has none of the documented shapes."""


# --- cost -------------------------------------------------------------------------------------------


class RunTooExpensive(PermanentError):
    """A run is estimated to cost more than the stack's cap; nothing expensive has run."""


class UnknownPrice(PermanentError):
    """The list of prices lacks one that is needed, such as an instance type's."""


# --- data -------------------------------------------------------------------------------------------


class DataError(PermanentError):
    """The dropped data can't be used. The object itself is never changed or deleted."""


class EmptyData(DataError):
    """The file has no bytes, no header, or a header and no rows."""


class UnreadableData(DataError):
    """The file is damaged or is no table: truncated archive, wrong encoding, binary, broken Parquet.

    Attributes:
        row: of the object, where the message names one.
    """

    row: int | None = None


class ChunkFailed(PermanentError):
    """A chunk of the data could not be prepared: its function ran out of time or memory, or kept failing."""


class UnsupportedFormat(DataError):
    """The file's extension or compression is none of the supported ones."""


class ExpandsTooFar(DataError):
    """A compressed file holds more than one function can prepare in its time, however small it is itself."""


class UnsupportedColumn(DataError):
    """A column has a type that has no tabular meaning here, for example a nested Parquet column."""


class DuplicateColumn(DataError):
    """Two columns of the file have the same name."""


class MissingTarget(DataError):
    """The target column is not among the columns, or no row that a run was started for has a value there."""


class MissingKey(DataError):
    """The id column is configured but is not among the file's columns."""


class MissingSplitColumn(DataError):
    """A column that decides on the split (``GroupColumn``, ``SplitColumn``) is not in the file."""


class ConstantSplitColumn(DataError):
    """A column that decides on the split has the same value in every row, so there is only one split."""


class TooManyGroups(DataError):
    """``GroupColumn`` has more values than half the rows: it tells rows apart rather than groups."""


class UnsuitableSplitColumn(DataError):
    """``SplitColumn`` holds neither dates nor numbers, so nothing says which rows are newer."""


class SplitColumnInFuture(DataError):
    """Too many rows lie later than now by ``SplitColumn``: it doesn't say when a row came to be."""


class LeakageFound(DataError):
    """A column tells more than will be known when a prediction is asked for, and ``Leakage`` is ``fail``."""


class EmptySplit(DataError):
    """The column that decides on the split leaves one of training, validation and test without rows."""


class UnknownPositiveClass(DataError):
    """``PositiveClass`` is no class of the target, or the target hasn't two classes."""


class InvalidDecisionGoal(DataError):
    """The parameters of the decision threshold contradict each other, or the target hasn't two classes."""


class MissingGuardedColumn(DataError):
    """A column of ``GuardedColumns`` is not among the columns of the data."""


class PrivateGuardedColumn(DataError):
    """A column of ``GuardedColumns`` is private: the names of its slices would tell its values."""


class UnsuitableGuardedColumn(DataError):
    """A column of ``GuardedColumns`` holds dates or free text, or identifies rows: it makes no slices."""


class ConstantTarget(DataError):
    """The target has a single value, so there is nothing to learn."""


class TooFewRows(DataError):
    """Too few rows remain to train, validate and judge a model."""


class TooManyRejects(DataError):
    """More rows broke the contract than the parameter allows."""


class SchemaChanged(DataError):
    """The columns or types differ from the pinned contract; the message carries the diff and the remedy."""


class InvalidContract(DataError):
    """``contract/schema.json`` was edited into something that is no contract."""


class UnsuitableTarget(DataError):
    """The target's values fit no task: dates, too many classes, or text where a regression was asked for."""


# --- training and judging ---------------------------------------------------------------------------


class InvalidHyperparameters(PermanentError):
    """A hyperparameter is unknown or has a value that can't be used; all problems are named at once."""


class TuningFailed(PermanentError):
    """Hyperparameters can't be searched: optuna isn't carried, or no trial could be fitted."""


class NotDistributed(PermanentError):
    """Training on several instances was asked for with a model or a column that one instance alone can do."""


class LostHost(RetryableError):
    """An instance of a training job of several ended, or fell silent, before the others were done."""


class UnusableEstimator(PermanentError):
    """What ``build_model`` returned can't be trained, or doesn't predict what is needed of all rows."""


class UnusableLibrary(PermanentError):
    """A wheel of requirements.txt can't be imported where it is needed."""


class InvalidModel(PermanentError):
    """A model folder lacks a file, or a file is not the one that was written in training."""


class UnsafeArchive(PermanentError):
    """An archive is damaged, too large, or holds a link, a device or a path outside its folder."""


class InvalidRequest(PermanentError):
    """A prediction request breaks the contract; every problem is named by instance and column."""


class ModelError(PermanentError):
    """The live model's container answered a prediction with an error; `status` and `body` are its answer."""

    def __init__(self, status: int, body: str) -> None:
        super().__init__(f"The model's container answered {status}. Its log group has the reason.")
        self.status, self.body = status, body


class InvalidTrainingOutput(PermanentError):
    """The training job's archives lack a file, hold an unsafe path, or don't fit each other."""


class NotComparable(PermanentError):
    """Candidate and champion were not scored on the same hold-out rows."""


# --- watching ---------------------------------------------------------------------------------------


class InvalidProfile(PermanentError):
    """A profile in S3 is damaged or of another format, so nothing can be compared with it."""


# --- batch scoring ----------------------------------------------------------------------------------


class NoLiveModel(PermanentError):
    """No model is live yet, so there is nothing to score a batch with."""


class UnscorableBatch(DataError):
    """A batch's name or columns don't fit, or none of its rows keeps the live model's contract."""


class InvalidBatchOutput(PermanentError):
    """The transform job's output is missing, or is not one prediction for each row that was sent."""


# --- registry, approval and deployment --------------------------------------------------------------


class NotApproved(PermanentError):
    """The model package is not (or no longer) approved, so it may not be deployed."""


class ArtifactMissing(PermanentError):
    """The model archive that the package names is not in S3."""


class ArtifactChanged(PermanentError):
    """The model archive's digest is not the registered one, or its contract not the one of its training."""


class DeploymentInProgress(RetryableError):
    """Another deployment holds the endpoint; this one waits its turn."""


class DeploymentFailed(PermanentError):
    """The endpoint did not come into service on the requested configuration."""


class SmokeTestFailed(PermanentError):
    """The endpoint answered, but not with the predictions that were made in training."""


class LostLock(PermanentError):
    """The run's fencing token is no longer the newest: another run has taken over."""


class EndpointMissing(PermanentError):
    """A model is live and its endpoint is not there: it was put to sleep, or is about to be restored."""


class NothingToRollBackTo(PermanentError):
    """There is no earlier approved version whose archive still loads."""


# --- objects in S3 ----------------------------------------------------------------------------------


class ObjectMissing(PermanentError):
    """There is no such object, or no such version of it."""


class ObjectChanged(RetryableError):
    """The object was replaced while it was being read, so what was read belongs to no single version."""


# --- AWS --------------------------------------------------------------------------------------------


class ServiceUnavailable(RetryableError):
    """An AWS call was throttled, timed out or answered with a 5xx."""


class AccessDenied(PermanentError):
    """The role lacks a permission; the message names the action."""


class ServiceRejected(PermanentError):
    """An AWS call was refused for a reason that a retry does not fix."""
