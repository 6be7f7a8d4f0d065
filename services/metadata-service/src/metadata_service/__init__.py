"""The metadata service: it owns the registry's names."""
