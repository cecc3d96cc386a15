"""Traces of single requests, for OpenTelemetry."""
