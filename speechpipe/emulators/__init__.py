"""The whole system on this machine: Google's emulators, our functions and workers, over real HTTP.

    with LocalCloud() as cloud:
        os.environ.update(cloud.environment())   # any Google client library now talks to it

Nothing of ours is different from production: the functions run in functions-framework, the workers get real pushes.
What stands in for the platform: `relay` for Eventarc, `storage` for Cloud Storage with its notifications, a thread
for Cloud Scheduler.
"""

from speechpipe.emulators.cloud import Ids, LocalCloud, Snapshot
from speechpipe.emulators.find import EmulatorsMissing
from speechpipe.emulators.processes import StartFailed

__all__ = ["EmulatorsMissing", "Ids", "LocalCloud", "Snapshot", "StartFailed"]
