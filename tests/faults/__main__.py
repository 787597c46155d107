"""``python -m tests.faults``: the fault matrix, the kills, and 200 drops from 8 clients."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence

from tests.faults.cells import Cell, all_cells, states_without_calls, unreached_states
from tests.faults.kinds import KINDS
from tests.faults.runner import Result, run_cells
from tests.faults.simulation import describe, simulate


def main(arguments: Sequence[str] | None = None) -> int:
    """Run what was asked for; the exit status says whether all of it passed."""
    options = _options(arguments)
    cells = [cell for cell in all_cells() if _is_wanted(cell, options)]
    started, done = time.monotonic(), 0

    def report(result: Result) -> None:
        nonlocal done
        done += 1
        verdict = "ok  " if result.passed else "FAIL"
        print(f"{done:4}/{len(cells)} {verdict} {result.seconds:6.1f} s  {result.cell.name}", flush=True)
        for problem in result.problems:
            print(f"          {problem}", flush=True)

    print(f"{len(cells)} cells on {options.jobs} hosts", flush=True)
    results = run_cells(cells, options.jobs, report)
    _print_table(results)
    problems = [f"no scenario reaches {each}" for each in unreached_states()]
    problems += [f"{result.cell.name}: {problem}" for result in results for problem in result.problems]
    ran = {result.cell.name for result in results}
    problems += [f"{cell.name} was not run" for cell in cells if cell.name not in ran]
    passed = sum(result.passed for result in results)
    failed = len(cells) - passed + len(unreached_states())
    if options.drops:
        outcome = simulate(drops=options.drops)
        print(f"\n{describe(outcome)}")
        problems += [f"drops: {problem}" for problem in outcome.problems]
        passed, failed = passed + outcome.passed, failed + (not outcome.passed)
    for problem in problems:
        print(f"FAIL {problem}")
    print(f"{time.monotonic() - started:.0f} s")
    print(f"{passed} passed, {failed} failed")
    return 1 if failed else 0


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__)
    parser.add_argument("--only", action="append", metavar="STATE", help="only this state; may be repeated")
    parser.add_argument("--kind", action="append", choices=KINDS, help="only this kind of fault")
    parser.add_argument("--group", action="append", help="only the cells that share this group's stack")
    parser.add_argument("--jobs", type=int, default=2, help="hosts at once; 2 by default")
    parser.add_argument(
        "--drops", type=int, help="how many drops the clients make; 200, or 0 with --only etc."
    )
    options = parser.parse_args(arguments)
    if options.drops is None:
        options.drops = 0 if options.only or options.kind or options.group else 200
    return options


def _is_wanted(cell: Cell, options: argparse.Namespace) -> bool:
    return (
        (not options.only or cell.state in options.only)
        and (not options.kind or cell.fault.kind in options.kind)
        and (not options.group or cell.group in options.group)
    )


def _print_table(results: Sequence[Result]) -> None:
    by_state: dict[tuple[str, str], dict[str, list[bool]]] = {}
    for result in results:
        name = (result.cell.scenario.machine, result.cell.state)
        by_state.setdefault(name, {}).setdefault(result.cell.fault.kind, []).append(result.passed)
    print(f"\n{'state':38}" + "".join(f"{kind:>13}" for kind in KINDS))
    for (machine, state), kinds in sorted(by_state.items()):
        cells = [_mark(kinds.get(kind)) for kind in KINDS]
        print(f"{machine + '.' + state:38}" + "".join(f"{mark:>13}" for mark in cells))
    print("\nStates that call nothing, so that nothing can fail in them:")
    for kind, states in states_without_calls().items():
        print(f"  {kind}: {', '.join(states)}")


def _mark(passed: list[bool] | None) -> str:
    if passed is None:
        return "–"
    return "ok" if all(passed) else "FAIL"


if __name__ == "__main__":
    sys.exit(main())
