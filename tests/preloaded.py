"""What the processes that tests/processes.py starts have imported already: all that a training or a painting needs.

Their trainings' held-out pictures have 64 px, as in trainings within a test's process: of 256 px, looking at them takes
most of the time of a training of a few steps. Configs are parsed once for all.
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
from tests.parsed_once import parsed_once

datamodule._HELD_OUT_SIDE = 64

mock.patch.object(OmegaConf, "load", staticmethod(parsed_once())).start()
with initialize_config_dir(str(Path(__file__).parents[1] / "configs"), version_base=None):
    compose("train")
