"""A month's bill follows the template and the usage."""

from __future__ import annotations

import copy
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from dropforge.domain.errors import UnknownPrice
from dropforge.pricing.prices import load_prices
from dropforge.pricing.rates import load_rates
from dropforge_local.glue.workflow.expressions.engine import ReferenceJsonata
from dropforge_ops.cost.monthly import Bill, monthly_bill
from dropforge_ops.cost.schedules import times_a_month
from dropforge_ops.cost.stack_template import StackTemplate, read_stack_template
from dropforge_ops.cost.usage import PROFILES, Usage
from dropforge_ops.cost.ways import Ways, looks_within
from dropforge_ops.errors import UsageError

ROOT = Path(__file__).resolve().parents[3]
WORKSHOP_USD = 8.00
IDLE_USD = 3.00
TEMPLATE = read_stack_template(ROOT, {"TargetColumn": "y"})


def template(**parameters: str) -> StackTemplate:
    return StackTemplate(TEMPLATE.document, TEMPLATE.machines, {"TargetColumn": "y", **parameters})


def bill(usage: Usage, **parameters: str) -> Bill:
    return monthly_bill(template(**parameters), usage, load_prices(), load_rates())


def amount(of: Bill, what: str) -> float:
    (line,) = [line for line in of.lines if line.what.startswith(what)]
    return line.quantity


def test_the_workshops_workload_costs_no_more_than_it_says() -> None:
    found = bill(PROFILES["workshop"])
    assert found.usd <= WORKSHOP_USD  # without any free tier
    assert found.usd_after_free <= 5  # as docs/cost.md says


def test_an_idle_stack_costs_next_to_nothing() -> None:
    found = bill(PROFILES["idle"])
    assert found.usd <= IDLE_USD  # without any free tier
    assert found.usd_after_free <= 1  # as docs/cost.md says


def test_the_lines_add_up_and_each_has_a_price_with_a_source() -> None:
    found, prices = bill(PROFILES["busy"]), load_prices()
    services = found.by_service().values()
    assert found.usd == pytest.approx(sum(usd for usd, _ in services))
    assert found.usd_after_free == pytest.approx(sum(after for _, after in services))
    for line in found.lines:
        assert prices[line.key].source.startswith("https://")
        assert line.usd == pytest.approx(line.quantity * prices[line.key].each)


def test_a_free_quantity_counts_once_however_many_lines_share_it() -> None:
    found, price = bill(PROFILES["busy"]), load_prices()["lambda.gb_second"]
    lines = [line for line in found.lines if line.key == price.key]
    assert len(lines) > 2
    used = sum(line.quantity for line in lines)
    assert sum(line.usd_after_free for line in lines) == pytest.approx(max(0, used - price.free) * price.each)


@pytest.mark.parametrize(
    ("parameters", "what", "changes"),
    [
        ({"Dashboard": "true"}, "dashboard", "more"),
        ({"LogRetentionDays": "365"}, "logs kept", "more"),
        ({"PredictionRetentionDays": "365"}, "storage of the prediction log", "more"),
        ({"OutcomeDelayDays": "7"}, "reads of watched windows", "more"),
        ({"WatchSchedule": "rate(1 day)"}, "WatchModelFunction", "less"),
        ({"WatchScheduleState": "DISABLED"}, "WatchModelFunction", "less"),
        ({"ServerlessMemoryMB": "4096"}, "serverless endpoint, ", "more"),
        ({"RetrainScheduleState": "ENABLED", "RetrainSchedule": "rate(1 hour)"}, "AdmitRunFunction", "more"),
    ],
)
def test_figures_follow_the_templates_parameters(parameters: dict[str, str], what: str, changes: str) -> None:
    def total(of: Bill) -> float:
        return sum(line.usd for line in of.lines if line.what.startswith(what))

    before, after = total(bill(PROFILES["workshop"])), total(bill(PROFILES["workshop"], **parameters))
    assert (after < before) if changes == "less" else (after > before)


def test_drops_that_expire_are_not_paid_for_any_longer() -> None:
    a_year = replace(PROFILES["workshop"], kept_months=12)
    for_ever, a_month = (
        amount(bill(a_year, DropRetentionDays=days), "storage of drops") for days in ("0", "30")
    )
    dropped_gb = 5
    assert for_ever - a_month == pytest.approx(dropped_gb * (12 - 37 / (730 / 24)))


def test_a_real_time_endpoint_is_paid_by_the_hour_whatever_it_answers() -> None:
    found = bill(Usage(), EndpointMode="real-time", EndpointInstanceType="ml.m5.large")
    assert amount(found, "endpoint on ml.m5.large") == 730
    by_option = bill(replace(Usage(), endpoint_mode="real-time", endpoint_hours=100))
    assert amount(by_option, "endpoint on") == 100


def test_an_asynchronous_endpoint_costs_no_hour_while_nobody_asks() -> None:
    idle_lines = bill(Usage(), EndpointMode="asynchronous").lines
    assert not [line for line in idle_lines if line.what.startswith("endpoint on")]
    idle = {mode: bill(Usage(), EndpointMode=mode).usd for mode in ("serverless", "asynchronous")}
    assert idle["asynchronous"] - idle["serverless"] == pytest.approx(0.3)  # three alarms
    few = bill(Usage(requests=30), EndpointMode="asynchronous")
    assert amount(few, "endpoint on ml.m5.large") == 10
    many = bill(Usage(requests=1e7), EndpointMode="asynchronous")
    assert amount(many, "endpoint on ml.m5.large") == 730
    least, most = few.usd_range
    assert least < few.usd == pytest.approx(most)


def test_an_endpoint_that_is_scaled_pays_for_two_alarms() -> None:
    one, three = (bill(Usage(), EndpointMode="real-time", EndpointMaxInstances=most) for most in ("1", "3"))
    assert three.usd - one.usd == pytest.approx(0.2)


def test_training_costs_what_the_first_instance_type_costs() -> None:
    cheap = bill(PROFILES["workshop"])
    dear = bill(PROFILES["workshop"], TrainingInstanceTypes="ml.m5.4xlarge,ml.m5.large")
    assert dear.usd > cheap.usd
    with pytest.raises(UnknownPrice, match=r"ml\.z1d\.large"):
        bill(PROFILES["workshop"], TrainingInstanceTypes="ml.z1d.large")


def test_every_training_instance_is_billed() -> None:
    one, three = bill(PROFILES["workshop"]), bill(PROFILES["workshop"], TrainingInstanceCount="3")
    (alone,), (together,) = (
        [line for line in found.lines if line.what == "training on ml.m5.large"] for found in (one, three)
    )
    assert alone.usd < together.usd <= 3 * alone.usd
    assert "on 3 instances" in together.note


def test_training_on_spot_capacity_is_a_range_around_the_price_on_demand() -> None:
    usage = PROFILES["workshop"]
    on_demand, spot = bill(usage), bill(usage, TrainingSpot="2")
    assert on_demand.usd_range == (on_demand.usd, on_demand.usd)
    assert spot.usd == pytest.approx(on_demand.usd)
    least, most = spot.usd_range
    (training,) = [line.usd for line in spot.lines if line.what == "training on ml.m5.large"]
    assert least == pytest.approx(spot.usd - 0.9 * training)
    assert most == pytest.approx(spot.usd + 2 * training)
    assert spot.to_dict()["usd_range"] == [round(least, 4), round(most, 4)]


def test_alarms_are_counted_by_the_metrics_that_they_look_at() -> None:
    found = bill(PROFILES["idle"])
    alarms = TEMPLATE.resources("AWS::CloudWatch::Alarm")
    math = sum(len([m for m in alarm.get("Metrics", []) if "MetricStat" in m]) for alarm in alarms.values())
    plain = sum("Metrics" not in alarm for alarm in alarms.values())
    assert amount(found, "alarms") == math + plain


def test_metrics_are_paid_for_in_the_hours_in_which_somebody_predicts() -> None:
    assert not [line for line in bill(PROFILES["idle"]).lines if line.what == "metrics of our own"]
    a_day = bill(Usage(requests=1000, watched_windows=30))
    names = [line.note for line in a_day.lines if line.what == "metrics of our own"]
    assert amount(a_day, "metrics of our own") == pytest.approx(names[0].count(",") * 30 / 730 + 30 / 730)
    assert amount(bill(PROFILES["busy"]), "metrics of our own") == names[0].count(",") + 1


def test_a_cap_on_a_run_never_counts_less_than_the_machines_have() -> None:
    ways, rates = Ways.of(TEMPLATE), load_rates()
    assert ways.run_transitions(rates) <= rates["run.transitions"]
    called = {*ways.training.functions, *ways.deployment.functions} - {"PrepareDataFunction"}
    assert {"AdmitRunFunction", "JudgeModelFunction", "PromoteModelFunction"} <= called
    assert sum(map(rates.function_s, called)) <= rates["run.functions_s"]


def test_a_way_follows_the_machines_definition() -> None:
    before = Ways.of(TEMPLATE)
    machines = copy.deepcopy(dict(TEMPLATE.machines))
    states = machines["DeploymentStateMachine"]["States"]
    states["Rest"] = {"Type": "Pass", "Next": states["DescribeEndpoint"]["Next"]}
    states["DescribeEndpoint"]["Next"] = "Rest"
    after = Ways.of(StackTemplate(TEMPLATE.document, machines, TEMPLATE.given))
    assert after.training == before.training
    # On the way and in every further look.
    assert after.deployment.transitions(0.5) == before.deployment.transitions(0.5) + 1
    assert after.deployment.transitions(300) == before.deployment.transitions(300) + looks_within(300)
    renamed = json.dumps(states).replace('"Deployed"', '"Promoted"')
    machines["DeploymentStateMachine"]["States"] = json.loads(renamed)
    with pytest.raises(ValueError, match="to Deployed"):
        Ways.of(StackTemplate(TEMPLATE.document, machines, TEMPLATE.given))


def test_looks_are_as_far_apart_as_the_machines_say() -> None:
    def value(machine: str, state: str, field: str, **given: Any) -> Any:
        expression = TEMPLATE.machines[machine]["States"][state][field].removeprefix("{%").removesuffix("%}")
        context = {"input": given, "result": {"TrainingJobName": "job", "OutputDataConfig": {}}}
        return ReferenceJsonata(expression).evaluate(None, {"states": context})

    waits = [
        value("DeploymentStateMachine", "WaitForEndpoint", "Seconds", poll={"count": count})
        for count in range(40)
    ]
    job = {"polls": 0, "waited_s": 0}
    for look in range(200):
        job = value("TrainingStateMachine", "DescribeTrainingJob", "Output", training=job)["training"]
        assert looks_within(job["waited_s"]) == look + 1
        if look < len(waits):
            assert job["wait_s"] == waits[look]


def test_every_function_of_the_usual_way_is_called() -> None:
    what = {line.what.split(",")[0] for line in bill(PROFILES["busy"]).lines if line.service == "Lambda"}
    assert {"PrepareDataFunction", "SmokeTestFunction", "PlanBatchFunction", "PredictFunction"} <= what


def test_part_of_a_month_costs_its_part_of_what_is_paid_by_time() -> None:
    whole = bill(PROFILES["idle"])
    half = monthly_bill(template(), PROFILES["idle"], load_prices(), load_rates(), share=0.5)
    assert amount(half, "alarms") == amount(whole, "alarms") / 2


def test_a_parameter_that_the_template_lacks_is_refused() -> None:
    with pytest.raises(UsageError, match="Dashbord"):
        template(Dashbord="false")


@pytest.mark.parametrize(
    ("expression", "times"),
    [
        ("rate(1 hour)", 730),
        ("rate(7 days)", 730 / 168),
        ("cron(0 6 ? * MON-FRI *)", 5 * 730 / 168),
        ("cron(0/15 * * * ? *)", 4 * 730),
        ("cron(0 0 1 * ? *)", 1),
        ("cron(0 0 1 JAN-MAR ? *)", 3 / 12),
        ("at(2026-11-21T00:00:00)", 0),
    ],
)
def test_schedules_come_due_as_often_as_they_say(expression: str, times: float) -> None:
    assert times_a_month(expression) == pytest.approx(times)


def test_an_unknown_schedule_is_refused() -> None:
    with pytest.raises(UsageError, match="neither"):
        times_a_month("every day")
