"""Moorage's blob service: it owns the bytes."""
