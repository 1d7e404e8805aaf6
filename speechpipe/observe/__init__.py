"""What operators see: log lines, the metrics made of their fields, and traces.

In: contract types and calls of the ports. Out: log lines, spans and counters, never a recording's content. Writes to
the log and to the trace exporter; nothing here changes what the pipeline does.
"""
