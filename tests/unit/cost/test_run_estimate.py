"""What a run costs before it runs, its cap, and what larger data would take."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest

from dropforge.domain.errors import RunTooExpensive
from dropforge.domain.ports import ObjectRef
from dropforge.pricing.prices import load_prices
from dropforge.pricing.rates import load_rates
from dropforge.pricing.run import CostCap, RunEstimate, estimate_run, refuse_above, training_memory_mb
from dropforge_ops.cost.scale import INSTANCE_MB, estimate_and_limits, simulate
from dropforge_ops.cost.stack_template import StackTemplate, read_stack_template

ROOT = Path(__file__).resolve().parents[3]
TEMPLATE = read_stack_template(ROOT, {"TargetColumn": "y"})


def estimate(gigabytes: float, key: str = "drop.csv", instance: str = "ml.m5.large") -> RunEstimate:
    objects = [(key, int(gigabytes * 1e9))]
    return estimate_run(objects, instance_type=instance, prices=load_prices(), rates=load_rates())


def test_a_larger_drop_costs_and_takes_more() -> None:
    small, large = estimate(0.1), estimate(10)
    assert large.usd > small.usd
    assert large.seconds > small.seconds
    assert small.usd == pytest.approx(sum(part.usd for part in small.parts))


def test_a_compressed_drop_counts_for_what_it_holds() -> None:
    assert estimate(1, "a.csv.gz").input_mb > estimate(1, "a.csv").input_mb


def test_training_costs_no_more_than_its_time_allows() -> None:
    capped = estimate_run(
        [("drop.csv", 10**13)],
        instance_type="ml.m5.large",
        prices=load_prices(),
        rates=load_rates(),
        max_training_s=3600,
    )
    (training,) = [part for part in capped.parts if part.name.startswith("Training on")]
    assert training.usd == pytest.approx(load_prices().instance("ml.m5.large").usd)


def test_spot_capacity_is_priced_as_a_range_and_capped_by_its_dearer_end() -> None:
    def priced(interruptions: int) -> RunEstimate:
        return estimate_run(
            [("drop.csv", 10**9)],
            instance_type="ml.m5.large",
            prices=load_prices(),
            rates=load_rates(),
            max_training_s=3600,
            spot_interruptions=interruptions,
        )

    on_demand, spot = priced(0), priced(1)
    (training,) = [part.usd for part in on_demand.parts if part.name.startswith("Training on")]
    assert on_demand.least_usd == pytest.approx(on_demand.usd)
    assert spot.seconds == pytest.approx(on_demand.seconds)
    volume = on_demand.parts[-1].usd
    assert spot.usd == pytest.approx(on_demand.usd + training + volume)
    assert spot.least_usd == pytest.approx(on_demand.usd - 0.9 * training)
    # However often: the job waits and runs for twice its time, and once more on demand.
    longest = 3 * load_prices().instance("ml.m5.large").usd
    assert max(part.usd for part in priced(9).parts) <= longest * (1 + 1e-9)
    refuse_above(spot, spot.usd)
    with pytest.raises(RunTooExpensive, match="TrainingSpot"):
        refuse_above(spot, (spot.usd + on_demand.usd) / 2)


def test_every_instance_is_priced_and_counts_for_the_cap() -> None:
    def priced(instances: int) -> RunEstimate:
        return estimate_run(
            [("drop.csv", 10**10)],
            instance_type="ml.m5.large",
            prices=load_prices(),
            rates=load_rates(),
            instances=instances,
        )

    one, four = priced(1), priced(4)
    training = [part for part in four.parts if part.name == "Training on 4 × ml.m5.large"]
    assert [part.seconds * 4 / 60 for part in training] == [part.quantity for part in training]
    assert one.usd < four.usd < 2 * one.usd
    assert four.seconds < one.seconds
    fixed_mb = load_rates()["train.fixed_memory_mb"]
    assert four.memory_mb - fixed_mb == pytest.approx((one.memory_mb - fixed_mb) / 4)
    cap = CostCap(maximum_usd=(one.usd + four.usd) / 2, instance_type="ml.m5.large")
    drops = [ObjectRef("bucket", "drop.csv", size=10**10)]
    assert cap.refusal(drops) is None
    assert isinstance(replace(cap, instances=4).refusal(drops), RunTooExpensive)


def test_the_minutes_of_a_search_are_counted_in_full() -> None:
    objects = [("drop.csv", 10**9)]
    tuned = StackTemplate(
        TEMPLATE.document,
        TEMPLATE.machines,
        {**TEMPLATE.parameters, "TuningTrials": "5", "TuningMinutes": "10"},
    )
    (plain, _), (searching, _) = (
        estimate_and_limits(each, load_prices(), load_rates(), objects) for each in (TEMPLATE, tuned)
    )
    assert searching.seconds == pytest.approx(plain.seconds + 600)
    assert searching.usd - plain.usd >= load_prices().instance("ml.m5.large").of(600 / 3600)


def test_a_cap_refuses_what_is_above_it_and_names_one_that_is_enough() -> None:
    run = estimate(5)
    refuse_above(run, 0)
    refuse_above(run, run.usd)
    with pytest.raises(RunTooExpensive, match="MaximumRunCostUSD=") as refused:
        refuse_above(run, run.usd / 2)
    enough = float(str(refused.value).split("Deploy with MaximumRunCostUSD=")[1].split(" ")[0])
    refuse_above(run, enough)


def test_preparation_is_cut_as_the_templates_scale_out_parameters_say() -> None:
    steps = simulate(TEMPLATE, load_prices(), load_rates(), sizes_gb=[0.001, 100])
    assert [step.functions for step in steps] == [
        1,
        math.ceil(100_000 / TEMPLATE.number("ScaleOutChunkMegabytes")),
    ]
    fewer = StackTemplate(TEMPLATE.document, TEMPLATE.machines, {"ScaleOutConcurrency": "2"})
    slower = simulate(fewer, load_prices(), load_rates(), sizes_gb=[100])
    assert slower[0].preparation_s > 1.5 * steps[1].preparation_s


@pytest.mark.parametrize(("above", "staged_locally"), [("100000", True), ("1000", False)])
def test_only_a_preparation_in_one_function_stages_its_rows_in_tmp(above: str, staged_locally: bool) -> None:
    scale_out = {"ScaleOutMegabytes": above, "ScaleOutChunkMegabytes": "20000"}
    template = StackTemplate(TEMPLATE.document, TEMPLATE.machines, scale_out)
    (step,) = simulate(template, load_prices(), load_rates(), sizes_gb=[20])
    assert any("of /tmp" in limit for limit in step.limits) is staged_locally


def test_the_limits_that_bite_grow_with_the_data_and_never_vanish() -> None:
    steps = simulate(TEMPLATE, load_prices(), load_rates())
    first_words = [{limit.split(":")[0] for limit in step.limits} for step in steps]
    for smaller, larger in pairwise(first_words):
        assert smaller <= larger
    assert {"Lambda", "Training", "S3"} <= first_words[-1]


def test_an_instance_is_chosen_by_what_training_holds_in_memory() -> None:
    for step in simulate(TEMPLATE, load_prices(), load_rates()):
        needed = training_memory_mb(step.gigabytes * 1000, load_rates())
        if step.instance_type is None:
            assert needed > 0.9 * max(INSTANCE_MB.values())
        else:
            assert needed <= 0.9 * INSTANCE_MB[step.instance_type]
