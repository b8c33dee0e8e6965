"Several processes: the losses of one, whatever the family and the way of spreading, and a checkpoint that any number can go on from."
import pytest
torch = pytest.importorskip("torch")
from vlm4vla.catalog.backbones import backbones
from vlm4vla.catalog.experiments import experiments
from vlm4vla.core import seed_everything, stable_seed
from vlm4vla.heads import codes
from vlm4vla.heads.registry import heads
from vlm4vla.policy.policy import Policy
from vlm4vla.training.processes import launch
from vlm4vla.policy.train import train

RUNS = [f"{b.name}__grinningface__smoke__s0" for b in backbones.values() if b.kind == "tiny"]
HEADS = [f"tiny-qwen3-vl__grinningface__smoke+head-{h}__s0" for h in ("latent", "oft", "bins", "fast-256", "flow", "insulated-256")]
PARTS = HEADS[-1] # also in parts, and with what nobody reads left out
FEW = """
from dataclasses import replace
from functools import partial
from pathlib import Path
from vlm4vla.heads import codes
from vlm4vla.heads.registry import heads
heads["latent"] = replace(heads["latent"], make=partial(codes.LatentHead, steps=2)); codes.cache_dir = lambda: Path({0!r})
""" # latent actions of two steps
losses = lambda log: [r["value"] for r in log if r["name"] == "loss"]

def apart(a, b):
    "The distance of two sets of weights."
    return sum((a[k].double() - b[k].double()).square().sum() for k in a).sqrt().item()

def begun(r):
    "The weights that a training begins with."
    e = experiments[r]; seed_everything(stable_seed("train", e.seed))
    return Policy.new(e).state_dict()

@pytest.fixture(scope="module", autouse=True)
def everything(tmp_path_factory):
    "FSDP shares no prefix, so nobody does: otherwise AdamW would move weights whose gradient is mere rounding this way and that."
    with pytest.MonkeyPatch.context() as m:
        m.setenv("VLM4VLA_COMPUTE_ALL", "1"); m.setitem(heads, "latent", heads["latent"]); m.setattr(codes, "cache_dir", codes.cache_dir)
        exec(FEW.format(str(tmp_path_factory.mktemp("alone-latents"))), {}); yield

@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    d = tmp_path_factory.mktemp("alone")
    return {r: (losses(train(r, d/r)[1]), d/r, begun(r)) for r in (*RUNS, *HEADS)}

@pytest.fixture(scope="module")
def two(tmp_path_factory):
    "What two processes leave; they take longer to begin than to train, so they do everything in one go."
    d = tmp_path_factory.mktemp("two")
    launch(f"""{FEW.format(str(d))}
from vlm4vla.policy.train import train
train({RUNS[0]!r}, {str(d/"begun")!r}, stop_at=2)
for mode in ("ddp", "fsdp"):
    for r in {RUNS + HEADS!r}: train(r, f"{d}/{{mode}}/{{r}}", mode=mode)
train({PARTS!r}, {str(d/"parts")!r}, mode="fsdp", micro_batch=1, gradient_checkpointing=True)
import os; os.environ["VLM4VLA_COMPUTE_ALL"] = "0"
train({RUNS[0]!r}, {str(d/"less")!r})
train({PARTS!r}, {str(d/"less-parts")!r}, mode="fsdp", micro_batch=1)
""", 2)
    return d

@pytest.mark.parametrize("mode", ["ddp", "fsdp"])
def test_two_processes_train_as_one(mode, alone, two):
    for r, (want, folder, first) in alone.items():
        log = torch.load(two/mode/r/"state.pt", weights_only=True)["log"]
        assert losses(log) == pytest.approx(want, abs=1e-5), r
        a, b = (Policy.load(f).state_dict() for f in (folder, two/mode/r))
        # against the way gone: AdamW moves a weight by the rate even where its gradient is mere rounding
        assert apart(a, b) < 1e-3*apart(a, first), r

def test_two_processes_compute_less_as_one(two, tmp_path, monkeypatch):
    monkeypatch.setenv("VLM4VLA_COMPUTE_ALL", "0")
    log = torch.load(two/"less"/"state.pt", weights_only=True)["log"]
    assert losses(log) == pytest.approx(losses(train(RUNS[0], tmp_path)[1]), abs=1e-5)

@pytest.mark.parametrize("folder", ["parts", "less-parts"])
def test_a_head_that_follows_a_reading_learns_in_parts_of_shares(folder, alone, two):
    "Layers are called twice, or computed again, and gradients come back through what they left, once for each part."
    assert losses(torch.load(two/folder/"state.pt", weights_only=True)["log"]) == pytest.approx(alone[PARTS][0], abs=1e-5)

def test_one_process_goes_on_from_two(alone, two):
    assert losses(train(RUNS[0], two/"begun")[1]) == pytest.approx(alone[RUNS[0]][0], abs=1e-5)

def test_a_batch_in_parts_is_the_same_batch(alone, tmp_path):
    r = RUNS[0]
    assert losses(train(r, tmp_path, micro_batch=1)[1]) == pytest.approx(alone[r][0], abs=1e-5)

def test_activations_computed_again_are_the_same(alone, tmp_path):
    for r in (*RUNS, *HEADS): assert losses(train(r, tmp_path/r, gradient_checkpointing=True)[1]) == pytest.approx(alone[r][0], abs=1e-6), r
