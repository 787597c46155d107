"""A container's output becomes log lines and metrics."""

from __future__ import annotations

import os

import pytest

from dropforge_local.sagemaker.logs import LogPump, Metrics


def pump(*chunks: bytes, failures: int = 0) -> list[str]:
    reading, writing = os.pipe()
    lines: list[str] = []
    left = failures

    def write(batch: list[tuple[int, str]]) -> None:
        nonlocal left
        if left:
            left -= 1
            raise ConnectionError
        lines.extend(line for _, line in batch)

    with os.fdopen(reading, "rb") as output:
        thread = LogPump(output, write, clock=lambda: 1.5, flush_s=0.0)
        thread.start()
        for chunk in chunks:
            os.write(writing, chunk)
        os.close(writing)
        thread.join(10)
    return lines


def test_lines_are_kept_whole_over_chunks() -> None:
    assert pump(b"one\ntw", b"o\r\n", b"three") == ["one", "two", "three"]


def test_bytes_that_are_no_text_are_replaced() -> None:
    assert pump(b"\xff\n") == ["\ufffd"]


def test_endless_line_is_cut() -> None:
    lines = pump(*[b"x" * 50_000] * 6)
    assert [len(line) for line in lines] == [262_144, 37_856]


def test_lines_are_read_where_the_host_has_a_thousand_files_open(open_files: None) -> None:
    assert pump(b"one\n") == ["one"]


@pytest.mark.parametrize("failures", [1, 3])
def test_lines_survive_a_log_service_that_is_away(failures: int) -> None:
    assert pump(b"one\n", b"two\n", failures=failures) == ["one", "two"]


def test_last_value_of_a_metric_wins() -> None:
    metrics = Metrics([{"Name": "auc", "Regex": "auc=([^;]+);"}, {"Name": "none", "Regex": "none=(.)"}])
    for line, now in (("auc=0.5; auc=0.6;", 1.0), ("auc=0.7;", 2.0), ("auc=bad;", 3.0)):
        metrics.read(line, now)
    assert metrics.final() == [{"MetricName": "auc", "Value": 0.7, "Timestamp": 2.0}]
