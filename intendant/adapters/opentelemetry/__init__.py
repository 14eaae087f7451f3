"""Telemetry through OpenTelemetry's API package. Imported only where it is asked for: `intendant[otel]`."""

from intendant.adapters.opentelemetry.provider import OpenTelemetry

__all__ = ["OpenTelemetry"]
