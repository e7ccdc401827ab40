"""How every serving command ends: 0, or one line on standard error and exit code 2 for a user's mistake."""

import sys
from collections.abc import Callable

from serving.errors import ServingError

USER_ERROR = 2


def command(main: Callable[[], None]) -> None:
    """Run `main`; a mistake that a user can mend ends in one line."""
    try:
        main()
    except ServingError as error:
        print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
        sys.exit(USER_ERROR)
