"""Spans of what executions do. They carry ids, types and codes: never a parameter, a result or an error's message."""

from __future__ import annotations

import re
from collections.abc import Generator, Mapping
from contextlib import AbstractContextManager, contextmanager
from typing import Final

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.trace import Span, SpanKind, Tracer
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
from opentelemetry.trace.status import StatusCode

from intendant.domain.errors import IntendantError
from intendant.domain.errors import StepFailed as StepFailedError
from intendant.domain.payloads import StepFailed
from intendant.domain.state import ExecutionState, Status

_KEYS: Final = re.compile(r"\[[^\]]*\]")
_TRACEPARENT: Final = "traceparent"
_propagator: Final = TraceContextTextMapPropagator()


class OpenTelemetryTracing:
    """See `Tracing`. One trace follows an intent: its submission, every life of its execution, steps and children."""

    def __init__(self, tracer: Tracer) -> None:
        self._tracer = tracer

    @contextmanager
    def submit(self, tenant: str, session: str, type: str, count: int) -> Generator[str]:
        """See `Tracing`."""
        attributes: dict[str, str | int | bool] = {
            "intendant.tenant": tenant,
            "intendant.session": session,
            "intendant.type": type,
            "intendant.intents": count,
        }
        with self._span(f"submit {type}", None, SpanKind.PRODUCER, attributes) as span:
            try:
                yield _traceparent(span)
            except IntendantError as error:
                _fail(span, error.code)
                raise

    @contextmanager
    def execution(self, state: ExecutionState, *, resumed: bool) -> Generator[_Execution]:
        """See `Tracing`. The task's own context is not asked: it is whoever's who happened to start the task."""
        context = _propagator.extract({_TRACEPARENT: state.trace}, Context())
        attributes: dict[str, str | int | bool] = {
            "intendant.tenant": state.tenant,
            "intendant.session": state.session,
            "intendant.execution": state.id,
            "intendant.type": state.type,
            "intendant.resumed": resumed,
        }
        with self._span(f"execution {state.type}", context, SpanKind.CONSUMER, attributes) as span:
            execution = _Execution(self, span)
            try:
                yield execution
            finally:
                if not execution.over:
                    span.set_attribute("intendant.status", "suspended")

    def _span(
        self, name: str, context: Context | None, kind: SpanKind, attributes: Mapping[str, str | int | bool]
    ) -> AbstractContextManager[Span]:
        return self._tracer.start_as_current_span(
            name, context, kind, attributes, record_exception=False, set_status_on_exception=False
        )

    @contextmanager
    def step(self, path: str, execution: Span) -> Generator[Span]:
        """A step of this execution, within what the handler's task is in: a span of its own, if it has begun one."""
        here = trace.get_current_span().get_span_context().is_valid
        context = None if here else trace.set_span_in_context(execution)
        attributes = {"intendant.step": path}
        with self._span(f"step {_KEYS.sub('', path)}", context, SpanKind.INTERNAL, attributes) as span:
            yield span


class _Execution:
    """See `ExecutionTrace`."""

    def __init__(self, tracing: OpenTelemetryTracing, span: Span) -> None:
        self.over = False
        self._tracing = tracing
        self._span = span
        self._steps: dict[str, Span] = {}  # that are under way, by path

    @contextmanager
    def step(self, path: str) -> Generator[str]:
        """See `ExecutionTrace`."""
        with self._tracing.step(path, self._span) as span:
            self._steps[path] = span
            try:
                yield _traceparent(span)
            except StepFailedError as error:
                _fail(span, error.kind)
                raise
            except IntendantError as error:
                _fail(span, error.code)
                raise
            except BaseException:
                span.set_attribute("intendant.status", "interrupted")
                raise
            finally:
                del self._steps[path]

    def attempt_failed(self, failed: StepFailed) -> None:
        """See `ExecutionTrace`."""
        span = self._steps.get(failed.path, self._span)
        span.add_event("attempt failed", {"intendant.attempt": failed.attempt, "error.type": failed.error.code})

    def ended(self, status: Status, code: str = "") -> None:
        """See `ExecutionTrace`."""
        self.over = True
        self._span.set_attribute("intendant.status", str(status))
        if code:
            _fail(self._span, code)


def _traceparent(span: Span) -> str:
    carrier: dict[str, str] = {}
    _propagator.inject(carrier, trace.set_span_in_context(span, Context()))
    return carrier.get(_TRACEPARENT, "")


def _fail(span: Span, code: str) -> None:
    span.set_attribute("error.type", code)
    span.set_status(StatusCode.ERROR)
