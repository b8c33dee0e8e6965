"What is not computed is not missed: every family with and without it, its gradients, and the ways in which everything is computed."
import pytest
torch = pytest.importorskip("torch")
import numpy as np
from vlm4vla.catalog.backbones import backbones
from vlm4vla.catalog.experiments import experiments
from vlm4vla.core import seed_everything
from vlm4vla.data.actions import ActionStats
from vlm4vla.policy.policy import Policy
import vlm4vla.policy.acting # gives policies `quick`

TINY = [b.name for b in backbones.values() if b.kind == "tiny"]
WITH_PREFIX = {"tiny-qwen3-vl", "tiny-qwen3-vl-moe", "tiny-qwen2.5-vl", "tiny-qwen2-vl", "tiny-internvl", "tiny-glm-4.1v",
               "tiny-llava-onevision", "tiny-smolvlm", "tiny-idefics3"} # others: image first, a state, a mask from the row's beginning
IMAGES = np.random.default_rng(0).integers(0, 255, (3,224,224,3), dtype=np.uint8)
SAID = ["pick up cube", "open the drawer", "put the pan on the stove and the lid on the pan"]

def build(name, **kwargs):
    "A policy in which nothing hides behind a weight that starts at zero, its VLM's normalised projector among them."
    seed_everything(0); p = Policy(backbones[name], chunk_size=4, **kwargs); p.stats = ActionStats.from_range(-1., 1.)
    for w in p.parameters():
        if not w.any(): w.data.normal_(0, .02)
    return p

def learnt(p):
    "Loss of a batch and all gradients in one row."
    s = p.encoder.facts["size"]; rng = np.random.default_rng(1)
    batch = dict(images=rng.integers(0, 255, (3,s,s,3), dtype=np.uint8), instructions=SAID, mask=np.ones((3,4), bool),
                 actions=rng.uniform(-.9, .9, (3,4,7)).astype(np.float32))
    p.zero_grad(); loss, _ = p.loss(batch); loss.backward()
    return loss.detach(), {n: w.grad for n,w in p.named_parameters() if w.grad is not None}

def close(a, b, eps=1e-5):
    "Two losses, and the gradients behind them: the same weights learn, in the same direction."
    assert abs(a[0]-b[0]) <= eps*abs(a[0]) and a[1].keys() == b[1].keys()
    x, y = (torch.cat([g.flatten() for g in grads.values()]) for _,grads in (a, b))
    assert (x-y).norm() <= 10*eps*x.norm(), float((x-y).norm()/x.norm())

@pytest.mark.parametrize("name", TINY)
def test_a_training_that_computes_less_learns_the_same(name):
    p = build(name).train(); whole = learnt(p); less = learnt(p.compute_less())
    close(whole, less); assert p.last[True].fits and bool(p.shared) == (name in WITH_PREFIX)

@pytest.mark.parametrize("name", TINY)
def test_acting_computes_everything_unless_asked(name):
    p = build(name).eval(); before = p.act(IMAGES, SAID)
    assert np.array_equal(p.compute_less().act(IMAGES, SAID), before)
    if name not in ("tiny-qwen3.5", "tiny-lfm2-vl"): assert np.abs(p.quick("less").act(IMAGES, SAID) - before).max() < 1e-4

def test_the_last_layer_computes_one_token_and_the_prefix_one_row():
    p = build("tiny-qwen3-vl").train().compute_less(); seen = []
    for i, l in enumerate(p.vlm.get_decoder().layers): l.mlp.register_forward_hook(lambda m, x, y, i=i: seen.append((i, *y.shape[:2])))
    learnt(p); P, T = len(p.shared.ids), max(len(p.encoder.prompt(s)) for s in SAID)
    assert seen == [(0, 1, P), (1, 1, 1), (0, 3, T-P), (1, 3, 1)]

@pytest.mark.parametrize("more", [dict(text_mask="prefix"), dict(query_scale="words")])
def test_masks_and_scales_of_paligemma_stay(more):
    p = build("tiny-paligemma", **more).train(); close(learnt(p), learnt(p.compute_less()))

@pytest.mark.parametrize("freeze", [("vision",), ("language", "embedding"), ("vision", "projector", "language", "embedding")])
def test_frozen_parts_stay_frozen(freeze):
    p = build("tiny-qwen3-vl", freeze=freeze).train(); close(learnt(p), learnt(p.compute_less()))

def test_adapters_learn_the_same():
    p = build("tiny-qwen3-vl", lora_rank=2).train(); close(learnt(p), learnt(p.compute_less()))

def test_eager_attention_learns_the_same():
    p = build("tiny-gemma-3").train(); p.vlm.set_attn_implementation("eager"); close(learnt(p), learnt(p.compute_less()))

def test_gradient_checkpointing_computes_everything():
    p = build("tiny-qwen3-vl").train(); p.vlm.gradient_checkpointing_enable(gradient_checkpointing_kwargs=dict(use_reentrant=False))
    whole, again = learnt(p), learnt(p.compute_less())
    assert p.shared is None and whole[0] == again[0] and all(torch.equal(g, again[1][n]) for n,g in whole[1].items())

def test_a_vlm_in_which_it_would_change_something_is_computed_as_a_whole(monkeypatch):
    p = build("tiny-qwen3-vl").train(); last = p.vlm.get_decoder().layers[-1]; forward, whole = last.forward, learnt(p)
    def mixed(*args, **kwargs): # a layer whose tokens meet outside of its attention
        y = forward(*args, **kwargs)
        return y + y.mean(1, keepdim=True)
    monkeypatch.setattr(last, "forward", mixed)
    with pytest.warns(UserWarning, match="its trainings compute everything"): p.compute_less()
    assert not p.last and p.shared is None
    monkeypatch.undo(); assert learnt(p)[0] == whole[0] and p.training

def test_rounded_products_stay_near():
    p = build("tiny-qwen3-vl", precision="bfloat16").train(); close(learnt(p), learnt(p.compute_less()), .02)

def test_a_training_computes_less_unless_told(tmp_path, monkeypatch):
    from vlm4vla.policy.train import train
    e = experiments["tiny-qwen3-vl__grinningface__smoke__s0"]
    policy, less, _ = train(e, tmp_path/"less"); assert policy.last and policy.shared
    monkeypatch.setenv("VLM4VLA_COMPUTE_ALL", "1")
    policy, whole, _ = train(e, tmp_path/"all"); assert not policy.last and not policy.shared
    for a, b in zip(less, whole): assert a["name"] == b["name"] and abs(a["value"]-b["value"]) <= 1e-3*abs(b["value"]), (a, b)

# evaluation

def test_an_end_that_nobody_looks_at_is_not_rendered(monkeypatch):
    pytest.importorskip("pybullet")
    from vlm4vla.sim.worker import _Session, pack_image
    from vlm4vla.tasks.tabletop.simulator import Tabletop
    drawn, render = [], Tabletop.render
    monkeypatch.setattr(Tabletop, "render", lambda self: drawn.append(self.n) or render(self))
    def told(unseen, film=False):
        monkeypatch.setattr(Tabletop, "ends_unseen", unseen); drawn.clear()
        rng, session, said = np.random.default_rng(0), _Session("vlm4vla.tasks.tabletop.simulator", dict(split="id", limit=7)), []
        for episode in (3, 4):
            said.append(session.reset(episode, film=film))
            while not said[-1][2]: said.append(session.step(pack_image(rng.uniform(-.03, .03, (5, 7)).astype(np.float32))))
        session.env.close(); return said, list(drawn)
    (before, all_of_them), (after, fewer) = told(False), told(True)
    assert all_of_them == [0, 5, 7]*2 and fewer == [0, 5]*2 and len(before) == len(after) == 6
    for a, b in zip(before, after): assert a[1:] == b[1:] and (a[2] or a[0] == b[0])
    assert told(True, film=True) == told(False, film=True)
