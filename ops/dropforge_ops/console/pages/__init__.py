"""The pages of the console, in the order of the navigation."""

from __future__ import annotations

from typing import Final

from dropforge_ops.console.page import Page
from dropforge_ops.console.pages import (
    comparing,
    drift,
    drops,
    model_card,
    models,
    overview,
    run,
    runs,
    trying,
    version,
)

PAGES: Final[tuple[Page, ...]] = (
    overview.PAGE,
    runs.PAGE,
    drops.PAGE,
    run.PAGE,
    models.PAGE,
    version.PAGE,
    version.REFUSED,
    model_card.PAGE,
    comparing.PAGE,
    drift.PAGE,
    trying.PAGE,
)
