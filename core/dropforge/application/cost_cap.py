"""The cap on what one run may cost, held before anything expensive runs."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from dropforge.domain.errors import PermanentError, RunTooExpensive, UnknownPrice
from dropforge.domain.ports import ObjectRef
from dropforge.pricing.prices import DEFAULT_REGION, load_prices
from dropforge.pricing.rates import load_rates
from dropforge.pricing.run import estimate_run, refuse_above


@dataclass(frozen=True)
class CostCap:
    """What one run may be estimated to cost, and what the estimate needs to know.

    Attributes:
        maximum_usd: 0 is no cap.
        instance_type: the first that training tries.
        max_training_s: training is stopped there.
    """

    maximum_usd: float = 0.0
    instance_type: str = ""
    region: str = DEFAULT_REGION
    max_training_s: float = math.inf

    def refusal(self, objects: Sequence[ObjectRef]) -> PermanentError | None:
        """Why a run on these objects is not to start; None where it may. Labelled predictions don't count."""
        if not self.maximum_usd:
            return None
        try:
            estimate = estimate_run(
                [(each.key, each.size or 0) for each in objects],
                instance_type=self.instance_type,
                prices=load_prices(self.region),
                rates=load_rates(),
                max_training_s=self.max_training_s,
            )
            refuse_above(estimate, self.maximum_usd)
        except (RunTooExpensive, UnknownPrice) as error:
            return error
        return None
