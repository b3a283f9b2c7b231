"""The versioned documents between worker and gateway. A gateway also serves workers of the previous release."""
