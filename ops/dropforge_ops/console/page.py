"""What a page is."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

from dropforge_ops.console.context import Context


@dataclass(frozen=True)
class Page:
    """A page under a path such as ``/runs/{run_id}``.

    ``build`` draws it into the shell, given the context and the path's parameters by name as text.
    ``icon`` (of Material Icons) puts it into the navigation; a page without one is reached from another,
    whose path is ``within``. ``takes_drops`` says that it draws a drop zone itself.
    """

    path: str
    title: str
    build: Callable[..., Awaitable[None]]
    icon: str | None = None
    within: str | None = None
    takes_drops: bool = False

    def named(self, parameters: Mapping[str, str]) -> str:
        """The title with what the path names: "Run breast-cancer-1", "Version 3"."""
        return " ".join(
            [self.title, *(value for name, value in parameters.items() if f"{{{name}}}" in self.path)]
        )

    @property
    def section(self) -> str:
        """The path of the navigation's entry that is lit while this page is shown."""
        return self.within or self.path

    async def draw(self, context: Context, **parameters: str) -> None:
        """Draw the page's content where NiceGUI stands now."""
        await self.build(context, **parameters)
