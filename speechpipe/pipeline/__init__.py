"""The pipeline: six verbs over the ports, one module each.

    object finalized    -> ingest   create the recording, publish a task for each stage
    task delivered      -> perform  run the engine, create the partial
    partial created     -> join     write artifacts and result, announce, mark
    attempts exhausted  -> give_up  create the missing partial as a Failure; the join follows by itself
    every minute        -> sweep    publish again, give up past the deadline, announce what was not announced
    every day           -> reconcile  ingest the uploads of the last days that have no document

In: an argument and a `World`. Out: documents, messages and files, through the world's ports alone. Each verb may run
any number of times, in any number of processes at the same time, and may be killed anywhere: what must last is written
first, and everything written is created once (`docs/architecture.md` walks through the crashes).

What people decide (`release`, `redrive`, `replay`, `erase`, `settle`) is in `operations`, and what the verbs share is
in the other modules.
"""
