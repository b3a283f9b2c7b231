"""`peerbot doctor`: checks everything that PeerBot needs, from where it runs, and says how to mend each fault."""
