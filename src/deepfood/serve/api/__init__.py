"""The HTTP API: routes, what requests hold, what is answered, and errors as problem details."""
