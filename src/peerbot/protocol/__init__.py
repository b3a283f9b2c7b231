"""The documents that cross between worker and gateway, versioned. A gateway serves workers of the release before."""
