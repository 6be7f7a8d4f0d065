"""Manifests: their media types, what makes one well-formed, what it may refer to, and where it is stored."""
