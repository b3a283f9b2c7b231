"""`python -m peerbot.worker`: how a run is started, in a pod as on a laptop."""

import sys

from peerbot.worker.app import main

sys.exit(main())
