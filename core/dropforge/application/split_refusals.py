"""When the columns that decide on the split can't do so: before anything is trained."""

from __future__ import annotations

from dropforge.domain.contract import Contract
from dropforge.domain.errors import ConstantSplitColumn, EmptySplit, TooManyGroups
from dropforge.domain.preparing import SplitCounts
from dropforge.domain.splitting import SPLITS
from dropforge.domain.time_split import Boundaries, value_of


def refuse_unsplit(splits: SplitCounts, contract: Contract, boundaries: Boundaries | None) -> None:
    """Refuse splits that the group or the time of the rows makes useless.

    Raises:
        ConstantSplitColumn: there is one group only.
        TooManyGroups: there are more groups than half the rows.
        EmptySplit: training, validation or test has no rows.
    """
    if contract.group is not None:
        _refuse_groups(splits, contract.group)
    empty = [split for split in SPLITS if not splits.rows[split]]
    if not empty:
        return
    if contract.time is not None:
        raise EmptySplit(_empty_in_time(splits, empty, contract, boundaries))
    if contract.group is not None:
        raise EmptySplit(
            f"The {splits.groups:,} groups of {contract.group!r} leave no row for {' and '.join(empty)}: "
            "a hash of the group decides, and so few groups don't spread over all three. Drop rows of more "
            "groups; from some 30 on each split has some."
        )


def _refuse_groups(splits: SplitCounts, name: str) -> None:
    # Rows that go to no split, because their groups are tested, belong to groups all the same.
    rows, groups = sum(splits.rows.values()) + (splits.left_out or 0), splits.groups or 0
    if groups == 1:
        raise ConstantSplitColumn(
            f"The group column {name!r} is the same in all {rows:,} rows, so there is only one group and "
            "nothing to test on. Name another column in GroupColumn, or leave it empty."
        )
    if groups * 2 > rows:
        raise TooManyGroups(
            f"The group column {name!r} has {groups:,} values in {rows:,} rows, more than half as many: it "
            "tells rows apart rather than groups. Name the column in GroupColumn that rows of one customer, "
            "patient or machine have in common, or leave it empty."
        )


def _empty_in_time(
    splits: SplitCounts, empty: list[str], contract: Contract, boundaries: Boundaries | None
) -> str:
    name = contract.time or ""
    said = f"No row is left for {' and '.join(empty)} where {name!r} splits the rows"
    if boundaries is not None:
        kind = contract.column(name).type
        said += (
            f": validation begins at {value_of(boundaries.validation_from, kind)}, test at "
            f"{value_of(boundaries.test_from, kind)}"
        )
    if splits.left_out:
        return (
            f"{said}; {splits.left_out:,} older rows are left out, because their {contract.group!r} occurs "
            "in the test. Drop rows of more groups, or leave GroupColumn or SplitColumn empty."
        )
    if "test" not in empty:
        return (
            f"{said}. Rows with the same value lie in the same split, and {name!r} has too few different "
            "ones for three. Name a column in SplitColumn that tells times more finely, or leave it empty."
        )
    return (
        f"{said}, and neither moves back to before an earlier run's. Drop newer rows; or where the column's "
        "values were wrong, correct them and delete contract/boundaries.json, after which the live model "
        "isn't compared with a candidate that is judged on rows which it has seen."
    )
