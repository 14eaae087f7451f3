"""Makes the application that a test asks."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from intendant import Limits
from intendant.http import HttpLimits
from tests.http.desk import desk


@pytest.fixture
def opened(tmp_path: Path) -> Callable[..., Any]:
    def make(limits: HttpLimits | None = None, within: Limits | None = None) -> Any:
        return desk(tmp_path, limits, within)

    return make
