"What a training keeps: never a number that is not finite, and only for the training it was made by."
import json, math, shutil, signal, os
from dataclasses import replace
import pytest
torch = pytest.importorskip("torch")
from vlm4vla.core import UserError
from vlm4vla.catalog.experiments import Experiment, Variant, smoke, variants
from vlm4vla.training.processes import launch
from vlm4vla.training.origin import Origin
from vlm4vla.training.state import find_non_finite
from vlm4vla.training.loop import Stopped, fit
from vlm4vla.policy.train import train
import vlm4vla.training.state

class Net(torch.nn.Module):
    "A line with a buffer that may hold infinities, as a mask does."
    def __init__(self, width=1):
        super().__init__(); self.a, self.b = torch.nn.Linear(1, width), torch.nn.Linear(width, 1)
        self.register_buffer("mask", torch.tensor([0., -math.inf])); self.register_buffer("mean", torch.zeros(1))
    def forward(self, x): return self.b(self.a(x))

x = torch.linspace(-1, 1, 16)[:, None]

def run(folder, harm=None, width=1, steps=40, net=None, **kw):
    torch.manual_seed(0); net = net or Net(width)
    def loss_at(step): return [lambda: ((net(x) - 3*x).pow(2).mean()*(1. if not harm else harm(step, net)), {})]
    log = fit(net, loss_at, **{**dict(steps=steps, lr=.05, folder=folder, checkpoint_every=10, log_every=7), **kw})
    return net, log

def after(step, what):
    "From a step on, do something to the network, or to the loss."
    return lambda s, net: (what(net) if s == step else None) or 1.

def nan(net): return float("nan")
def infinite(net): return float("inf")
def poison(net): net.b.weight.register_hook(lambda g: g*float("nan"))
def huge(net): net.a.bias.register_hook(lambda g: g*0 + 1e25) # a finite gradient whose square overflows
def statistics(net): net.mean.fill_(float("nan"))
def weight(net): # an update that leaves an infinity, whatever loss and gradient were
    net.a.weight.register_hook(lambda g: net.b.bias.data.fill_(float("inf")) and None)

@pytest.mark.parametrize("harm,said", [(nan, "loss is nan at step 25"), (infinite, "loss is inf at step 25"),
                                       (poison, "norm is nan at step 25"), (statistics, "buffer mean is not finite"),
                                       (huge, "norm is inf at step 25"), (weight, "weight b.bias is not finite after step 29")])
def test_the_last_good_state_is_left_and_goes_on(tmp_path, harm, said):
    with pytest.raises(UserError, match=said) as heard: run(tmp_path, after(29 if harm is weight else 25, harm))
    assert "\n" not in str(heard.value) and "state of step 20 in" in str(heard.value) and "learning rate" in str(heard.value)
    state = torch.load(tmp_path/"state.pt", weights_only=True)
    assert state["step"] == 20 and all(w.isfinite().all() for n,w in state["module"].items() if n != "mask")
    net, log = run(tmp_path); want, log2 = run(tmp_path/"undisturbed")
    assert log == log2 and all(torch.equal(*p) for p in zip(net.state_dict().values(), want.state_dict().values()))

@pytest.mark.parametrize("at", [0, 7, 9, 10, 39]) # the first step, one that is logged, one before a checkpoint, one after it, the last
def test_whatever_the_step(tmp_path, at):
    with pytest.raises(UserError, match=f"nan at step {at};"): run(tmp_path, after(at, nan))
    path = tmp_path/"state.pt"
    assert path.exists() == (at >= 10) and (at < 10 or torch.load(path, weights_only=True)["step"] == at//10*10)

def test_a_training_that_keeps_nothing_says_so_too():
    with pytest.raises(UserError, match="nan at step 38.*nothing was kept"): run(None, after(38, nan))

def test_asked_to_stop_after_a_nan(tmp_path):
    def harm(step, net):
        if step == 13: os.kill(os.getpid(), signal.SIGTERM); return float("nan")
        return 1.
    with pytest.raises(UserError, match="nan at step 13"): run(tmp_path, harm)
    assert torch.load(tmp_path/"state.pt", weights_only=True)["step"] == 10
    with pytest.raises(Stopped): run(tmp_path, lambda s, net: s == 13 and os.kill(os.getpid(), signal.SIGTERM) or 1.)
    assert torch.load(tmp_path/"state.pt", weights_only=True)["step"] == 14

def test_no_milestone_after_a_nan(tmp_path):
    kept = []
    with pytest.raises(UserError): run(tmp_path, after(25, nan), on_checkpoint=kept.append)
    assert kept == [10, 20]

@pytest.mark.parametrize("mode", ["ddp", "fsdp"])
def test_two_processes_end_together(tmp_path, mode):
    code = f"""
from vlm4vla.policy.policy import Policy
import vlm4vla.policy.train as t
whole = Policy.loss
def loss(self, batch, n=None, net=None):
    loss_at.n += 1; value, facts = whole(self, batch, n, net)
    return value*(float("nan") if loss_at.n == 3 and t.init_process_group({mode!r}).rank == 1 else 1.), facts
class loss_at: n = 0
Policy.loss = loss
t.train("tiny-qwen3-vl__grinningface__smoke__s0", {str(tmp_path)!r}, mode={mode!r})
"""
    with pytest.raises(UserError, match="nan at step 2|not finite"): launch(code, 2)
    assert torch.load(tmp_path/"state.pt", weights_only=True)["step"] == 2 and not (tmp_path/"model.safetensors").exists()

# --- what it was made from ---------------------------------------------------------------------------------------------------------------

def groups(net): return [dict(params=[net.a.weight, net.a.bias]), dict(params=[net.b.weight, net.b.bias], lr_mult=2.)]

@pytest.mark.parametrize("change,said", [(dict(width=4), "another model"), (dict(lr=.01), "other lr, 0.05 and not 0.01"),
                                         (dict(weight_decay=.1), "other weight_decay"), (dict(grad_clip=1.), "other grad_clip"),
    (dict(warmup=5), "other warmup"), (dict(schedule="cosine"), "other schedule"), (dict(steps=10), "beyond the 10 asked for"),
    (dict(origin=Origin(dict(data="b"*64))), "other data, aaaaaaaa and not bbbbbbbb")])
def test_another_training_is_refused(tmp_path, change, said):
    run(tmp_path, steps=20, origin=Origin(dict(data="a"*64))); before = (tmp_path/"state.pt").read_bytes()
    with pytest.raises(UserError, match=said) as heard: run(tmp_path, **{"origin": Origin(dict(data="a"*64)), **change})
    assert "\n" not in str(heard.value) and f"delete {tmp_path/'state.pt'}" in str(heard.value) and "another name" in str(heard.value)
    assert (tmp_path/"state.pt").read_bytes() == before

def test_other_groups_are_refused_even_of_the_same_size(tmp_path):
    net = Net(); run(tmp_path, steps=20, net=net, groups=groups(net)); other = Net()
    with pytest.raises(UserError, match="parameter groups"): run(tmp_path, net=other, groups=groups(other)[::-1])
    net = Net()
    with pytest.raises(UserError, match="parameter groups"): run(tmp_path, net=net)
    net.a.weight.requires_grad_(False)
    with pytest.raises(UserError, match="parameter groups"): run(tmp_path, net=net)

def test_more_steps_at_a_constant_rate_are_the_same_training(tmp_path):
    run(tmp_path/"a", steps=20); net, _ = run(tmp_path/"a", steps=40); want, _ = run(tmp_path/"b", steps=40)
    assert torch.equal(net.a.weight, want.a.weight)

def test_another_end_is_another_cosine(tmp_path):
    run(tmp_path, steps=20, schedule="cosine")
    with pytest.raises(UserError, match="other steps, 20 and not 40"): run(tmp_path, steps=40, schedule="cosine")

@pytest.mark.parametrize("facts", [("origin", "code"), ("origin",), ("code",)])
def test_what_an_older_state_does_not_say_is_accepted(tmp_path, facts):
    run(tmp_path, steps=20); path = tmp_path/"state.pt"; state = torch.load(path, weights_only=True)
    for f in facts: del state[f]
    torch.save(state, path); net, _ = run(tmp_path); want, _ = run(tmp_path/"whole")
    assert torch.equal(net.a.weight, want.a.weight)

def test_groups_of_an_older_state(tmp_path):
    run(tmp_path, steps=20); path = tmp_path/"state.pt"; state = torch.load(path, weights_only=True); del state["origin"]
    torch.save(state, path)
    net = Net()
    with pytest.raises(UserError, match="other groups.*delete"): run(tmp_path, net=net, groups=groups(net))

def test_an_older_state_that_is_not_finite_is_not_gone_on_from(tmp_path):
    run(tmp_path, steps=20); path = tmp_path/"state.pt"; state = torch.load(path, weights_only=True)
    state["module"]["a.weight"] += float("nan"); torch.save(state, path)
    with pytest.raises(UserError, match="The weight a.weight is not finite in the state of step 20.*delete"): run(tmp_path)

@pytest.mark.parametrize("write", [lambda p: p.write_bytes(b""), lambda p: p.write_bytes(p.read_bytes()[:300]),
                                   lambda p: torch.save([1], p), lambda p: torch.save(dict(step=3), p), lambda p: (p.unlink(), p.mkdir())])
def test_a_file_that_is_no_state(tmp_path, write):
    run(tmp_path, steps=20); write(tmp_path/"state.pt")
    with pytest.raises(UserError, match="training state .*state.pt") as heard: run(tmp_path)
    assert "\n" not in str(heard.value)

def test_other_code_is_a_warning_and_noted(tmp_path, monkeypatch):
    monkeypatch.setattr(vlm4vla.training.state, "code_version", lambda: "one"); run(tmp_path, steps=20)
    monkeypatch.setattr(vlm4vla.training.state, "code_version", lambda: "two"); o = Origin()
    with pytest.warns(UserWarning, match="first 20 steps .* the code of one, those to come are by two"): run(tmp_path, steps=40, origin=o)
    assert o.code == ["one", "two"] == torch.load(tmp_path/"state.pt", weights_only=True)["code"]
    again = Origin(); run(tmp_path, steps=40, origin=again); assert again.code == ["one", "two"] # nothing was left to do

# --- experiments -------------------------------------------------------------------------------------------------------------------------

@pytest.fixture
def named():
    "Variants for one test."
    made = []
    def add(name, **changes):
        made.append(name); variants[name] = Variant(name, "For this test.", {**smoke, "steps": 4, **changes})
        return Experiment("tiny-qwen3-vl", "grinningface", name, 0)
    yield add
    for n in made: variants.pop(n, None)

def test_a_policy_says_what_it_was_made_from(tmp_path, named):
    e = named("mine"); _, _, inputs = train(e, tmp_path); said = json.loads((tmp_path/"policy.json").read_text())
    facts = said["origin"]["facts"]
    assert (facts["data"], facts["range"], facts["backbone"], facts["seed"], facts["lr"], said["weights"]) == (inputs["data"],
            inputs["stats"], "tiny-qwen3-vl", 0, 3e-4, inputs["weights"])
    assert facts["data"] and said["origin"]["code"] == inputs["code"] != []
    state = torch.load(tmp_path/"state.pt", weights_only=True); assert state["origin"] == facts and state["code"] == inputs["code"]
    assert train(replace(e), tmp_path)[2] == inputs # and once more, when all is done

@pytest.mark.parametrize("change,said", [(dict(lr=1e-3), "other lr"), (dict(batch_size=2), "other batch_size"),
                                         (dict(chunk_size=5), "other chunk_size"), (dict(augment="shift"), "other augment"),
                                         (dict(prompt="short"), "other prompt"),
    (dict(action_keep=.5), "other range of actions"), (dict(freeze=("vision",)), "other freeze"), (dict(lora_rank=4), "other lora_rank"),
    (dict(steps=8), "other steps")])
@pytest.mark.parametrize("stop_at", [2, None]) # half-way, and after the end
def test_a_recipe_that_was_changed_is_refused(tmp_path, named, change, said, stop_at):
    train(named("mine"), tmp_path, stop_at=stop_at); before = {p.name: p.read_bytes() for p in tmp_path.iterdir()}
    with pytest.raises(UserError, match=said): train(named("mine", **change), tmp_path)
    assert {p.name: p.read_bytes() for p in tmp_path.iterdir()} == before

def test_what_no_weight_depends_on_may_change(tmp_path, named):
    train(named("mine"), tmp_path, stop_at=2)
    p, log, _ = train(named("mine", eval_episodes=7, n_action_steps=3, checkpoint_every=1, milestone_every=1), tmp_path)
    assert max(r["step"] for r in log) == 3

def test_first_weights_are_known_by_their_contents(tmp_path, named):
    from vlm4vla.catalog.backbones import backbones
    from vlm4vla.vlm.loading import checkpoint_hash
    named("mine"); e = Experiment("mini-qwen3-vl", "grinningface", "mine", 0); known = backbones["mini-qwen3-vl"]
    copy = tmp_path/"copy"; shutil.copytree(known.source, copy)
    try:
        backbones["mini-qwen3-vl"] = replace(known, folder=str(copy))
        assert checkpoint_hash(backbones["mini-qwen3-vl"]) == checkpoint_hash(known) != checkpoint_hash(backbones["mini-qwen3-vl-bridge"])
        train(e, tmp_path/"run", stop_at=2)
        shutil.copy(f"{backbones['mini-qwen3-vl-bridge'].source}/model.safetensors", copy/"model.safetensors")
        with pytest.raises(UserError, match="other first weights"): train(e, tmp_path/"run")
    finally: backbones["mini-qwen3-vl"] = known

def test_another_seed_or_backbone_in_the_same_folder(tmp_path, named):
    e = named("mine"); train(e, tmp_path, stop_at=2)
    with pytest.raises(UserError, match="other seed"): train(replace(e, seed=1), tmp_path)
    with pytest.raises(UserError, match="other backbone"): train(replace(e, backbone="tiny-qwen2.5-vl"), tmp_path)

def test_teaching_a_vlm_on_other_pictures_is_refused(tmp_path):
    from vlm4vla.catalog.backbones import backbones
    from vlm4vla.vlm.loading import Encoder, load_model
    from vlm4vla.tasks.tabletop.questions import scenes
    from vlm4vla.catalog.sets import question_sets
    from vlm4vla.vlm.sft import align, sft
    images, states = scenes("vqa", 0, 4, 224); others = scenes("vqa", 4, 4, 224); enc = Encoder("tiny-qwen3-vl")
    asked = question_sets["tabletop"]; about = {align: dict(about=asked.about()), sft: dict(questions=asked)}
    def model(seed=0): torch.manual_seed(seed); return load_model(backbones["tiny-qwen3-vl"], headless=False)
    for teach in (align, sft):
        do = lambda m, pictures, **kw: teach(m, enc, *pictures, steps=2, batch_size=2, folder=tmp_path/teach.__name__,
                                           **about[teach], **kw)
        do(model(), (images, states)); do(model(), (images, states))
        for m, pictures, kw, said in ((model(), others, {}, "other pictures"), (model(1), (images, states), {}, "other first weights"),
                                      (model(), (images, states), dict(seed=1), "other seed"),
                                      (model(), (images, states), dict(lr=.1), "other lr")):
            with pytest.raises(UserError, match=said): do(m, pictures, **kw)

def test_a_mask_may_hold_infinities():
    net = Net(); assert find_non_finite(net, torch.optim.AdamW(net.parameters())) == ""
