"The border to the world, the two files of a checkpoint, and what adapters stand beside."
import json
import numpy as np, pytest
torch = pytest.importorskip("torch")
from safetensors.torch import load_file, save_file
from vlm4vla.data.actions import ActionStats
from vlm4vla.catalog.backbones import backbones
from vlm4vla.core import UserError
from vlm4vla.catalog.experiments import Experiment, Variant, smoke, variants, with_settings
from vlm4vla.vlm.family import families, part_of
from vlm4vla.policy.plan import counts_of
from vlm4vla.policy.policy import Policy
from vlm4vla.training.adapters import adaptable
from vlm4vla.training.processes import launch
from vlm4vla.policy.train import train

TINY = [b.name for b in backbones.values() if b.kind == "tiny"]
IM, SAID = np.random.default_rng(0).integers(0, 255, (2,64,64,3), dtype=np.uint8), ["pick up cube", "open the drawer"]

def policy(name="tiny-qwen3-vl", **kw):
    torch.manual_seed(0); p = Policy(backbones[name], 2, init="scratch", **kw).eval(); p.stats = ActionStats.from_range(-.1, .1); return p

def one_sentence(heard, part): s = str(heard.value); assert part in s and "\n" not in s and s[-1] in ".?" and len(s) < 330, s

# --- act ---------------------------------------------------------------------------------------------------------------------------------

BAD = {"0 to 1": (IM/255., SAID, "from 0 to 1"), "float32": ((IM/255.).astype(np.float32), SAID, "from 0 to 1"),
       "int64": (IM.astype(int), SAID, "give uint8"), "bool": (IM > 9, SAID, "give uint8"),
       "CHW": (IM.transpose(0,3,1,2), SAID, "colours belong last"),
       "one": (IM[0], SAID[:1], "images[None]"), "alpha": (np.concatenate([IM, IM[...,:1]], -1), SAID, "[..., :3]"),
       "grey": (IM[...,0], SAID, "× 3"), "five": (IM[None], SAID, "× 3"), "no pixels": (IM[:,:0], SAID, "× 3"),
       "ragged": ([IM[0], IM[1,:9]], SAID, "not of one size"),
       "none": (None, SAID, "× 3"), "a path": ("picture.png", SAID, "× 3"), "empty": (IM[:0], [], "at least one"),
       "empty list": ([], [], "× 3"), "too few words": (IM, SAID[:1], "2 images and 1 instructions"),
       "too many": (IM[:1], SAID, "1 images and 2"),
       "one text": (IM, "pick up cube", "one text"), "bytes": (IM, b"pick", "one text"), "no list": (IM, None, "give a list"),
       "a number": (IM, 7, "give a list"), "blank": (IM, ["pick up cube", " \n"], "Instruction 1 of 2 says nothing"),
       "null": (IM, ["nan", "pick"], "says nothing"), "None": (IM, ["pick", None], "not text"),
       "NaN": (IM, [float("nan"), "pick"], "not text"), "long": (IM, ["pick", "x"*10_000], "fewer words"),
       "NUL": (IM, ["pick", "a\0b"], "no character")}

@pytest.fixture(scope="module")
def acting(): return policy()

@pytest.mark.parametrize("what", BAD)
def test_a_batch_that_is_none_is_one_sentence(acting, what):
    images, said, part = BAD[what]
    with pytest.raises(UserError) as heard: acting.act(images, said)
    one_sentence(heard, part)

def test_what_is_a_batch_acts(acting):
    want = acting.act(IM, SAID)
    for images, said in ((list(IM), tuple(SAID)), (torch.from_numpy(IM), SAID), (IM[::-1][::-1], np.array(SAID)), (IM, iter(SAID))):
        assert np.array_equal(acting.act(images, said), want)
    assert acting.act(np.zeros((1,48,64,3), np.uint8), ["go"]).shape == (1,2,7)

def test_without_a_range_nothing_moves(acting):
    stats, acting.stats = acting.stats, None
    try:
        with pytest.raises(UserError) as heard: acting.act(IM, SAID)
        one_sentence(heard, "no range of actions")
    finally: acting.stats = stats

# --- the folder --------------------------------------------------------------------------------------------------------------------------

def edit(**changes):
    return lambda d: (d/"policy.json").write_text(json.dumps({k: v for k,
                                                              v in {**json.loads((d/"policy.json").read_text()), **changes}.items()
                                                              if v != "drop"}))

def weights(change):
    def do(d): save_file(change(load_file(d/"model.safetensors")), d/"model.safetensors"); edit(weights="drop")(d)
    return do

def of(name, **kw): return weights(lambda w: policy(name, **kw).state_dict())

BROKEN = {"no stats": (edit(stats="drop"), "'stats'"), "null stats": (edit(stats=None), "'stats'"),
          "stats of five": (edit(stats=dict(ActionStats.from_range(-1, 1).to_dict(), lo=[0]*5)), "action statistics"),
          "stats with a word": (edit(stats=dict(ActionStats.from_range(-1, 1).to_dict(), hi="high")), "action statistics"),
          "stats upside down": (edit(stats=dict(ActionStats.from_range(-1, 1).to_dict(), lo=[2]*6)), "action statistics"),
          "stats with more": (edit(stats=dict(ActionStats.from_range(-1, 1).to_dict(), mid=0)), "action statistics"),
          "chunk": (lambda d: (edit(chunk_size=5)(d), weights(dict)(d)), "says chunks of 5 actions, and the weights beside it are for 2"),
          "chunk zero": (edit(chunk_size=0), "'chunk_size'"), "chunk text": (edit(chunk_size="2"), "'chunk_size'"),
          "no backbone": (edit(backbone="drop"), "'backbone'"),
          "unknown backbone": (edit(backbone="tiny-qwen3-v"), "did you mean 'tiny-qwen3-vl'"),
          "another family": (of("tiny-qwen2.5-vl"), "not those of a policy of tiny-qwen3-vl"),
          "adapters": (of("tiny-qwen3-vl", lora_rank=2), "not those of a policy"),
          "another file": (lambda d: save_file(policy(freeze=("vision",)).state_dict() | {"query.vectors": torch.ones(1,64)},
                                               d/"model.safetensors"), "its hash differs"),
          "NaN": (weights(lambda w: w | {"query.vectors": w["query.vectors"]*float("nan")}), "query.vectors in"),
          "cut off": (lambda d: ((d/"model.safetensors").write_bytes((d/"model.safetensors").read_bytes()[:99]), edit(weights="drop")(d)),
                      "cannot be read"), "precision": (edit(precision="float99"), "for precision"),
          "prompt": (edit(prompt="lnog"), "did you mean 'long'"), "freeze": (edit(freeze="vision"), "'freeze'"),
          "a newer one": (edit(depth=3), "does not know"), "no JSON": (lambda d: (d/"policy.json").write_text("{"), "JSON"),
          "a list": (lambda d: (d/"policy.json").write_text("[]"), "object"),
          "no weights": (lambda d: (d/"model.safetensors").unlink(), "it has no model.safetensors")}

@pytest.mark.parametrize("what", BROKEN)
def test_two_files_that_contradict_each_other(tmp_path, what):
    policy().save(tmp_path); harm, part = BROKEN[what]; harm(tmp_path)
    with pytest.raises(UserError) as heard: Policy.load(tmp_path)
    one_sentence(heard, part)

def test_what_older_versions_wrote_still_loads(tmp_path):
    p = policy(); p.save(tmp_path); want = p.act(IM, SAID)
    said = json.loads((tmp_path/"policy.json").read_text())
    old = {k: said[k] for k in ("backbone", "chunk_size", "init", "prompt", "loss", "precision", "image_size", "model_size", "freeze",
                                "lora_rank", "lora_targets", "augment", "stats")}
    (tmp_path/"policy.json").write_text(json.dumps(old)); assert np.array_equal(Policy.load(tmp_path).act(IM, SAID), want)

def test_a_policy_with_a_nan_is_not_written(tmp_path):
    p = policy(); p.query.vectors.data[:] = float("nan")
    with pytest.raises(UserError, match="query.vectors is not finite"): p.save(tmp_path/"new")
    assert not (tmp_path/"new").exists()

@pytest.mark.parametrize("v", ["prefix-text", "scaled-query"])
def test_mask_and_scale_come_back_from_disk(tmp_path, v):
    p = Policy.new(Experiment("tiny-paligemma", "grinningface", v, 0)).eval()
    p.stats = ActionStats.from_range(-.1, .1)
    p.query.vectors.data.normal_()
    p.save(tmp_path)
    again = Policy.load(tmp_path); assert np.array_equal(again.act(IM, SAID), p.act(IM, SAID)) and again.facts == p.facts

# --- adapters ----------------------------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("name", TINY)
@pytest.mark.parametrize("kw", [{}, dict(freeze=("vision",)), dict(lora_targets=("down_proj",))])
def test_adapters_are_counted_learn_and_come_back(name, kw, tmp_path):
    if kw.get("lora_targets") and not any(n.endswith(".down_proj") for n in adaptable(policy(name).vlm)):
        with pytest.raises(UserError, match="ends in down_proj"): policy(name, lora_rank=2, **kw)
        return
    p = policy(name, lora_rank=2, **kw); learning = p.learning(); before = {n: w.detach().clone() for n,w in p.named_parameters()}
    v = Variant("thin", "For this test.", dict(smoke, lora_rank=2, chunk_size=2, n_action_steps=1, **kw)); variants["thin"] = v
    try: assert counts_of(Experiment(name, "grinningface", "thin", 0)).trained == sum(learning.values())
    finally: del variants["thin"]
    s = p.encoder.facts["size"]
    batch = dict(images=np.resize(IM, (2,s,s,3)), instructions=SAID, actions=np.full((2,2,7), .05, np.float32), mask=np.ones((2,2), bool))
    opt = torch.optim.AdamW([w for w in p.parameters() if w.requires_grad], lr=1e-2); p.stats = ActionStats.from_range(-.1, .1)
    for _ in range(2):
        opt.zero_grad(); p.loss(batch)[0].backward(); opt.step() # the second matrix is zero at first, and the first one moves after it
    f = families[backbones[name].family]
    moved = {n for n,w in p.named_parameters() if not torch.equal(w, before[n])}
    assert moved and all(not n.startswith("vlm.") or "lora_" in n and part_of(f, n[4:]) not in kw.get("freeze", ()) for n in moved)
    assert {part_of(f, n[4:]) for n in moved if n.startswith("vlm.")} == {k for k,n in learning.items() if n and k != "new"}
    by_name = p.adapters()
    assert sum(a for a,_ in by_name.values()) == len([n for n,w in p.vlm.named_parameters() if "lora_A" in n and w.requires_grad])
    p.eval().save(tmp_path); assert np.array_equal(Policy.load(tmp_path).act(IM, SAID), p.act(IM, SAID))

def test_experts_learn_and_can_be_merged():
    p = policy("tiny-qwen3-vl-moe", lora_rank=2); plain = policy("tiny-qwen3-vl-moe")
    experts = {n for n,w in p.vlm.named_parameters() if ".experts." in n and "lora_" in n and w.requires_grad}
    assert len(experts) == 2*2*2 # two layers, two weights each, two matrices each
    for n in experts: p.vlm.get_parameter(n).data.normal_(0, .1)
    s = p.encoder.facts["size"]; im = torch.zeros(1,s,s,3, dtype=torch.uint8)
    with torch.no_grad():
        apart = p(im, SAID[:1])[0]
        for m in p.vlm.modules():
            if hasattr(m, "merge") and hasattr(m, "lora_A"): m.merge()
        assert (p(im, SAID[:1])[0]-apart).abs().max() < 1e-5 and (plain(im, SAID[:1])[0]-apart).abs().max() > 1e-4

@pytest.mark.parametrize("kw,said", [(dict(lora_targets=("q_proj", "knee")), "ends in knee"),
                                     (dict(lora_targets=("q_prj",)), "did you mean 'q_proj'"),
                                     (dict(lora_targets=("roj",)), "ends in roj"), (dict(lora_targets=("",)), "ends in"),
    (dict(lora_targets=("q_proj",), freeze=("language",)), "No adapter would learn of q_proj"),
    (dict(freeze=("vision", "projector", "language", "embedding")), "No adapter would learn"),
    (dict(lora_targets=("embed_tokens",)), "ends in embed_tokens")])
def test_adapters_that_would_not_learn_are_refused(kw, said):
    with pytest.raises(UserError) as heard: policy(lora_rank=2, **kw)
    one_sentence(heard, said)

THIN = 'variants["thin"] = Variant("thin", "For this test.", dict(smoke, lora_rank=2))'
RUN, EXPERTS = "tiny-qwen3-vl__grinningface__smoke__s0", ("tiny-qwen3-vl-moe", "grinningface", "thin", 0)
WAYS = [("fsdp", "alone"), ("alone", "fsdp"), ("fsdp", "ddp")] # how a training begins, how it goes on
TWO = """
from vlm4vla.catalog.experiments import *
from vlm4vla.policy.train import train
begun = [(first, then) for first, then in {ways} if first != "alone"]
for first, then in begun: train({run!r}, f"{d}/{{first}}-{{then}}", mode=first, stop_at=2)
{thin}
for mode in ("ddp", "fsdp"): train(Experiment(*{experts}), f"{d}/{{mode}}", mode=mode)
for first, then in {ways}:
    if then != "alone": train({run!r}, f"{d}/{{first}}-{{then}}", mode=then)
"""

@pytest.fixture(scope="module")
def two(tmp_path_factory):
    "What two processes leave; they take longer to begin than to train, so they do everything in one go."
    d = tmp_path_factory.mktemp("two")
    for first, then in WAYS:
        if first == "alone": train(RUN, d/f"{first}-{then}", stop_at=2)
    launch(TWO.format(d=d, run=RUN, thin=THIN, experts=EXPERTS, ways=WAYS), 2)
    return d

def losses(log): return [r["value"] for r in log if r["name"] == "loss"]

def log_in(folder): return torch.load(folder/"state.pt", weights_only=True)["log"]

@pytest.mark.parametrize("mode", ["ddp", "fsdp"])
def test_adapters_of_experts_in_two_processes(tmp_path, two, mode):
    exec(THIN)
    try: alone = train(Experiment(*EXPERTS), tmp_path)[1]
    finally: del variants["thin"]
    assert losses(log_in(two/mode)) == pytest.approx(losses(alone), abs=1e-5)

@pytest.mark.parametrize("first,then", WAYS)
def test_a_state_goes_on_however_the_model_is_spread(tmp_path, two, first, then):
    want, folder = train(RUN, tmp_path)[1], two/f"{first}-{then}"
    if then == "alone": train(RUN, folder)
    assert losses(log_in(folder)) == pytest.approx(losses(want), abs=1e-5)

# --- a head of one's own ---

class Linear(torch.nn.Module):
    "The smallest head: every number of an action by regression."
    def __init__(self, width, chunk_size):
        super().__init__(); self.shape, self.out = (chunk_size, 7), torch.nn.Linear(width, 7*chunk_size)
    def forward(self, h): return self.out(h).unflatten(1, self.shape)
    def loss(self, prediction, target, mask, preset="paper", n=None):
        loss = ((prediction - target).square().mean(-1)*mask).sum()/(n or mask.sum())
        return loss, dict(all=loss.detach())
    def actions(self, prediction): return prediction.clamp(-1, 1)

def test_another_head_is_one_entry(tmp_path, monkeypatch):
    from vlm4vla.heads.registry import ActionHead, heads
    monkeypatch.setitem(heads, "linear", ActionHead(name="linear", label="Linear", make=Linear))
    e = with_settings(Experiment("tiny-qwen3-vl", "grinningface", "base", 0), "head=linear")
    assert e.variant == "base+head-linear" and e.recipe.head == "linear"
    p = Policy.new(e).eval(); p.stats = ActionStats.from_range(-.1, .1); s = p.encoder.facts["size"]
    batch = dict(images=np.zeros((2, s, s, 3), np.uint8), instructions=["pick up cube"]*2, mask=np.ones((2, e.recipe.chunk_size), bool),
                 actions=np.full((2, e.recipe.chunk_size, 7), .05, np.float32))
    loss, parts = p.loss(batch); loss.backward()
    assert list(parts) == ["all"] and p.head.out.weight.grad.abs().sum() > 0
    p.save(tmp_path); again = Policy.load(tmp_path)
    np.testing.assert_array_equal(again.act(batch["images"], ["pick up cube"]*2), p.act(batch["images"], ["pick up cube"]*2))
    assert json.loads((tmp_path/"policy.json").read_text())["head"] == "linear"
    assert "head" not in policy().facts # the study's checkpoints are what they were
    monkeypatch.delitem(heads, "linear")
    with pytest.raises(UserError, match="There is no head 'linear'"): Policy.load(tmp_path)
