"""``dropforge cost``: a month's bill, a run's price before it runs, and what larger data would take."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.text import Text

from dropforge.domain.errors import RunTooExpensive, UnknownPrice
from dropforge.pricing.prices import PriceList, load_prices
from dropforge.pricing.rates import Rate, Rates, load_rates
from dropforge.pricing.run import RunEstimate, refuse_above
from dropforge_ops.cli.invocation import Invocation
from dropforge_ops.cost.monthly import Bill, monthly_bill
from dropforge_ops.cost.scale import Step, estimate_and_limits, simulate
from dropforge_ops.cost.so_far import month_to_date
from dropforge_ops.cost.stack_template import StackTemplate, read_stack_template
from dropforge_ops.cost.usage import PROFILES, usage_of
from dropforge_ops.errors import NotFound, OperationFailed, UsageError
from dropforge_ops.render import duration, facts, say, table
from dropforge_ops.stack.environments import CONFIG, environment_parameters
from dropforge_ops.stack.project import deployed_parameters, find_root

_UNITS = {"": 1, "k": 1e3, "M": 1e6, "G": 1e9, "T": 1e12}
# What every stack needs and no price depends on.
_ANY_TARGET = {"TargetColumn": "target"}

ParameterOption = Annotated[
    list[str] | None,
    typer.Option("--parameter", "-p", metavar="KEY=VALUE", help="A parameter of the template; repeatable."),
]
EnvironmentOption = Annotated[
    str | None, typer.Option("--env", metavar="ENV", help="An environment of samconfig.toml.")
]
DeployedOption = Annotated[
    bool, typer.Option("--deployed", help="With the parameters that the stack is deployed with.")
]


def month(
    invocation: Invocation,
    *,
    usage: Annotated[
        str, typer.Argument(metavar="[USAGE]", help=f"A TOML file, or one of {', '.join(PROFILES)}.")
    ] = "workshop",
    requests: Annotated[float | None, typer.Option(min=0, help="Requests to the API a month.")] = None,
    outcomes: Annotated[float | None, typer.Option(min=0, help="Outcomes that are reported.")] = None,
    drops: Annotated[float | None, typer.Option(min=0, help="Files dropped.")] = None,
    gb_per_drop: Annotated[float | None, typer.Option(min=0, help="GB of CSV in each.")] = None,
    trainings: Annotated[float | None, typer.Option(min=0, help="Runs. [default: one a drop]")] = None,
    deployments: Annotated[
        float | None, typer.Option(min=0, help="Approved versions. [default: one a run]")
    ] = None,
    batches: Annotated[float | None, typer.Option(min=0, help="Files to score in batches.")] = None,
    gb_per_batch: Annotated[float | None, typer.Option(min=0, help="GB of CSV in each.")] = None,
    windows: Annotated[
        float | None, typer.Option(min=0, help="Watched windows. [default: by the schedule]")
    ] = None,
    kept_months: Annotated[
        float | None, typer.Option(min=0, help="Months for which drops lie in the bucket.")
    ] = None,
    endpoint: Annotated[
        str | None, typer.Option("--endpoint", help="serverless or real-time. [default: the template's]")
    ] = None,
    parameter: ParameterOption = None,
    environment: EnvironmentOption = None,
    deployed: DeployedOption = False,
) -> None:
    """What a month costs, line by line, at list price and with the free tier that never ends."""
    chosen = usage_of(
        usage,
        {
            "requests": requests,
            "outcomes": outcomes,
            "drops": drops,
            "gb_per_drop": gb_per_drop,
            "trainings": trainings,
            "deployments": deployments,
            "batches": batches,
            "gb_per_batch": gb_per_batch,
            "watched_windows": windows,
            "kept_months": kept_months,
            "endpoint_mode": endpoint,
        },
    )
    template = _template(invocation, parameter, environment, deployed)
    prices, rates = _prices(invocation), load_rates()
    bill = _priced(lambda: monthly_bill(template, chosen, prices, rates))
    document = {"usage": usage, **_known(prices, rates), **bill.to_dict()}

    def show(out: Console) -> None:
        say(out, f"A month of '{usage}' in {prices.region}, US dollars")
        out.print()
        _show_bill(bill, out)
        _show_known(prices, rates, out)

    invocation.emit(document, show)


def estimate(
    invocation: Invocation,
    *,
    files: Annotated[
        list[Path] | None, typer.Argument(metavar="[FILE]...", help="What would be dropped.")
    ] = None,
    size: Annotated[
        list[str] | None, typer.Option("--size", metavar="SIZE", help="Or so much CSV, such as 500MB or 5GB.")
    ] = None,
    instance: Annotated[
        str | None, typer.Option("--instance", help="Train on this one. [default: the template's first]")
    ] = None,
    maximum: Annotated[
        float | None,
        typer.Option(
            "--maximum",
            min=0,
            help="Exit with status 1 if the estimate exceeds this many USD. [default: MaximumRunCostUSD]",
        ),
    ] = None,
    parameter: ParameterOption = None,
    environment: EnvironmentOption = None,
    deployed: DeployedOption = False,
) -> None:
    """What a run would cost and take before it runs, and which limits it would meet."""
    objects = [_object(each) for each in files or []] + [("drop.csv", _bytes(each)) for each in size or []]
    if not objects:
        raise UsageError("Name files, or give a --size such as 5GB.")
    template = _template(invocation, parameter, environment, deployed)
    prices, rates = _prices(invocation), load_rates()
    run, limits = _priced(lambda: estimate_and_limits(template, prices, rates, objects, instance))
    document: dict[str, Any] = {**_known(prices, rates), **run.to_dict(), "limits": limits}
    cap = template.number("MaximumRunCostUSD") if maximum is None else maximum
    try:
        refuse_above(run, cap)
    except RunTooExpensive as error:
        raise OperationFailed(str(error), **document) from error

    def show(out: Console) -> None:
        _show_run(run, limits, out)
        _show_known(prices, rates, out)

    invocation.emit(document, show)


def scale(
    invocation: Invocation,
    *,
    sizes: Annotated[list[str] | None, typer.Argument(metavar="[SIZE]...", help="Such as 1GB 10TB.")] = None,
    parameter: ParameterOption = None,
    environment: EnvironmentOption = None,
    deployed: DeployedOption = False,
) -> None:
    """What runs from 1 GB to 10 TB would take, and which limit of AWS each meets first. On paper."""
    template = _template(invocation, parameter, environment, deployed)
    prices, rates = _prices(invocation), load_rates()
    asked = {} if sizes is None else {"sizes_gb": [_bytes(each) / 1e9 for each in sizes]}
    steps = simulate(template, prices, rates, **asked)
    document = {**_known(prices, rates), "steps": [step.to_dict() for step in steps]}

    def show(out: Console) -> None:
        out.print(_scale_table(steps))
        out.print()
        for step in steps:
            for limit in step.limits:
                say(out, f"{_gigabytes(step.gigabytes):>7}  {limit}")
        out.print()
        memory = _with_error(rates.rates["train.memory_mb_per_csv_mb"])
        say(
            out,
            f"Training takes {memory} MB of memory per MB of CSV: the slope of three sizes up to 1 GB, and "
            "its standard error; what is larger is extrapolated.",
        )
        _show_known(prices, rates, out)

    invocation.emit(document, show)


def so_far(invocation: Invocation) -> None:
    """What the stack has cost this month, estimated from what ran; a new one from its creation on."""
    found = _priced(lambda: month_to_date(invocation.target, invocation.ledger))

    def show(out: Console) -> None:
        facts(
            out,
            [
                ("since", found.start.date().isoformat()),
                ("requests", f"{found.usage.requests:,.0f}"),
                ("runs", f"{found.usage.runs:,.0f}"),
                ("on a local host", "nothing is paid; this is what AWS would take" * found.is_simulated),
            ],
        )
        out.print()
        _show_bill(found.bill, out)

    invocation.emit(found.to_dict(), show)


def prices(invocation: Invocation) -> None:
    """Every price with its date, its source and how well it is known, and every rate."""
    found, rates = _prices(invocation), load_rates()
    document = {
        **_known(found, rates),
        "prices": {
            key: {
                "usd": price.usd,
                "per": price.per,
                "unit": price.unit,
                "free": price.free,
                "free_kind": price.free_kind if price.free else None,
                "source": price.source,
                "evidence": price.evidence,
            }
            for key, price in found.prices.items()
        },
        "rates": {
            key: {
                "value": rate.value,
                "error": rate.error,
                "unit": rate.unit,
                "kind": rate.kind,
                "why": rate.why,
            }
            for key, rate in rates.rates.items()
        },
    }

    def show(out: Console) -> None:
        rows = [
            [
                key,
                f"{price.usd:.10g}",
                f"{price.per:,.0f} {price.unit}",
                _free(price),
                price.evidence,
                price.source,
            ]
            for key, price in found.prices.items()
        ]
        out.print(
            table(["price", "USD", "per", "free a month", "known from", "source"], rows, spare=("source",))
        )
        out.print()
        rated = [
            [key, _with_error(rate), rate.unit, rate.kind, rate.why] for key, rate in rates.rates.items()
        ]
        out.print(table(["rate", "value", "unit", "", "how"], rated))
        _show_known(found, rates, out)

    invocation.emit(document, show)


# --- input --------------------------------------------------------------------------------------------


def _template(
    invocation: Invocation, pairs: list[str] | None, environment: str | None, deployed: bool
) -> StackTemplate:
    if environment is not None and deployed:
        raise UsageError("--env and --deployed exclude each other: both say with which parameters.")
    root = find_root()
    parameters = dict(_ANY_TARGET)
    if deployed:
        target = invocation.target
        found = deployed_parameters(target.client("cloudformation"), target.stack)
        if found is None:
            raise NotFound(f"There is no stack {target.stack!r} on {target.host}.")
        parameters |= found
    if environment is not None:
        try:
            parameters |= environment_parameters(environment, [], root / CONFIG)
        except ValueError as error:
            raise UsageError(str(error)) from error
    for pair in pairs or []:
        name, equals, value = pair.partition("=")
        if not (name and equals):
            raise UsageError(f"--parameter {pair!r} is not of the form KEY=VALUE.")
        parameters[name] = value
    return read_stack_template(root, parameters)


def _prices(invocation: Invocation) -> PriceList:
    return load_prices(invocation.options.region or "us-east-1")


def _priced[Found](compute: Any) -> Any:
    try:
        return compute()
    except UnknownPrice as error:
        raise UsageError(str(error)) from error


def _object(path: Path) -> tuple[str, int]:
    if not path.is_file():
        raise NotFound(f"There is no file {path}.")
    return path.name, path.stat().st_size


def _bytes(text: str) -> int:
    """
    >>> _bytes("500MB"), _bytes("1.5 GB"), _bytes("10TB"), _bytes("12")
    (500000000, 1500000000, 10000000000000, 12)
    """
    match = re.fullmatch(r"([0-9]+(?:[.][0-9]+)?) ?([kMGT]?)B?", text)
    if match is None:
        raise UsageError(f"{text!r} is no size; write 500MB, 5GB or 10TB.")
    return int(float(match[1]) * _UNITS[match[2]])


# --- output -------------------------------------------------------------------------------------------


def _known(prices: PriceList, rates: Rates) -> dict[str, Any]:
    return {
        "region": prices.region,
        "asked_region": prices.asked,
        "prices_as_of": prices.as_of,
        "rates_measured_on": rates.measured_on,
        "rates_machine": rates.machine,
    }


def _show_known(prices: PriceList, rates: Rates, out: Console) -> None:
    out.print()
    if prices.asked != prices.region:
        say(out, f"prices.json does not hold {prices.asked}: these are the prices of {prices.region}.")
    say(
        out,
        f"List prices of {prices.region} as of {prices.as_of}; rates measured on {rates.measured_on} "
        f"({rates.machine}). 'dropforge cost prices' shows both with their sources.",
    )


def _with_error(rate: Rate) -> str:
    return f"{rate.value:.6g}" if rate.error is None else f"{rate.value:.3g} ± {rate.error:.1g}"


def _show_bill(bill: Bill, out: Console) -> None:
    rows: list[list[Any]] = []
    for service, (usd, after) in bill.by_service().items():
        rows.append([Text(service, style="bold"), "", "", _usd(usd, bold=True), _usd(after, bold=True), ""])
        for line in bill.lines:
            if line.service == service:
                amount = f"{line.quantity:,.0f}" if line.quantity >= 100 else f"{line.quantity:,.3g}"
                rows.append(
                    [
                        "",
                        line.what,
                        f"{amount} {line.unit}",
                        _usd(line.usd),
                        _usd(line.usd_after_free),
                        line.note,
                    ]
                )
    rows.append(
        [
            Text("Total", style="bold"),
            "",
            "",
            _usd(bill.usd, bold=True),
            _usd(bill.usd_after_free, bold=True),
            "",
        ]
    )
    out.print(table(["service", "", "quantity", "list", "free tier", "how"], rows, spare=("how",)))
    least, most = bill.usd_range
    if least < most:
        out.print()
        say(
            out,
            f"With TrainingSpot the list price is between {_plain_usd(least)} and {_plain_usd(most)} USD.",
        )


def _show_run(run: RunEstimate, limits: list[str], out: Console) -> None:
    rows = [
        [
            part.name,
            f"{part.quantity:,.3g} {part.unit}"
            if part.quantity < 100
            else f"{part.quantity:,.0f} {part.unit}",
            _usd(part.usd),
            duration(part.seconds) if part.seconds else "",
        ]
        for part in run.parts
    ]
    rows.append([Text("Total", style="bold"), "", _usd(run.usd, bold=True), duration(run.seconds)])
    say(out, f"{run.input_mb:,.1f} MB of CSV, trained on {run.instance_type}, US dollars at list price")
    out.print()
    out.print(table(["", "quantity", "USD", "time"], rows))
    if run.least_usd < run.usd:
        say(
            out,
            f"Between {_plain_usd(run.least_usd)} and {_plain_usd(run.usd)} USD: Spot capacity costs up to "
            "90 % less; at the higher price, each interruption of TrainingSpot comes at the end of the job. "
            "MaximumRunCostUSD is held to the higher price.",
        )
    for limit in limits:
        say(out, f"Limit: {limit}.")


def _scale_table(steps: list[Step]) -> Any:
    rows = [
        [
            _gigabytes(step.gigabytes),
            f"{step.functions:,}",
            duration(step.preparation_s),
            step.instance_type or "none fits",
            duration(step.training_s),
            f"{step.usd:,.2f}",
            str(len(step.limits)) if step.limits else "",
        ]
        for step in steps
    ]
    return table(["CSV", "functions", "preparation", "instance", "training", "USD", "limits"], rows)


def _gigabytes(value: float) -> str:
    return f"{value / 1000:g} TB" if value >= 1000 else f"{value:g} GB"


def _usd(value: float, *, bold: bool = False) -> Text:
    return Text(_plain_usd(value), style="bold" if bold else "", justify="right")


def _plain_usd(value: float) -> str:
    return f"{value:,.4f}" if value < 0.1 else f"{value:,.2f}"


def _free(price: Any) -> str:
    return f"{price.free:,.0f} {price.free_kind}" if price.free else ""
