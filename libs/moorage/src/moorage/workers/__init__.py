"""One service as several processes: a parent that keeps them running, and what passes between them.

The parent binds what is shared before the first worker starts, so a wrong address ends it with one line. A
worker is the same command once more, with more in its environment.
"""

from moorage.workers.fleet import Fleet, Workers
from moorage.workers.roster import Roster
from moorage.workers.worker import enlisted, is_first_worker, is_worker

__all__ = ["Fleet", "Roster", "Workers", "enlisted", "is_first_worker", "is_worker"]
