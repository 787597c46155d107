"""A candidate that is better as a whole may not be worse for some: slices of guarded columns."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from dropforge.domain.errors import InvalidSettings
from dropforge.domain.gate import GatePolicy, judge
from dropforge.domain.guarded_slices import disparity
from dropforge.domain.holdout import HoldOut, Slice
from dropforge.domain.metrics import Scored
from dropforge.domain.shares import student_quantile
from dropforge.domain.slice_words import WHAT_HELPS, named_slices, slices_told
from dropforge.domain.slicing import MISSING, OTHERS, Slicing
from dropforge.domain.verdicts import Verdict


def guarded_slice(name, labels):
    return Slice(name, labels, Slicing(name, labels, (), labels))


def holdout_of(*, loss=0.0, rows=2000, small=0, champion=True, seed=3, group=None):
    """Both models rank alike well, but for a tenth of the rows, 'south', where the candidate is worse."""
    rng = np.random.default_rng(seed)
    target = rng.permutation(np.arange(rows) % 2)
    region = np.where(rng.random(rows) < 0.1, 1, 0).astype(np.int16)
    region[:small] = 2
    noise = rng.normal(size=(2, rows))

    def scores(strength, noise):
        positive = 1 / (1 + np.exp(-(strength * (target - 0.5) + noise)))
        return np.stack([1 - positive, positive], axis=1)

    return HoldOut(
        "binary",
        ("no", "yes"),
        np.arange(rows, dtype=np.uint64),
        target,
        scores(np.where(region == 1, 2.0 - loss, 2.4), noise[0]),
        scores(2.0, noise[1]) if champion else None,
        (guarded_slice("region", ("north", "south", "east")),),
        region[:, None],
        group,
    )


def codes(judgement):
    return [reason.code for reason in judgement.reasons]


def test_a_candidate_that_is_better_overall_and_worse_for_a_guarded_slice_is_rejected_with_its_name():
    judgement = judge(holdout_of(loss=1.8), GatePolicy())
    assert judgement.difference.value > 0
    assert judgement.verdict is Verdict.REJECTED
    assert codes(judgement) == ["GuardedSliceWorse"]
    assert "auc where region is 'south'" in judgement.reasons[0].message
    assert "2 guarded slices considered" in judgement.reasons[0].message


def test_a_candidate_that_is_worse_for_no_slice_is_accepted_and_its_slices_are_told():
    judgement = judge(holdout_of(), GatePolicy())
    assert codes(judgement) == ["ThresholdMet", "NotWorseThanChampion"]
    north, south = judgement.to_dict()["slices"]
    assert (north["slice"], north["label"], north["guarded"], north["verdict"]) == (
        "region",
        "north",
        True,
        "holds",
    )
    assert south["rows"] < north["rows"]
    assert south["difference"]["low"] < 0 < south["difference"]["high"]


def test_intervals_of_slices_widen_with_their_number():
    one = judge(holdout_of(), GatePolicy())
    assert one.guarded["compared"] == 2
    assert one.guarded["confidence"] == pytest.approx(1 - 0.05 / 2)
    assert one.guarded["correction"] == "bonferroni"


@pytest.mark.parametrize(
    ("setting", "verdict"), [("report", Verdict.ACCEPTED), ("undecided", Verdict.UNDECIDED)]
)
def test_a_parameter_decides_what_follows_from_a_slice_with_too_few_rows(setting, verdict):
    judgement = judge(holdout_of(small=12), GatePolicy(small_guarded_slices=setting))
    assert judgement.verdict is verdict
    said = next(each for each in judgement.reasons if each.code == "GuardedSliceTooSmall")
    assert "region is 'east': it takes 30 rows, and there are 12" in said.message
    assert judgement.slices[2]["verdict"] == "cant_say"
    assert judgement.slices[2]["difference"]["low"] is None


def with_one_class_in(holdout, code):
    """The same hold-out, where a slice has rows of one class alone."""
    target = np.where(holdout.slice_codes[:, 0] == code, 0, holdout.target)
    return replace(holdout, target=target)


def test_a_slice_without_a_value_says_why_and_what_would_help():
    judgement = judge(with_one_class_in(holdout_of(), 1), GatePolicy())
    south = judgement.slices[1]
    assert (south["value"], south["untold"]) == (None, "no row is 'yes'")
    assert south["shortage"] == "it takes 10 rows of each class, and of 'yes' there is none"
    [told] = slices_told(judgement.slices, "auc")
    assert "auc is undefined in 1 (region is 'south': no row is 'yes')." in told
    assert "1 compared with the live model, none worse beyond chance." in told
    assert told.endswith(WHAT_HELPS)
    assert "can't be compared" not in told


def test_slices_of_which_none_has_a_value_are_told_all_the_same():
    holdout = holdout_of(champion=False)
    slices = [
        {**each, "value": None, "untold": "no row is 'yes'"} for each in judge(holdout, GatePolicy()).slices
    ]
    [told] = slices_told(slices, "auc")
    assert told.startswith(
        "Guarded slices: auc is undefined in 2 (region is 'north': no row is 'yes'; region"
    )


def test_a_slice_that_is_too_small_to_compare_is_named_with_what_it_takes():
    judgement = judge(holdout_of(small=12), GatePolicy())
    [told] = slices_told(judgement.slices, "auc")
    assert "1 can't be compared (region is 'east': it takes 30 rows, and there are 12)." in told
    assert judgement.slices[0]["untold"] is None


def test_a_slice_that_is_only_shown_says_why_it_has_no_value():
    shown = replace(
        with_one_class_in(holdout_of(), 1), slices=(Slice("region", ("north", "south", "east"), None),)
    )
    north, south = judge(shown, GatePolicy()).slices
    assert (north["untold"], south["untold"]) == (None, "no row is 'yes'")


def test_of_many_slices_a_sentence_names_five():
    slices = [("region", f"r{n}", "it takes 30 rows, and there are 2") for n in range(7)]
    assert named_slices(slices).count("region is") == 5
    assert named_slices(slices).endswith("; and 2 more")


def test_a_first_model_is_not_held_to_slices_and_they_are_shown():
    judgement = judge(holdout_of(champion=False, small=12), GatePolicy(small_guarded_slices="undecided"))
    assert codes(judgement) == ["ThresholdMet", "FirstModel"]
    assert [each["verdict"] for each in judgement.slices] == [None] * 3
    told = judgement.guarded["columns"][0]["disparity"]
    assert set(told) == {"candidate"}
    assert 0 < told["candidate"]["demographic_parity_ratio"] <= 1


def test_rows_of_few_groups_say_nothing_of_a_slice():
    group = np.arange(2000, dtype=np.int64) % 20
    judgement = judge(holdout_of(loss=1.8, group=group), GatePolicy(small_guarded_slices="undecided"))
    assert judgement.verdict is Verdict.UNDECIDED
    assert {each["verdict"] for each in judgement.slices} == {"cant_say"}


def test_a_hold_out_without_guarded_columns_says_nothing_of_them():
    assert (
        "guarded"
        not in judge(
            HoldOut(
                "binary",
                ("no", "yes"),
                np.arange(40, dtype=np.uint64),
                np.arange(40) % 2,
                np.full((40, 2), 0.5),
            ),
            GatePolicy(),
        ).to_dict()
    )


def test_an_unknown_way_with_small_slices_is_refused():
    with pytest.raises(InvalidSettings, match="small_guarded_slices must be report or undecided"):
        GatePolicy(small_guarded_slices="ignore")


@pytest.mark.parametrize("freedom", [1, 9, 29, 10_000])
@pytest.mark.parametrize("tail", [0.025, 0.0001])
def test_student_quantiles_are_those_of_scipy(freedom, tail):
    assert student_quantile(freedom, tail) == pytest.approx(stats.t.isf(tail, freedom), rel=1e-9)


# --- slicing ------------------------------------------------------------------------------------------


def test_a_category_has_slices_of_its_most_frequent_values_and_names_some_of_the_others():
    values = np.array([f"v{i:02d}" for i in range(30) for _ in range(30 - i)] + [None], dtype=object)
    slicing = Slicing.learn("city", "category", values)
    assert slicing.labels == (*(f"v{i:02d}" for i in range(20)), OTHERS, MISSING)
    assert (slicing.others[0], slicing.others_count) == ("v20", 10)
    assert slicing.codes(["v00", "v29", "new", None]).tolist() == [0, 20, 20, 21]


def test_a_number_of_many_values_has_four_ranges_of_as_many_rows():
    slicing = Slicing.learn("age", "integer", np.arange(1.0, 101.0))
    assert slicing.labels == ("up to 25", "above 25 to 50", "above 50 to 75", "above 75", MISSING)
    found = slicing.codes(np.array([25.0, 25.5, 1e9, -3.0, np.nan]))
    assert found.tolist() == [0, 1, 3, 0, 4]
    assert np.bincount(slicing.codes(np.arange(1.0, 101.0))).tolist() == [25, 25, 25, 25]


def test_a_number_of_few_values_has_a_slice_of_each():
    slicing = Slicing.learn("rooms", "integer", np.array([2.0, 2.0, 1.0, np.nan]))
    assert slicing.labels == ("2", "1", OTHERS, MISSING)
    assert slicing.codes([1.0, 2, 7, None]).tolist() == [1, 0, 2, 3]


def test_a_number_that_is_mostly_one_value_has_fewer_ranges():
    values = np.concatenate([np.zeros(90), np.arange(1.0, 31.0)])
    slicing = Slicing.learn("debt", "number", values)
    assert slicing.labels == ("up to 0", "above 0", MISSING)


def test_booleans_are_sliced_alike_from_parquet_and_from_the_log():
    slicing = Slicing.learn("member", "boolean", np.array([0.0, 1.0]))
    assert slicing.codes(np.array([1.0, 0.0, np.nan])).tolist() == slicing.codes([True, False, None]).tolist()


def test_slicing_is_read_back_as_it_was_written():
    slicing = Slicing.learn("age", "number", np.linspace(0, 1, 50))
    assert Slicing.from_dict(slicing.to_dict()) == slicing


# --- disparity ----------------------------------------------------------------------------------------


def test_disparity_of_a_small_example_that_can_be_counted_by_hand():
    target = np.array([1, 1, 0, 0, 1, 1, 0, 0])
    called = np.array([1, 0, 0, 0, 1, 1, 1, 0])
    scores = np.stack([1.0 - called, called.astype(float)], axis=1)
    codes = np.array([0, 0, 0, 0, 1, 1, 1, 1], dtype=np.int16)
    assert disparity(Scored("binary", target, scores), codes, 1) == {
        "demographic_parity_difference": 0.5,
        "demographic_parity_ratio": pytest.approx(1 / 3),
        "equalized_odds_difference": 0.5,
        "equalized_odds_ratio": 0.0,
    }


def test_disparity_leaves_out_small_slices_and_is_undefined_of_one():
    scores = np.full((40, 2), 0.5)
    codes = np.array([0] * 35 + [1] * 5, dtype=np.int16)
    found = disparity(Scored("binary", np.arange(40) % 2, scores), codes, 30)
    assert all(np.isnan(value) for value in found.values())
    assert disparity(Scored("regression", np.zeros(40), np.zeros(40)), codes, 30) is None
