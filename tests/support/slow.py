"""What is left out, or made shorter, unless GOAT_SLOW=1 is set. Nothing here is a test."""

import os

import pytest

slow = bool(os.environ.get("GOAT_SLOW"))
SLOW = pytest.mark.skipif(not slow, reason="set GOAT_SLOW=1")
