"""Print the stack that an environment of samconfig.toml is deployed to.

python scripts/environment_stack.py dev
"""

from __future__ import annotations

import sys
from pathlib import Path

from dropforge_ops.stack.environments import CONFIG, stack_of

ROOT = Path(__file__).resolve().parent.parent


def main() -> int:
    try:
        print(stack_of(sys.argv[1], ROOT / CONFIG))
    except (IndexError, ValueError) as error:
        print(error if isinstance(error, ValueError) else __doc__, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
