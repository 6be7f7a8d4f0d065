"""Access control: who may do what (`auth`).

`interface.py` says what a controller is, and `build.py` chooses one; each kind has its module or package.
"""

from api_gateway.access.interface import AccessController, AccessRecord, ChallengeError, Grant, Resource

__all__ = ["AccessController", "AccessRecord", "ChallengeError", "Grant", "Resource"]
