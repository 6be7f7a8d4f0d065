"""What Moorage's services share: the contract, configuration, errors, grammar and gRPC plumbing."""

import os as _os
from importlib.metadata import version as _version

__version__ = _version("moorage")

# gRPC's core writes to standard error as it likes, between the lines of the log: that a peer goes away is
# said by the error of each call. It looks here once, as soon as it is imported.
_os.environ.setdefault("GRPC_VERBOSITY", "ERROR")
