"""`hummingbird segment`: labels folders of images and videos from a few annotated images.

`run.segment` is the command; `inputs` finds images and names their results, `results` keeps the output folder,
`pictures` and `video` make the files, `page` the table and the page to leaf through.
"""

from __future__ import annotations

from hummingbird.incontext.segment.run import segment
from hummingbird.incontext.segment.saved import resolve_config

__all__ = ["resolve_config", "segment"]
