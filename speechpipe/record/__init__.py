"""Turn partials into a record, and a record into files: subtitles, exports, tables and the report.

Pure functions: no clock and no I/O, so two joins that race compute the same bytes.
"""
