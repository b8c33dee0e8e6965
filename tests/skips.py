"Pages that cannot run under this Python, and why."
from importlib.util import find_spec
from vlm4vla.core import UserError
from vlm4vla.sim.elsewhere import interpreter_of
from vlm4vla.sim.install import TESTED, base_python, install

HANDS_ON = ("01_tabletop", "02_demonstrations", "05_carry", "06_views") # hold the tabletop in their own process
USING = ("07_train", "09_sft", "10_vqa", "07_elsewhere", "03_rollout", "03_questions", "04_alignment",
         "07_spatial", "08_acts", "09_auxiliary", "01_query", "02_proprio", "04_policy", "04_actions", "12_samples", "05a_tokens",
         "07_latent", "01_watch", "02_my_vlm", "03_registered",
         "11_probes", "01_features", "02_linear", "03_drift", "04_retention", "05_predictors", "06_left",
         "probe", "evaluate", "pretrain_mini", "train", "vlm_sft") # ask for it, wherever it runs

def lacking()->str:
    "Why the tabletop cannot run here, if so; where a Python of the tested version can run it, it is installed first."
    try: interpreter_of("grinningface"); return ""
    except UserError as e: why = str(e).rstrip(".")
    if base_python()[1] != TESTED: return why
    try: install("tabletop"); return ""
    except UserError as e: return str(e).rstrip(".")

def skipped()->tuple: # names of pages, why
    "The pages that need PyBullet in a way that it cannot be had."
    if find_spec("pybullet"): return (), ""
    why = lacking()
    return (HANDS_ON + USING, why) if why else (HANDS_ON, "they need PyBullet in their own process, and it has no wheel for this Python")
