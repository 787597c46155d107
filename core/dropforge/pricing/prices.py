"""AWS's list prices by region, dated, each with its source and with how well it is known."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Final

from dropforge.domain.errors import UnknownPrice

FORMAT: Final = 1
DEFAULT_REGION: Final = "us-east-1"
INSTANCE: Final = "sagemaker.instance."


@dataclass(frozen=True, slots=True)
class Price:
    """One list price.

    Attributes:
        usd: what ``per`` units cost, in US dollars.
        unit: what is counted.
        free: units a month that an account gets for nothing; 0 where there are none.
        free_kind: ``always``, or for how long after an account was opened, such as ``first-12-months``.
        source: the address of AWS's page.
        evidence: ``aws-page`` or ``secondary``; ``prices.json`` says what each means.
    """

    key: str
    usd: float
    per: float
    unit: str
    source: str
    evidence: str
    free: float = 0.0
    free_kind: str = "always"

    @property
    def each(self) -> float:
        """US dollars for one unit."""
        return self.usd / self.per

    def of(self, quantity: float, *, free_tier: bool = False) -> float:
        """What a month's quantity costs. Only what is free for ever counts as free.

        >>> Price("p", 0.2, 1e6, "request", "", "aws-page", free=1e6).of(3e6, free_tier=True)
        0.4
        """
        billed = quantity
        if free_tier and self.free_kind == "always":
            billed = max(0.0, quantity - self.free)
        return billed * self.each


@dataclass(frozen=True)
class PriceList:
    """A region's prices.

    Attributes:
        region: whose prices these are.
        asked: the region that was asked for; another one where its prices are not in the file.
    """

    region: str
    asked: str
    as_of: str
    prices: Mapping[str, Price]

    def __getitem__(self, key: str) -> Price:
        """The price of a key.

        Raises:
            UnknownPrice: it is not in the file.
        """
        try:
            return self.prices[key]
        except KeyError:
            raise UnknownPrice(
                f"prices.json (of {self.as_of}) has no price {key!r} for {self.region}. "
                "Add it with its source."
            ) from None

    def instance(self, instance_type: str) -> Price:
        """The price of an hour of a SageMaker instance.

        Raises:
            UnknownPrice: the type's price is not in the file.
        """
        if f"{INSTANCE}{instance_type}" not in self.prices:
            known = ", ".join(sorted(key.removeprefix(INSTANCE) for key in self.prices if INSTANCE in key))
            raise UnknownPrice(
                f"The price of {instance_type} in {self.region} is not known; known are {known}. Add it to "
                "core/dropforge/pricing/prices.json with its source, or choose one of these."
            )
        return self.prices[f"{INSTANCE}{instance_type}"]


def load_prices(region: str = DEFAULT_REGION) -> PriceList:
    """The prices of a region, or of us-east-1 where the file does not hold that region."""
    document = _document()
    regions: Mapping[str, Mapping[str, Mapping[str, Any]]] = document["regions"]
    found = region if region in regions else DEFAULT_REGION
    prices = {key: Price(key, **entry) for key, entry in regions[found].items()}
    return PriceList(found, region, str(document["as_of"]), prices)


@cache
def _document() -> Mapping[str, Any]:
    document: Mapping[str, Any] = json.loads(Path(__file__).with_name("prices.json").read_text("utf-8"))
    if document["format"] != FORMAT:
        raise UnknownPrice(f"prices.json has format {document['format']}; this version reads {FORMAT}.")
    return document
