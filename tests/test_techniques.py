"Ways of training that are fields of the recipe: questions beside actions, a mean of weights, adapters first, frames thinned."
import numpy as np, pytest, torch
from vlm4vla.catalog.experiments import experiments, with_settings
from vlm4vla.catalog.sets import QuestionSet, question_sets
from vlm4vla.core import UserError
from vlm4vla.data.actions import encode
from vlm4vla.policy.policy import Policy
from vlm4vla.policy.train import _begin, _groups, _learnt_from, _samples, demonstrations, questions_at, train
from vlm4vla.training.loop import AveragedAdamW, fit
from vlm4vla.training.processes import World

SMOKE = experiments["tiny-qwen3-vl__grinningface__smoke__s0"]

def pictures(n, size):
    "Images of a toy question set: grey ones, and how bright each is."
    grey = np.arange(n)%250
    return np.repeat(grey.astype(np.uint8)[:, None], size*size*3, 1).reshape(n, size, size, 3), [dict(grey=int(g)) for g in grey]

def ask(state, rng, n=0, weights=None):
    return [("grey", f"how grey plus {k}?", str(state["grey"] + k), "all") for k in rng.integers(9, size=n)]

@pytest.fixture(autouse=True)
def toys():
    question_sets.add(QuestionSet(name="grey", ask=ask, weights=dict(grey=1.), pictures="test_techniques:pictures"))
    yield
    question_sets.pop("grey")

def same(a, b):
    a, b = a.state_dict(), b.state_dict()
    return a.keys() == b.keys() and all(torch.equal(w, b[k]) for k, w in a.items())

def resumed(said, folder):
    "A training in one go, and the same one that was left after each step."
    e = with_settings(SMOKE, said); whole, log, _ = train(e, folder/"whole")
    for stop in (1, 2): train(e, folder/"parts", stop_at=stop)
    parts, again, _ = train(e, folder/"parts")
    assert [r for r in log] == [r for r in again]
    return e, whole, parts, log

@pytest.mark.parametrize("said", ["cotrain=grey", "ema=.9", "held_every=3", "lr_vlm_mult=.1", "cotrain=grey,head=oft,ema=.5"])
def test_it_goes_on_to_the_bit(said, tmp_path):
    e, whole, parts, log = resumed(f"{said},checkpoint_every=1", tmp_path)
    assert same(whole, parts) and same(whole, Policy.load(tmp_path/"whole"))
    assert any(r["name"] == "answers" for r in log) == ("cotrain" in said)

# --- questions beside actions ---

def test_questions_depend_on_the_step_alone_however_it_is_cut():
    e = with_settings(SMOKE, "cotrain=grey,batch_size=8"); p = Policy.new(e); at = questions_at(p, e.recipe, 3)
    one, two = at(5, 0, 1), [at(5, i, 2) for i in range(2)]
    assert sorted(map(str, one["rows"])) == sorted(str(r) for t in two for r in t["rows"])
    assert sum(t["share"] for t in two) == one["share"] == 1
    assert len(one["rows"]) == 4 and at(6, 0, 1)["rows"] != one["rows"]
    assert at(5, 6, 8) is None # more parts than images

def test_answers_are_learnt_by_the_output_layer():
    e = with_settings(SMOKE, "cotrain=grey"); p = Policy.new(e); asked = questions_at(p, e.recipe, 0)(0, 0, 1)
    loss = p._answers(asked); loss.backward()
    assert p.vlm.get_input_embeddings().weight.grad.abs().sum() > 0 and p.head.trunk[0].weight.grad is None
    inputs = p.encoder(asked["rows"], asked["images"]); T = inputs["input_ids"].shape[1]
    logits = p.logits(p.vlm(**inputs, use_cache=False).last_hidden_state)
    costs = [-logits[b, t-1].log_softmax(-1)[goal] for b, row in enumerate(asked["targets"])
             for t, goal in enumerate([-100]*(T-len(row)) + row) if goal >= 0]
    torch.testing.assert_close(loss, torch.stack(costs).mean(), rtol=1e-5, atol=1e-6)

def test_a_set_without_images_says_so(tmp_path):
    question_sets.add(QuestionSet(name="blind", ask=ask, weights=dict(grey=1.)))
    try:
        with pytest.raises(UserError, match="says nothing of where its images come from"):
            train(with_settings(SMOKE, "cotrain=blind"), tmp_path)
    finally: question_sets.pop("blind")
    with pytest.raises(UserError, match="did you mean 'grey'"): train(with_settings(SMOKE, "cotrain=gray"), tmp_path)

# --- a mean of the weights ---

def test_the_mean_is_the_mean():
    torch.manual_seed(0); p = torch.nn.Linear(3, 1); opt = AveragedAdamW([dict(params=list(p.parameters()))], ema=.5, lr=.1); seen = []
    for step in range(6):
        p(torch.ones(4, 3)).square().mean().backward(); opt.step(); opt.zero_grad()
        now, decay = p.weight.detach().clone(), min(.5, (2 + step)/(11 + step))
        seen.append(now if not seen else seen[-1] + (1 - decay)*(now - seen[-1]))
    last = p.weight.detach().clone(); opt.swap(); torch.testing.assert_close(p.weight.detach(), seen[-1])
    opt.swap(); assert torch.equal(p.weight.detach(), last)

def test_a_milestone_has_the_mean_and_training_goes_on_with_the_weights(tmp_path):
    def run(ema, stop=False):
        torch.manual_seed(0); m, seen = torch.nn.Linear(3, 1), []
        fit(m, lambda step: [lambda: (m(torch.ones(4, 3)*(step + 1)).square().mean(), {})], steps=4, lr=.1, ema=ema,
            folder=tmp_path/str(ema), checkpoint_every=2, on_checkpoint=lambda step: seen.append(m.weight.detach().clone()))
        return m.weight.detach().clone(), seen
    plain, mean = run(0.), run(.9)
    assert not torch.equal(plain[1][0], mean[1][0]) and torch.equal(mean[0], mean[1][1])
    state = lambda k: torch.load(tmp_path/k/"state.pt", weights_only=True)["module"]["weight"]
    assert torch.equal(state("0.0"), state("0.9")) # what is trained is the same

# --- adapters first ---

def test_adapters_are_merged_and_all_weights_learn(tmp_path):
    e = with_settings(SMOKE, "lora_rank=2,lora_steps=2"); policy, _, _ = train(e, tmp_path/"a")
    assert policy.facts["lora_rank"] == 0 and policy.learning()["language"] > 0
    assert not any("lora_" in n for n, _ in policy.named_parameters())
    first = Policy.load(tmp_path/"a"/"adapters"); assert first.facts["lora_rank"] == 2
    begun, *_ = _begin(e, tmp_path/"a", World()); merged = first.merged()
    assert begun.state_dict().keys() == merged.keys() and all(torch.equal(w, merged[n]) for n, w in begun.state_dict().items())
    again, _, _ = train(e, tmp_path/"a"); assert same(policy, again)

def test_a_merged_policy_says_what_its_adapters_said():
    torch.manual_seed(0); e = with_settings(SMOKE, "lora_rank=2"); p = Policy.new(e).eval()
    for n, w in p.named_parameters():
        if "lora_B" in n: torch.nn.init.normal_(w, std=.05)
    s = p.encoder.facts["size"]; x = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (2, s, s, 3), dtype=np.uint8))
    with torch.no_grad():
        before = p(x, ["go", "stop"]); q = Policy.new(SMOKE).eval(); q.load_state_dict(p.merged()); after = q(x, ["go", "stop"])
    torch.testing.assert_close(before, after, rtol=1e-4, atol=1e-5)

# --- what is learnt from, and how fast ---

def test_frames_in_which_something_is_held_are_thinned():
    s = _samples(SMOKE, demonstrations("grinningface-smoke"), 96); stats = _begin(SMOKE, None, World())[0].stats
    rows, open_ = _learnt_from(s, stats, 4), encode(s.actions, stats)[:, 6] == 1
    assert set(np.flatnonzero(open_)) <= set(rows) and (~open_).sum() > 8
    assert all(i%4 == 0 for i in rows if not open_[i]) and np.array_equal(_learnt_from(s, stats, 1), np.arange(len(s)))

def test_the_vlm_learns_at_its_own_rate():
    e = with_settings(SMOKE, "lr_vlm_mult=.1"); old, new = _groups(Policy.new(e), e.recipe)
    assert (old["lr_mult"], new["lr_mult"]) == (.1, e.recipe.lr_head_mult)
