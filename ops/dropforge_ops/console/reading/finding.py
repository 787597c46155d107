"""What somebody looks for in a list."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Wanted:
    """Words that all have to occur, and the one state that is asked for; empty for any."""

    text: str = ""
    state: str = ""

    def __bool__(self) -> bool:
        return bool(self.text.strip() or self.state)

    def takes(self, state: str, *texts: object) -> bool:
        """Whether something in this state, with these texts, is looked for.

        >>> Wanted("LIVE churn").takes("approved", "churn-1", None, "is live")
        True
        >>> Wanted(state="failed").takes("succeeded")
        False
        """
        said = " ".join(str(each) for each in texts if each is not None).lower()
        return self.state in ("", state) and all(word in said for word in self.text.lower().split())
