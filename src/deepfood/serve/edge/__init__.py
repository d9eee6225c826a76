"""Between clients and the API: connections, queues, limits, and worker processes.

uvicorn has no public way to refuse a request before its body, to time out a slow client, or to
replace a worker that hangs. So this room subclasses its internals, and pyproject.toml pins the
minor version that is tested. tests/serve/test_uvicorn.py fails where an upgrade changes what is
relied on:

- `http1.Protocol` overrides asyncio's and httptools' callbacks of `HttpToolsProtocol`. It reads
  `connections`, `pipeline`, `cycle`, `parser`, `transport`, `loop`, `app_state`, and the `url` and
  `headers` (names in lower case) of the request that is arriving. uvicorn calls
  `on_response_complete` after each answer.
- Of a `RequestResponseCycle` it reads `response_started`, `response_complete` and `more_body`. For
  a refused request it puts `http1.RefusedCycle` in its place: once `response_complete` is true,
  uvicorn uses nothing else of a cycle but `message_event`, and throws the rest of the body away.
- `http1.Config` is pickled and has attributes of its own; uvicorn hands it to protocols and
  workers as `config`.
- `workers.Workers` overrides `keep_subprocess_alive`, `terminate_all` and `join_all` of
  `Multiprocess`, whose `run` calls them; and uses `processes`, `sockets`, `config`, `should_exit`.
  A `Process` has `process`, `pid`, `exitcode`, `start`, `kill`, and a pipe `parent_conn`, on which
  each message is answered with another. One that cannot start exits with `STARTUP_FAILURE`.
- `drain.draining` wraps the SIGTERM handler that `Server.serve` sets before the lifespan starts.
"""
