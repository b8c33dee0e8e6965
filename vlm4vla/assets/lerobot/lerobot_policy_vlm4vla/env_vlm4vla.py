"""The simulators of vlm4vla as environments of lerobot: `--env.type=vlm4vla --env.task=BENCHMARK`."""
from dataclasses import dataclass, field
from functools import partial

import gymnasium as gym
import numpy as np
from lerobot.configs import FeatureType, PolicyFeature
from lerobot.envs.configs import EnvConfig
from lerobot.utils.constants import ACTION

from vlm4vla.catalog.benchmarks import benchmarks
from vlm4vla.sim.single import OneSimulator


class Vlm4vlaEnv(gym.Env):
    "One episode after the other of a benchmark; the seed of a reset is the number of the episode."
    metadata = {"render_modes": ["rgb_array"], "render_fps": 5}
    render_mode = "rgb_array"

    def __init__(self, benchmark, split, task):
        self.simulator, self.number = OneSimulator(benchmark, split), 0
        self.task, self._max_episode_steps = task, benchmarks[benchmark].max_steps
        obs = self.simulator.reset(0, task)
        self.task_description, self.image = obs.instruction, obs.image
        pixels = gym.spaces.Box(0, 255, obs.image.shape, np.uint8)
        self.observation_space = gym.spaces.Dict({"pixels": gym.spaces.Dict({"primary": pixels})})
        self.action_space = gym.spaces.Box(-np.inf, np.inf, (7,), np.float32)

    def _seen(self, obs):
        self.task_description, self.image = obs.instruction, obs.image
        return {"pixels": {"primary": obs.image}}

    def reset(self, seed=None, options=None):
        self.number = self.number + 1 if seed is None else seed
        return self._seen(self.simulator.reset(self.number, self.task)), {"is_success": False}

    def step(self, action):
        obs = self.simulator.step(action)
        success = bool(obs.info.get("success", False))
        return self._seen(obs), float(success), obs.done, False, {"is_success": success}

    def render(self):
        return self.image

    def close(self):
        self.simulator.close()


@EnvConfig.register_subclass("vlm4vla")
@dataclass
class Vlm4vlaEnvConfig(EnvConfig):
    "A benchmark of vlm4vla, one of its splits and one of its tasks; empty: its first."
    task: str | None = "grinningface"
    split: str = ""
    subtask: str = ""
    fps: int = 5
    features: dict[str, PolicyFeature] = field(default_factory=lambda: {
        ACTION: PolicyFeature(type=FeatureType.ACTION, shape=(7,)),
        "pixels/primary": PolicyFeature(type=FeatureType.VISUAL, shape=(224, 224, 3))})
    features_map: dict[str, str] = field(default_factory=lambda: {
        ACTION: ACTION, "pixels/primary": "observation.images.primary"})

    @property
    def gym_kwargs(self) -> dict:
        return {}

    def create_envs(self, n_envs: int, use_async_envs: bool = False):
        b = benchmarks[self.task]
        make = partial(Vlm4vlaEnv, b.name, self.split or b.splits[0], self.subtask or b.tasks[0])
        return {b.name: {0: gym.vector.SyncVectorEnv([make]*n_envs, autoreset_mode=gym.vector.AutoresetMode.SAME_STEP)}}
