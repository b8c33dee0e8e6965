"""Policies and simulators of vlm4vla inside lerobot: `--policy.path=FOLDER` and `--env.type=vlm4vla`."""
from . import configuration_vlm4vla, env_vlm4vla  # noqa: F401  (they register themselves)
