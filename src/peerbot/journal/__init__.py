"""The journal: the append-only record of conversations on object storage."""
