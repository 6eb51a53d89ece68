"""Run `python -m rnnlm` as `rnnlm`."""

import sys

from rnnlm.commands.main import main

sys.exit(main())
