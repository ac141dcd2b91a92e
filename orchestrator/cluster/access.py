"""Access: who may use a Ray that tombola starts."""

from __future__ import annotations

import os
import secrets
import sys


def keep_private() -> None:
    """Make a Ray that this process starts usable by this process only.

    Ray listens on every network of a machine and runs what it is sent. It reads its token when it is imported, so this
    has no effect afterwards. It also has no effect if access is configured already.
    """
    if "ray" not in sys.modules and "RAY_AUTH_MODE" not in os.environ:
        os.environ.update(RAY_AUTH_MODE="token", RAY_AUTH_TOKEN=secrets.token_hex(32))
