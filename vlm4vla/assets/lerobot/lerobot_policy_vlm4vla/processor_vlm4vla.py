"""What stands before and behind a policy in lerobot's pipeline: names, a batch dimension, the device; no scaling."""
from lerobot.processor import make_default_pre_post_processors


def make_vlm4vla_pre_post_processors(config, dataset_stats=None):
    return make_default_pre_post_processors(config, dataset_stats)
