"""Two runs side by side, on a terminal."""

from __future__ import annotations

from rich.console import Console
from rich.text import Text

from dropforge.domain.metric_registry import metric_title
from dropforge_ops.actions.compared_runs import ComparedRuns
from dropforge_ops.render import interval, say, table


def show(found: ComparedRuns, out: Console, *, every: bool = False) -> None:
    """Print what differs; with `every` also what is the same."""
    first, second = found.first, found.second
    say(out, f"A: {first.title} ({first.run.run_id})")
    say(out, f"B: {second.title} ({second.run.run_id})")
    for part in found.parts:
        rows = [row for row in part.rows if every or row.differs]
        out.print(f"\n[bold]{part.title}[/bold]")
        if not rows and not part.lines:
            say(out, "  the same" if part.rows else "  neither says anything of it")
            continue
        if rows:
            out.print(
                table(
                    ["", "A", "B"],
                    [[Text(row.name, "bold" if row.differs else "dim"), *row.shown] for row in rows],
                )
            )
        for line in part.lines:
            say(out, f"  {line}")
    out.print("\n[bold]On the same rows[/bold]")
    paired = found.paired
    if not paired.rows:
        say(out, f"  {paired.how}")
        return
    noted = f"; {paired.left_out:,} with another true value are left out" if paired.left_out else ""
    say(out, f"  {paired.rows:,} rows: {paired.how}{noted}.")
    positive = second.metric.get("positive_class")
    out.print(
        table(
            ["", "A", "B", "B is better by", ""],
            [
                [
                    metric_title(name, positive),
                    interval(each["first"]),
                    interval(each["second"]),
                    interval(each["difference"], signed=True),
                    clear(each["difference"], each["shortage"]),
                ]
                for name, each in paired.metrics.items()
            ],
        )
    )


def clear(difference: dict[str, float | None], shortage: str | None) -> str:
    """What an interval of a difference says.

    >>> clear({"low": 0.1, "high": 0.2}, None), clear({"low": -0.1, "high": 0.2}, None)
    ('B is better', 'no clear difference')
    >>> clear({"low": None, "high": None}, "2 rows of class 'yes'")
    "can't say: 2 rows of class 'yes'"
    """
    low, high = difference.get("low"), difference.get("high")
    if low is None or high is None:
        return f"can't say: {shortage}" if shortage else "can't say"
    return "B is better" if low > 0 else "A is better" if high < 0 else "no clear difference"
