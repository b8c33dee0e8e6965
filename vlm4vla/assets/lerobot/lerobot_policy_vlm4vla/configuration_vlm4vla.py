"""What lerobot must know of a policy before it is loaded."""
from dataclasses import dataclass, field

from lerobot.configs import NormalizationMode, PreTrainedConfig
from lerobot.optim import AdamWConfig


def _as_they_are() -> dict[str, NormalizationMode]:
    "A policy of vlm4vla scales its inputs and its actions itself, with statistics of its own."
    return dict.fromkeys(("VISUAL", "STATE", "ACTION"), NormalizationMode.IDENTITY)


@PreTrainedConfig.register_subclass("vlm4vla")
@dataclass
class Vlm4vlaConfig(PreTrainedConfig):
    "The config.json that stands beside a policy's policy.json and model.safetensors."
    chunk_size: int = 10  # actions that are predicted at once
    n_action_steps: int = 5  # actions that are executed before it looks again
    backbone: str = ""  # what the policy was made from, by its name
    weights: str = ""  # SHA-256 of model.safetensors
    primary: str = "observation.images.primary"  # the camera that it looks through
    wrist: str = "observation.images.wrist"  # the second camera, for a policy that has one
    optimizer_lr: float = 3e-4
    optimizer_weight_decay: float = 0.0
    normalization_mapping: dict[str, NormalizationMode] = field(default_factory=_as_they_are)

    def __post_init__(self):
        super().__post_init__()
        if not 1 <= self.n_action_steps <= self.chunk_size:
            raise ValueError(f"n_action_steps is {self.n_action_steps}; a policy that predicts {self.chunk_size} actions executes "
                             f"1 to {self.chunk_size} of them.")

    def validate_features(self) -> None:
        if self.primary not in (self.input_features or {}):
            raise ValueError(f"The policy looks at {self.primary}, and there are {', '.join(self.input_features or {}) or 'no inputs'}: "
                             f"name the camera with --policy.primary, or rename it with --rename_map.")

    def get_optimizer_preset(self) -> AdamWConfig:
        return AdamWConfig(lr=self.optimizer_lr, weight_decay=self.optimizer_weight_decay)

    def get_scheduler_preset(self) -> None:
        return None

    @property
    def observation_delta_indices(self) -> None:
        return None

    @property
    def action_delta_indices(self) -> list[int]:
        return list(range(self.chunk_size))

    @property
    def reward_delta_indices(self) -> None:
        return None
