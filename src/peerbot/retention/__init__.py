"""`peerbot prune` and `peerbot forget`: remove old conversations, and what people said, from the journal."""
