"""`peerbot doctor`: looks at everything that PeerBot needs, from where it runs, and says how to mend what is wrong."""
