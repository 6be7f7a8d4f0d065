"""Access control: who may do what (`auth`).

`interface.py` says what a controller is; `build.py` chooses one; there is a module or a package for each kind.
"""

from api_gateway.access.interface import AccessController, AccessRecord, ChallengeError, Grant, Resource

__all__ = ["AccessController", "AccessRecord", "ChallengeError", "Grant", "Resource"]
