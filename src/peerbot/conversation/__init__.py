"""The rules of a conversation: its documents, its names and its next step. Pure: nothing here does input or output."""
