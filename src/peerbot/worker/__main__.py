"""`python -m peerbot.worker`: starts a run, in a pod or on a laptop."""

import gc
import sys

# Imports make no garbage, and looking for it takes an eighth of a worker's start. app.py turns this on again.
gc.disable()

from peerbot.worker.app import main  # noqa: E402

sys.exit(main())
