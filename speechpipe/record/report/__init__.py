"""`report.html`: a record as one page to read, look at and listen to. Pure; every text from a recording is escaped.

The page needs no network: style, script and the record are in it, and its Content-Security-Policy allows nothing else.
It is read without the script too; the script adds the player, words that follow it, and the downloads.
"""

from speechpipe.record.report.charts import clock_time
from speechpipe.record.report.page import content_security_policy, data_url, render_report

__all__ = ["clock_time", "content_security_policy", "data_url", "render_report"]
