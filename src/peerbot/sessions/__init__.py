"""Takes the agent's session out of the journal, so that a person can go on with it in their own terminal."""
