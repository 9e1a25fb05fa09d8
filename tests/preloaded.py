"""What the processes that tests/processes.py starts have imported already: all that a training or a painting needs.

Held-out pictures are small, and configs parsed once for all, as in the tests' own processes (tests/conftest.py).
"""

from pathlib import Path
from unittest import mock

from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

import onestroke.cli.infer
import onestroke.cli.train
import onestroke.training.logs
import onestroke.training.resuming
import onestroke.training.run  # noqa: F401
from onestroke.data import datamodule
from tests.quick import HELD_OUT_SIDE, parsed_once

datamodule._HELD_OUT_SIDE = HELD_OUT_SIDE

mock.patch.object(OmegaConf, "load", staticmethod(parsed_once())).start()
with initialize_config_dir(str(Path(__file__).parents[1] / "configs"), version_base=None):
    compose("train")
