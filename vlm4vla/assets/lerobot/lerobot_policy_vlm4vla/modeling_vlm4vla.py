"""A policy of vlm4vla as lerobot calls it."""
from collections import deque
from pathlib import Path

from lerobot.configs import PreTrainedConfig
from lerobot.policies import PreTrainedPolicy
from lerobot.utils.constants import ACTION
from torch import Tensor, from_numpy

from vlm4vla.policy.policy import Policy
from vlm4vla.sharing.lerobot import batch_of, what_is_seen

from .configuration_vlm4vla import Vlm4vlaConfig


class Vlm4vlaPolicy(PreTrainedPolicy):
    "Reads images and instructions out of lerobot's batch, hands on the actions one by one; all else is vlm4vla's."
    config_class, name = Vlm4vlaConfig, "vlm4vla"

    def __init__(self, config: Vlm4vlaConfig, policy: Policy | None = None, **_):
        super().__init__(config)
        config.validate_features()
        if policy is None:
            raise ValueError("A policy of vlm4vla is loaded, not built anew: name its folder with --policy.path, or make one with "
                             "`vlm4vla train`.")
        self.policy = policy
        self.reset()

    @classmethod
    def from_pretrained(cls, pretrained_name_or_path, *, config=None, revision=None, **kwargs):
        folder = Path(pretrained_name_or_path)
        if not folder.is_dir():
            from vlm4vla.sharing.hub import fetch_policy
            folder = fetch_policy(f"{pretrained_name_or_path}@{revision}" if revision else str(pretrained_name_or_path))
        config = config or PreTrainedConfig.from_pretrained(folder)
        return cls(config, Policy.load(folder)).to(config.device).eval()

    def _save_pretrained(self, save_directory, **_) -> None:
        self.policy.save(save_directory)
        self.config._save_pretrained(Path(save_directory))

    def get_optim_params(self):
        return [w for w in self.policy.parameters() if w.requires_grad]

    def reset(self):
        self._action_queue: deque = deque()

    def predict_action_chunk(self, batch: dict[str, Tensor], **_) -> Tensor:
        images, instructions, extra = what_is_seen(batch, self.policy.observes, self.config.primary, self.config.wrist)
        return from_numpy(self.policy.act(images, instructions, **({"extra": extra} if extra else {}))).to(self.config.device)

    def select_action(self, batch: dict[str, Tensor], **_) -> Tensor:
        if not self._action_queue:
            self._action_queue.extend(self.predict_action_chunk(batch)[:, :self.config.n_action_steps].transpose(0, 1))
        return self._action_queue.popleft()

    def forward(self, batch: dict[str, Tensor]) -> tuple[Tensor, dict]:
        loss, parts = self.policy.loss(batch_of(batch, self.policy, self.config.primary, self.config.wrist, ACTION))
        return loss, {k: float(v) for k, v in parts.items()}
