"""Render `report.html`: a record as one page to read, look at and listen to. Pure; untrusted text is escaped.

The page needs no network: it contains its style, its script and the record, and its Content-Security-Policy allows
nothing else but media to play. It is readable without the script, which adds the player, clickable words and downloads.
"""

from speechpipe.record.report.charts import clock_time
from speechpipe.record.report.page import content_security_policy, data_url, render_report

__all__ = ["clock_time", "content_security_policy", "data_url", "render_report"]
