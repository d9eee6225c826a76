"""The service: a gallery searched over HTTP.

`app` builds the application and `run` runs it. Below them are three rooms, and imports run one way:

- `api`: routes, requests, responses, errors. It knows the gallery's service.
- `edge`: connections, queues, limits, worker processes. It knows nothing of photos.
- `telemetry`: log lines, metrics, spans.

`api` imports `edge`, and both import `telemetry`; never the other way (tests/test_architecture.py).
Beside the rooms, and without HTTP: `question`, `service`, `current`, `released`, `cursors`.
"""

from pathlib import Path

#: The web page's files.
STATIC = Path(__file__).parent / "static"
