"""Conformance suites, one per port: whoever writes an adapter runs them against it. They know no driver."""

from intendant.testing.conformance.cold import COLD_CHECKS, check_cold
from intendant.testing.conformance.files import FILE_CHECKS, check_files
from intendant.testing.conformance.log import LOG_CHECKS, check_log
from intendant.testing.conformance.past import PAST_CHECKS
from intendant.testing.conformance.promise import (
    BrokenPromise,
    LogCheck,
    OpenCold,
    OpenFiles,
    OpenStore,
    Past,
    PastCheck,
)

__all__ = [
    "COLD_CHECKS",
    "FILE_CHECKS",
    "LOG_CHECKS",
    "PAST_CHECKS",
    "BrokenPromise",
    "LogCheck",
    "OpenCold",
    "OpenFiles",
    "OpenStore",
    "Past",
    "PastCheck",
    "check_cold",
    "check_files",
    "check_log",
]
