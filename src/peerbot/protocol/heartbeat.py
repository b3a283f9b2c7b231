"""A worker's sign of life for the program that looks after its process: a byte in a pipe, again and again.

The worker's event loop writes it, so a loop that stands still, or a process that is stopped, is silent. It does not
depend on the gateway: an outage there is no reason to end a run. Only the supervisor has the descriptor. Its child
processes do not inherit it and can't open its `/proc`, so an agent can't give the sign in its place.
"""

FD_VARIABLE = "PEERBOT_HEARTBEAT_FD"
"""The environment variable that names the pipe's descriptor. If it is not set, nobody listens."""

BEAT_SECONDS = 5.0
"""How often a worker gives the sign."""

SILENT_SECONDS = 60.0
"""A worker that gives no sign for this long has hung. A slow one, for example on a machine that swaps, misses a few."""
