"""Moorage beside docker-registry: the same work for both, in turn, and what it costs each.

`python -m bench` measures and writes JSON; `python -m bench.report` makes docs/performance.md of it.
"""
