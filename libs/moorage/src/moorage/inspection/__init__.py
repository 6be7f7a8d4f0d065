"""Looking into a process that runs: profiles, stacks, and variables, for the debug server.

Nothing here costs anything before somebody asks.
"""

from moorage.inspection.expvars import publish, published
from moorage.inspection.questions import Answer, Question, answer

__all__ = ["Answer", "Question", "answer", "publish", "published"]
