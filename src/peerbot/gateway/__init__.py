"""The door for workers: who calls, what they ask for, and the two relays. It holds every credential; a worker none."""
