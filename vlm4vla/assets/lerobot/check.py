"""Run under lerobot's own Python: has lerobot discover the plug-in, load a policy, open a dataset, roll out episodes."""
import json
import platform
import sys
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch

SAID = json.loads(sys.argv[1])
OUT = Path(SAID["out"])
OUT.mkdir()


def images():
    "Two images that anybody can make."
    return np.random.default_rng(0).integers(0, 256, (2, 224, 224, 3), dtype=np.uint8)


def actions():
    "What the policy answers, through every step of lerobot's own pipeline."
    from lerobot.configs import PreTrainedConfig
    from lerobot.envs.factory import make_env_config
    from lerobot.envs.utils import preprocess_observation
    from lerobot.policies.factory import make_policy, make_pre_post_processors
    config = PreTrainedConfig.from_pretrained(SAID["policy"])
    config.pretrained_path = Path(SAID["policy"])
    policy = make_policy(config, env_cfg=make_env_config("vlm4vla", task=SAID["benchmark"]))
    before, after = make_pre_post_processors(config, SAID["policy"])
    seen = preprocess_observation({"pixels": {"primary": images()}})
    seen["task"] = ["pick the block and place it on cat face"]*2
    with torch.inference_mode():
        return np.stack([after(policy.select_action(before(dict(seen)))).numpy() for _ in range(config.n_action_steps)], 1)


def saved_again(folder):
    "The policy as lerobot writes it, loaded once more by lerobot."
    from lerobot.policies.factory import get_policy_class
    cls = get_policy_class("vlm4vla")
    policy = cls.from_pretrained(SAID["policy"])
    policy.save_pretrained(folder)
    again = cls.from_pretrained(folder)
    return all(torch.equal(a, b) for a, b in zip(policy.parameters(), again.parameters(), strict=True))


def dataset():
    "A dataset of ours, as lerobot opens it."
    from lerobot.datasets.lerobot_dataset import LeRobotDataset
    data = LeRobotDataset("vlm4vla/local", root=SAID["data"])
    picked = [data[i] for i in (0, len(data)//2, len(data) - 1)]
    return {"episodes": data.num_episodes, "frames": len(data), "tasks": [p["task"] for p in picked],
            "actions": [p["action"].tolist() for p in picked],
            "pixels": [int((p["observation.images.primary"]*255).round().long().sum()) for p in picked]}


def rolled_out():
    "Episodes by `lerobot-eval`."
    from lerobot.scripts import lerobot_eval
    folder = OUT/"eval"
    sys.argv = ["lerobot-eval", f"--policy.path={SAID['policy']}", "--env.type=vlm4vla", f"--env.task={SAID['benchmark']}",
                f"--eval.n_episodes={SAID['episodes']}", "--eval.batch_size=1", "--seed=0", f"--output_dir={folder}"]
    lerobot_eval.main()
    info = json.loads((folder/"eval_info.json").read_text())
    return [bool(s) for task in info["per_task"] for s in task["metrics"]["successes"]]


def main():
    from lerobot.configs import PreTrainedConfig
    from lerobot.utils.import_utils import register_third_party_plugins
    register_third_party_plugins()
    found = {"python": platform.python_version(), "versions": {n: version(n) for n in ("lerobot", "torch", "transformers", "numpy")},
             "discovered": "vlm4vla" in PreTrainedConfig.get_known_choices()}
    found["actions"] = actions().tolist()
    found["saved_again"] = saved_again(OUT/"saved")
    if SAID["data"]:
        found["dataset"] = dataset()
    if SAID["episodes"]:
        found["successes"] = rolled_out()
    (OUT/"said.json").write_text(json.dumps(found))


main()
