"""What operators see: log lines, the metrics made of their fields, and traces.

In: contract types and calls of the ports. Out: lines, spans and counters, never content of a recording. Touches the log
and the trace exporters; nothing here changes what the pipeline does.
"""
