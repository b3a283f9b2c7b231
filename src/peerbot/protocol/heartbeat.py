"""The sign of life between a worker and whoever looks after its process: a byte in a pipe, again and again.

Written from the worker's event loop, so that a loop that stands still, or a process that is stopped, is silent. It asks
nothing of the gateway: an outage of it is no reason to end a run. The descriptor is the supervisor's alone. What it
starts does not inherit it, and its `/proc` can't be opened by them, so an agent can't give the sign in its place.
"""

FD_VARIABLE = "PEERBOT_HEARTBEAT_FD"
"""The environment variable that names the pipe's descriptor. Not there: nobody listens."""

BEAT_SECONDS = 5.0
"""How often a worker gives the sign."""

SILENT_SECONDS = 60.0
"""A worker that gave none for so long has hung. A slow one, on a machine that swaps, say, misses a few."""
