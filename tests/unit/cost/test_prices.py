"""Prices are dated, sourced, and never guessed."""

from __future__ import annotations

import json
from datetime import date
from pathlib import Path

import pytest

from dropforge.domain.errors import UnknownPrice
from dropforge.pricing import prices as module
from dropforge.pricing.prices import load_prices
from dropforge.pricing.rates import load_rates

FILE = Path(module.__file__).with_name("prices.json")


def test_every_price_has_a_source_of_aws_and_says_how_it_is_known() -> None:
    document = json.loads(FILE.read_text())
    date.fromisoformat(document["as_of"])
    for price in load_prices().prices.values():
        assert price.source.startswith("https://aws.amazon.com/")
        assert price.evidence in document["evidence"]
        assert price.usd > 0


def test_a_region_without_prices_is_priced_as_the_default_and_says_so() -> None:
    found = load_prices("eu-central-2")
    assert (found.region, found.asked) == ("us-east-1", "eu-central-2")


def test_an_unknown_price_is_an_error_that_names_what_is_known() -> None:
    with pytest.raises(UnknownPrice, match=r"ml\.m5\.large"):
        load_prices().instance("ml.q1.tiny")
    with pytest.raises(UnknownPrice, match=r"moon\.dust"):
        load_prices()["moon.dust"]


def test_the_free_tier_is_what_lasts_for_ever() -> None:
    transitions, api = load_prices()["states.transition"], load_prices()["api.request"]
    assert transitions.of(4000, free_tier=True) == 0
    assert api.free_kind != "always"
    assert api.of(1000, free_tier=True) == api.of(1000) > 0


def test_rates_name_their_machine_and_every_assumption_its_reason() -> None:
    rates = load_rates()
    assert rates.machine
    date.fromisoformat(rates.measured_on)
    for key, rate in rates.rates.items():
        assert rate.kind in ("measured", "assumed"), key
        assert rate.why, key
        assert rate.value > 0, key


def test_a_function_that_was_never_measured_counts_as_the_slowest() -> None:
    rates = load_rates()
    known = [rate.value for key, rate in rates.rates.items() if key.startswith("function.")]
    assert rates.function_s("FutureFunction") == max(known)
