"""What the processes that tests/processes.py starts have imported already: all that a training or a painting needs."""

import onestroke.cli.infer
import onestroke.cli.train
import onestroke.training.logs
import onestroke.training.resuming
import onestroke.training.run  # noqa: F401
