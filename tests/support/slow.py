"""Tests that are left out unless GOAT_SLOW=1 is set. Nothing here is a test."""

import os

import pytest

SLOW = pytest.mark.skipif(not os.environ.get("GOAT_SLOW"), reason="set GOAT_SLOW=1")
