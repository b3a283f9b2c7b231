"""`peerbot cost`: reads the journal from outside, and says what work has cost."""
