"""From partials to what people read: the record, subtitles, exports, tables and the report.

In: the partials of a recording, or its record. Out: a record, or text and bytes made of it. Pure: no clock, no I/O, so
two joins that race compute the same bytes.
"""
