"""The whole system on this machine: Google's emulators, our functions and workers, over real HTTP.

    with LocalCloud() as cloud:
        os.environ.update(cloud.environment())   # any Google client library now talks to it

Our code runs as in production: the functions in functions-framework, the workers behind real push requests. Stand-ins
replace the platform only: `relay` replaces Eventarc, `storage` Cloud Storage and its notifications, and a thread Cloud
Scheduler.

In: a configuration (`LocalCloud`). Out: environment variables that point Google's client libraries here, and a live
status. Touches child processes, ports of the loopback interface and a folder for logs.
"""

from speechpipe.emulators.cloud import Ids, LocalCloud, Snapshot
from speechpipe.emulators.find import EmulatorsMissing
from speechpipe.emulators.processes import StartFailed

__all__ = ["EmulatorsMissing", "Ids", "LocalCloud", "Snapshot", "StartFailed"]
