"""What Moorage's services share: the contract, configuration, errors, grammar and gRPC plumbing."""

from importlib.metadata import version as _version

__version__ = _version("moorage")
