"""``dropforge cost``: needs no AWS account but for ``so-far`` and ``--deployed``."""

from __future__ import annotations

import types
from datetime import UTC, datetime

import pytest
from cli_services import FakeCloudWatch, complete

from dropforge_ops.cost.so_far import month_to_date
from dropforge_ops.errors import ExitCode


def test_the_month_is_shown_line_by_line_with_and_without_the_free_tier(dropforge):
    outcome = dropforge("cost")
    assert outcome.exit_code == 0
    assert "CloudWatch" in outcome.stdout
    assert "free tier" in outcome.stdout
    total = outcome.stdout.split("Total")[1].split("\n")[0].split()
    assert float(total[0]) > float(total[1])


def test_the_document_sums_up_what_its_lines_say(dropforge):
    document = dropforge("cost", "idle", "--json").json
    assert document["usd"] == pytest.approx(sum(line["usd"] for line in document["lines"]), abs=0.01)
    assert document["prices_as_of"]


def test_options_and_a_file_change_the_usage(dropforge, tmp_path):
    profile = tmp_path / "mine.toml"
    profile.write_text("requests = 1000000\ndrops = 4\ngb_per_drop = 0.5\n")
    from_file = dropforge("cost", profile, "--json").json
    more = dropforge("cost", profile, "--requests", "2000000", "--json").json
    assert more["services"]["API Gateway"]["usd"] == 2 * from_file["services"]["API Gateway"]["usd"]


def test_an_environments_parameters_count(dropforge):
    dev, prod = (dropforge("cost", "idle", "--env", each, "--json").json for each in ("dev", "prod"))
    whats = [{line["what"] for line in each["lines"]} for each in (dev, prod)]
    assert "dashboard" in whats[1] - whats[0]


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("TrainingSpot=x", "TrainingSpot is 'x'; it is a number, at least 0, at most 9."),
        ("TrainingSpot=10", "TrainingSpot is '10'; it is a number, at least 0, at most 9."),
        ("TrainingSpot=nan", "TrainingSpot is 'nan'; it is a number, at least 0, at most 9."),
        ("EndpointMode=fast", "EndpointMode is 'fast'; it is one of serverless, real-time, asynchronous."),
    ],
)
def test_values_that_a_deployment_would_refuse_are_refused(dropforge, given, said):
    refused = dropforge("cost", "estimate", "--size", "1GB", "-p", given)
    assert refused.exit_code == ExitCode.USAGE
    assert said in " ".join(refused.stderr.split())


def test_an_estimate_names_the_parts_the_time_and_the_limits(dropforge, tmp_path):
    drop = tmp_path / "drop.csv"
    drop.write_bytes(b"a,b\n" * 1000)
    assert dropforge("cost", "estimate", drop).exit_code == 0
    document = dropforge("cost", "estimate", "--size", "2TB", "--json").json
    assert document["usd"] > 0
    assert any(limit.startswith("Training") for limit in document["limits"])


def test_an_estimate_above_the_cap_ends_with_1(dropforge):
    outcome = dropforge("cost", "estimate", "--size", "5GB", "-p", "MaximumRunCostUSD=0.001", "--json")
    assert outcome.exit_code == 1
    assert "MaximumRunCostUSD is 0.001" in outcome.json["error"]["message"]
    assert outcome.json["usd"] > 0


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["nowhere.toml"], 3, "nowhere.toml"),
        (["--parameter", "Dashbord=false"], 2, "Dashbord"),
        (["--parameter", "nothing"], 2, "KEY=VALUE"),
        (["--env", "moon"], 2, "moon"),
        (["--endpoint", "sometimes"], 2, "sometimes"),
        (["--env", "dev", "--deployed"], 2, "exclude"),
        (["estimate"], 2, "--size"),
        (["estimate", "--size", "many"], 2, "many"),
        (["estimate", "missing.csv"], 3, "missing.csv"),
        (["estimate", "--size", "1GB", "--instance", "ml.q1.tiny"], 2, "ml.q1.tiny"),
    ],
)
def test_wrong_input_is_told(dropforge, arguments, code, said):
    outcome = dropforge("cost", *arguments)
    assert outcome.exit_code == code
    assert said in outcome.stderr


def test_a_profile_with_unknown_or_malformed_fields_is_refused(dropforge, tmp_path):
    profile = tmp_path / "mine.toml"
    for content in ("reqests = 5", 'requests = "many"', "requests = -1", "requests ="):
        profile.write_text(content)
        assert dropforge("cost", profile).exit_code == 2


def test_prices_and_rates_are_shown_with_their_sources(dropforge):
    outcome = dropforge("cost", "prices")
    assert "https://aws.amazon.com/lambda/pricing/" in outcome.stdout
    assert "measured" in outcome.stdout


@pytest.mark.parametrize(
    ("created", "since", "days"),
    [
        (datetime(2026, 3, 1, tzinfo=UTC), datetime(2026, 4, 1, tzinfo=UTC), 15),
        (datetime(2026, 4, 10, 12, tzinfo=UTC), datetime(2026, 4, 10, 12, tzinfo=UTC), 5.5),
    ],
)
def test_the_month_counts_from_its_first_or_from_the_stacks_creation(
    stack, monkeypatch, created, since, days
):
    complete(stack)
    object.__setattr__(stack.target, "session", types.SimpleNamespace(region_name="us-east-1"))
    stack.target.client("cloudformation").created_at = created
    asked = []

    def counted(self, **request):
        asked.append(request["StartTime"])
        return {"Datapoints": []}

    monkeypatch.setattr(FakeCloudWatch, "get_metric_statistics", counted, raising=False)
    found = month_to_date(stack.target, stack.ledger, now=datetime(2026, 4, 16, tzinfo=UTC))
    assert (found.start, asked) == (since, [since])
    assert found.share == pytest.approx(days / 30)
