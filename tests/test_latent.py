"Latent actions: learnt without actions, the same again and after a kill, and what is refused."
import json
from functools import partial
import numpy as np, pytest
torch = pytest.importorskip("torch")
from vlm4vla.catalog.backbones import backbones
from vlm4vla.core import UserError
from vlm4vla.data.actions import ActionStats
from vlm4vla.data.recording import record
from vlm4vla.data.samples import Samples
from vlm4vla.heads import latent
from vlm4vla.heads.latent import LatentActions, fit_latents, report_latents
from vlm4vla.training.state import weights_hash
from vlm4vla.vlm.loading import checkpoint_hash

SMALL = dict(width=64, layers=1, code_dim=8)
FIT = dict(batch_size=16, sizes=SMALL, lr=1e-3, warmup=5)
STATS = ActionStats.from_range(-1, 1)

def episode(i, length=4):
    "A square that goes one way, left, right, near or far, from one of nine places; its moves are the actions."
    rng = np.random.default_rng(i); way = np.array([(1, 0), (-1, 0), (0, 1), (0, -1)][i % 4]); at = 32 + 8*rng.integers(0, 3, 2)
    images, actions = np.full((length, 96, 96, 3), 120, np.uint8), np.zeros((length, 7), np.float32)
    actions[:, :2] = .5*way; actions[:, 6] = i//4 % 2
    for t in range(length): y, x = at + 8*min(t, 4)*way; images[t, y:y+16, x:x+16] = 255, 40, 40
    return dict(task="go", kind="demo", images=images, actions=actions, executed=actions, detail=dict(number=i))

def block(lengths, b): return [episode(i, n) for i, n in enumerate(lengths)]

def recorded(folder, lengths):
    record(folder, 1, partial(block, lengths), 1, settings={})
    return folder

@pytest.fixture(scope="module")
def kept(tmp_path_factory):
    "A cache of these tests' own."
    with pytest.MonkeyPatch.context() as m: m.setenv("VLM4VLA_CACHE", str(tmp_path_factory.mktemp("cache"))); yield

@pytest.fixture(scope="module")
def samples(kept, tmp_path_factory): return Samples(recorded(tmp_path_factory.mktemp("toy")/"d", [4]*100), 96, 2)

@pytest.fixture(scope="module")
def fitted(samples): return fit_latents(samples, steps=300, **FIT)

@pytest.fixture(scope="module")
def early(samples): return fit_latents(samples, steps=30, **FIT)[0]

# --- what is learnt ---------------------------------------------------------------------------------------------------------------------

def test_codes_hold_the_actions_that_nobody_showed(fitted, samples):
    latents, log = fitted; r = report_latents(latents, samples, STATS)
    assert r["error"] < .7*r["copy_error"] and r["foreseen"] == pytest.approx(1 - r["error"]/r["copy_error"])
    assert r["r2_arm"] > .3 and r["r2_gripper"] < .1 and 4 <= r["used"] <= 16 and 1 < r["perplexity"] <= r["used"] and r["words"] > 3
    assert (r["chunks"], r["episodes"]) == (300, 100) # chunks that end with their episode are left out
    assert latents.n_codes == 4 and latents.codebook_size == 16 and not latents.training

def test_the_baseline_is_a_copy(samples, early):
    "What the report calls a copy, by hand; and the forward model begins as one."
    seen = latent._tokens(samples, "mini-qwen3-vl", early.facts["start"], "cpu")
    later = np.minimum(np.arange(len(samples)) + 2, samples.last)
    a, b = (early.scaled(seen[i]) for i in (np.arange(len(samples)), later))
    assert report_latents(early, samples, STATS)["copy_error"] == pytest.approx(float(((a - b)**2).mean()), rel=1e-5)
    new = latent._new(samples, "mini-qwen3-vl", 0, SMALL, "cpu")
    assert torch.equal(new.foresee(a[:3], new.codebook[:4].expand(3, -1, -1)), a[:3])

def test_random_codes_hold_nothing(samples, early):
    said = np.random.default_rng(0).integers(0, 16, (len(samples), 4))
    assert latent._actions_in(said, 16, samples, STATS, 5)["r2_arm"] < .1

def test_a_read_out_is_judged_on_other_episodes():
    "A target that only the episode tells is not explained; one that the codes tell is."
    episode = np.repeat(np.arange(10), 20); x = np.eye(10)[episode]; way = np.arange(200) % 2
    wrong, spread = latent._read_out(x, np.random.default_rng(0).normal(size=10)[episode][:, None], episode, 5)
    assert wrong.sum() > .9*spread.sum()
    wrong, spread = latent._read_out(np.eye(2)[way], way[:, None].astype(float), episode, 5)
    assert wrong.sum() < .01*spread.sum()

# --- the same again ---------------------------------------------------------------------------------------------------------------------

def test_a_seed_makes_a_model_and_leaves_other_numbers_alone(samples, early):
    torch.manual_seed(7); before = torch.get_rng_state()
    again, other = (fit_latents(samples, steps=30, seed=s, **FIT)[0] for s in (0, 1))
    assert weights_hash(again) == weights_hash(early) != weights_hash(other) and torch.equal(before, torch.get_rng_state())

def test_codes_are_one_array_however_they_are_asked_for(early, samples, monkeypatch):
    said = early.codes(samples)
    assert said.shape == (400, 4) and said.dtype.kind == "i" and said.min() >= 0 and said.max() < 16
    later = np.minimum(np.arange(len(samples)) + 2, samples.last); assert (early._codes(samples, later, "cpu") == said).all()
    monkeypatch.setattr(LatentActions, "_codes", None); assert (early.codes(samples) == said).all() # from the cache

def test_without_room_for_the_tokens_they_are_computed_when_asked(early, samples, monkeypatch):
    monkeypatch.setattr(latent, "ROOM", 1); t = latent._Tokens(samples, "mini-qwen3-vl")
    kept = latent._tokens(samples, "mini-qwen3-vl", early.facts["start"], "cpu")
    assert t.kept is None and kept.kept.dtype == torch.float16
    i = np.array([5, 390, 5]); assert torch.allclose(t[i].float(), kept[i].float(), atol=.02)

@pytest.mark.parametrize("at", [20, 33])
def test_a_killed_training_ends_with_the_same_weights(samples, tmp_path, at):
    "The count of uses is part of the state: also where a kill falls between two looks at the codebook."
    kw = FIT | dict(checkpoint_every=1)
    whole, log = fit_latents(samples, folder=tmp_path/"a", steps=45, **kw)
    fit_latents(samples, folder=tmp_path/"b", steps=45, stop_at=at, **kw)
    again, rest = fit_latents(samples, folder=tmp_path/"b", steps=45, **kw)
    assert weights_hash(whole) == weights_hash(again) and log == rest

def test_a_state_of_something_else_is_refused(samples, tmp_path):
    fit_latents(samples, folder=tmp_path, steps=2, **FIT)
    for other in (dict(k=3), dict(seed=1), dict(batch_size=8), dict(sizes=SMALL | dict(n_codes=2))):
        with pytest.raises(UserError, match="made with other|of another model"):
            fit_latents(samples, folder=tmp_path, steps=4, **FIT | other)

def test_dead_codes_are_restarted(samples, early):
    "Entries far from everything come back among the vectors, used ones stay where they are."
    m = LatentActions(**early.facts); m.load_state_dict(early.state_dict())
    seen = latent._tokens(samples, "mini-qwen3-vl", m.facts["start"], "cpu"); pair = seen[np.arange(0, 400, 4)], seen[np.arange(2, 400, 4)]
    with torch.no_grad(): m.codebook[3:] = -m.codebook[0] # all in one place, where the first of them takes everything
    m.train(); m.uses.zero_(); m.loss(*pair)
    used = m.uses > m.uses.sum()/160; assert not used[4:].any() and used.any()
    before = m.codebook.detach().clone()
    assert m.restart(*pair, seed=1) == int((~used).sum()) and m.uses.sum() == 0
    assert torch.equal(m.codebook[used], before[used]) and not torch.equal(m.codebook[4], m.codebook[5])
    m.loss(*pair); assert (m.uses > 0).sum() > used.sum()

# --- a folder ---------------------------------------------------------------------------------------------------------------------------

def test_saved_and_loaded(early, samples, tmp_path):
    early.save(tmp_path/"l"); again = LatentActions.load(tmp_path/"l")
    assert weights_hash(again) == weights_hash(early) and again.facts == early.facts and (again.k, again.n_codes) == (2, 4)
    assert (again.codes(samples) == early.codes(samples)).all()

def say(folder, **more):
    "Other facts in the file of facts."
    path = folder/"latents.json"; path.write_text(json.dumps(json.loads(path.read_text(encoding="utf-8")) | more), encoding="utf-8")

@pytest.mark.parametrize("harm, said", [
    (lambda f: (f/"latents.json").unlink(), "latents.json cannot be read: it is not there"),
    (lambda f: (f/"latents.safetensors").unlink(), "is not the file that latents.json was written with"),
    (lambda f: (f/"latents.safetensors").write_bytes(b"x"), "is not the file"),
    (lambda f: (f/"latents.json").write_text("{"), "latents.json"),
    (lambda f: say(f, n_codes=2), "is not of this model"),
    (lambda f: say(f, more=1), "is not of this model")])
def test_damaged_folders(early, tmp_path, harm, said):
    early.save(tmp_path/"l"); harm(tmp_path/"l")
    with pytest.raises(UserError, match=said): LatentActions.load(tmp_path/"l")

def test_codes_of_another_tower_are_refused(early, samples):
    m = LatentActions(**early.facts | dict(start="0"*64)); m.load_state_dict(early.state_dict())
    with pytest.raises(UserError, match="another mini-qwen3-vl; fit them again"): m._codes(samples, np.arange(len(samples)), "cpu")
    assert checkpoint_hash(backbones["mini-qwen3-vl"]) == early.facts["start"]

# --- data -------------------------------------------------------------------------------------------------------------------------------

def test_episodes_of_one_frame_are_no_pairs(kept, tmp_path):
    s = Samples(recorded(tmp_path/"d", [1, 1, 1]), 96, 4)
    with pytest.raises(UserError, match="has a second frame"): fit_latents(s, steps=1, **FIT)

def test_short_episodes_among_longer_ones_pair_with_their_end(kept, early, tmp_path):
    s = Samples(recorded(tmp_path/"d", [1, 3, 9]), 96, 4)
    assert latent._later(s, 4).tolist() == [0, 3, 3, 3, 8, 9, 10, 11, 12, 12, 12, 12, 12]
    assert early.codes(s).shape == (13, 4)

@pytest.mark.parametrize("call, said", [
    (lambda s: fit_latents(s, k=4, steps=1, **FIT), "4 steps apart lies in none .*longest has 4 frames; take a k of at most 3"),
    (lambda s: fit_latents(s, k=0, steps=1, **FIT), "k must be a whole number of at least 1"),
    (lambda s: fit_latents(s, "nothing", steps=1, **FIT), "no backbone 'nothing'")])
def test_refused(samples, call, said):
    with pytest.raises(UserError, match=said): call(samples)

def test_images_of_another_size(kept, early, samples):
    small = Samples(samples.reader.folder, 32, 2)
    for call in (lambda: fit_latents(small, steps=1, **FIT), lambda: early.codes(small)):
        with pytest.raises(UserError, match="images of 32 pixels, the tower of 'mini-qwen3-vl' sees 96; make them with size=96"): call()

def test_a_read_out_needs_two_episodes(kept, early, tmp_path):
    s = Samples(recorded(tmp_path/"d", [9, 2]), 96, 4)
    with pytest.raises(UserError, match="at least two episodes"): report_latents(early, s, STATS)
