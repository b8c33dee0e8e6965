"""The robot's state and a second camera: from simulator and demonstrations to a policy that reads them; and whoever does not ask sees
nothing of it."""
import json, os, shutil
from dataclasses import replace
from pathlib import Path
import numpy as np, pytest
torch = pytest.importorskip("torch")
from vlm4vla.catalog.backbones import backbones
from vlm4vla.catalog.benchmarks import asked_for, benchmarks
from vlm4vla.catalog.experiments import Experiment, Variant, experiments, variants, with_settings
from vlm4vla.core import UserError
from vlm4vla.data.actions import ActionStats
from vlm4vla.data.formats import open_data
from vlm4vla.data.readers import offered
from vlm4vla.data.samples import Samples
from vlm4vla.data.store import STATE, finish_dataset, read_episode, write_block
from vlm4vla.policy.acting import ACT_SPEEDUPS
from vlm4vla.policy.plan import advise, cost
from vlm4vla.policy.policy import Policy
from vlm4vla.policy.proprio import STATE_DIMS, StateStats, observed
from vlm4vla.policy.train import demonstrations, overfit, train, with_text
from vlm4vla.sim.rollout import rollout
from vlm4vla.vlm.family import families
from vlm4vla.vlm.loading import Encoder

K, SAID = 4, ["go", "pick the cube up", "a b c", "open the drawer", "pick up the bowl", "x", "put it down there", "close it"]
STATS = StateStats(lo=(-1, 0, 2.), hi=(1, 4, 2))
WAYS = [dict(proprio="token"), dict(proprio="text"), dict(views=2), dict(proprio="token", views=2)]
TINY = [b.name for b in backbones.values() if b.kind == "tiny"]

def one_sentence(heard, part): s = str(heard.value); assert part in s and "\n" not in s and s[-1] in ".?" and len(s) < 360, s

def policy(name="tiny-qwen3-vl", **kw):
    torch.manual_seed(0); p = Policy(backbones[name], K, image_size=64, **kw).eval(); p.stats = ActionStats.from_range(-.1, .1)
    if kw.get("proprio"): p.states = STATS
    if p.query: p.query.vectors.data.normal_()
    return p

def seen(p, n, seed=0):
    rng = np.random.default_rng(seed); s = p.encoder.facts["size"]; images = lambda: rng.integers(0, 256, (n, s, s, 3), dtype=np.uint8)
    found = dict(state=rng.uniform(-2, 4, (n, 3)).astype(np.float32), wrist=images())
    return images(), SAID[:n], {k: found[k] for k in p.observes}

# --- simulators -------------------------------------------------------------------------------------------------------------------------

SIMULATOR = '''
import numpy as np
from vlm4vla.sim.worker import ChunkEnv, Observation
class Table(ChunkEnv):
    def __init__(self, extra, tale): self.extra, self.tale = extra, tale
    def reset(self, episode): self.n, self.e, self.done, self.frames = 0, episode, False, []; return self.observe(self.render())
    def act(self, action): self.n += 1; self.sum = float(action[0]); self.done = self.n >= 4; return self.done
    def render(self): return np.arange(300).reshape(10, 10, 3).astype(np.uint8)
    def observe(self, image):
        more = dict(state=np.float32([self.e, self.n]), wrist=np.full((6, 6, 3), self.e, np.uint8))
        if self.tale == "nan" and self.e == 1 and self.n == 2: more["state"][0] = np.nan
        if self.tale == "table": more["state"] = more["state"][None]
        told = {} if self.tale == "deaf" else {k: more[k] for k in self.extra}
        return Observation(image, "go", self.done, dict(success=True, n_steps=self.n, last=self.sum) if self.done else {}, told)
    def close(self): pass
def make(split, extra=(), tale="", asked=None):
    assert asked is None or list(extra) == asked
    return Table(extra, tale)
'''

@pytest.fixture(scope="module")
def toy(tmp_path_factory):
    folder = tmp_path_factory.mktemp("simulator"); (folder/"armed.py").write_text(SIMULATOR); old = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(folder), old]))
    yield replace(benchmarks["grinningface"], name="armed", suite="armed", module="armed", label="Armed", tasks=("go",), max_steps=9)
    os.environ.pop("PYTHONPATH") if old is None else os.environ.update(PYTHONPATH=old)

class Reads:
    "Acts by what it is told besides the image."
    def __init__(self, *observes): self.observes, self.heard = observes, []
    def act(self, images, instructions, extra=None):
        self.heard.append({k: x.shape for k,x in (extra or {}).items()}); out = np.zeros((len(images), 10, 7), np.float32)
        if "state" in self.observes: out[..., 0] = extra["state"].sum(1)[:,None]
        return out

@pytest.mark.parametrize("workers", [1, 3])
def test_a_rollout_hands_on_what_a_policy_observes(toy, workers):
    p = Reads("state", "wrist")
    rows = rollout(p, toy, "val", 4, workers=workers, n_action_steps=2, batch_size=2, env=dict(asked=["state", "wrist"]))
    assert [json.loads(r["detail"])["last"] for r in rows] == [e + 2. for e in range(4)] # decided at the second look
    assert {str(h) for h in p.heard} == {"{'state': (2, 2), 'wrist': (2, 6, 6, 3)}"}

def test_who_does_not_ask_gets_nothing(toy):
    p = Reads(); assert len(rollout(p, toy, "val", 2, workers=1, env=dict(asked=[]))) == 2 and not any(p.heard)

def test_a_state_that_is_not_finite_ends_its_episode_alone(toy):
    lost = []; rows = rollout(Reads("state"), toy, "val", 3, workers=1, n_action_steps=2, env=dict(tale="nan"), on_failure=lost.append)
    assert [r["episode"] for r in rows] == [0, 2] and [f["failure"] for f in lost] == ["the robot's state is not finite"]

@pytest.mark.parametrize("tale,part", [("deaf", "its observation has no state"),
                                       ("table", "told a state of type float32 and shape (1, 2)")])
def test_a_simulator_that_tells_something_else(toy, tale, part):
    with pytest.raises(UserError) as heard: rollout(Reads("state"), toy, "val", 1, workers=1, env=dict(tale=tale))
    one_sentence(heard, part)

@pytest.mark.parametrize("name,extra,part", [("calvin-abc-d", "state", "CALVIN ABC-D tells no state of the robot, which this policy reads"),
                                             ("simpler-bridge", "wrist", "shows no image 'wrist'"),
                                             ("grinningface", "side", "no image 'side'")])
def test_a_benchmark_without_it_is_refused_before_anything_starts(name, extra, part):
    with pytest.raises(UserError) as heard: rollout(Reads(extra), benchmarks[name], benchmarks[name].splits[0], 1, workers=1)
    one_sentence(heard, part)
    assert asked_for(benchmarks[name], ()) == {}

@pytest.fixture(scope="module")
def table():
    pytest.importorskip("pybullet")
    from vlm4vla.tasks.tabletop import simulator
    return simulator

def test_the_tabletop_tells_more_and_stays_what_it_is(table):
    rng = np.random.default_rng(0); actions = np.c_[rng.uniform(-.02, .02, (6, 6)), np.arange(6) < 3]
    plain, more = table.make("id", size=48), table.make("id", size=48, extra=("state", "wrist"))
    for step in (lambda e: e.reset(3), lambda e: e.step(actions[:3]), lambda e: e.step(actions[3:])):
        a, b = step(plain), step(more)
        assert np.array_equal(a.image, b.image) and a.extra == {} and list(b.extra) == ["state", "wrist"]
        assert (plain.cube_pose()[0] == more.cube_pose()[0]).all()
    s, w = b.extra["state"], b.extra["wrist"]
    assert len(s) == len(benchmarks["grinningface"].state) and np.allclose(s[:3], more.tip(), atol=1e-6)
    assert np.abs(s[:3] - more.xyz).max() < .02 and np.abs(s[3:6] - more.rpy).max() < .05 and s[6] < .08 # it follows what is commanded
    assert w.shape == (48, 48, 3) and w.std() > 10 and not np.array_equal(w, b.image)
    more.done = True; assert more.observe(b.image).extra == {}; plain.close(); more.close()

def test_recorded_actions_are_carried_out_again(table):
    from vlm4vla.tasks.tabletop import demonstrations as d
    for kind, number, carry in (("recovery", 1001, False), ("demo", 1600, True)):
        env = (d.carrying if carry else table.Tabletop)("train", size=64); env.reset(number, "train"); images, done = [], []
        if not carry: d._start(env, kind, np.random.default_rng(d.stable_seed("demonstrations", kind, number)))
        for _ in range(5): images.append(env.render()); done.append(table.expert(env)); env.act(done[-1])
        asked = dict(kind=kind, number=number, executed=np.stack(done), ends=np.stack(images)[[0, -1]]); env.close()
        (states, wrist), = d.replay(carry, [asked])
        assert states.shape == (5, 7) and wrist.shape == (5, 64, 64, 3) and np.ptp(states[:,:3], axis=0).max() > .02
    with pytest.raises(UserError) as heard: d.replay(True, [asked | dict(executed=asked["executed"]*.5)])
    one_sentence(heard, "does not come out as it was recorded, at action 4")

# --- demonstrations ---------------------------------------------------------------------------------------------------------------------

def write_toy(folder, states=None, wrist=True, n=3, size=64, T=6):
    "Episodes whose actions follow from the state alone; the wrist camera shows the number of the episode and the frame."
    rng = np.random.default_rng(0)
    for i in range(n):
        s = rng.uniform(-1, 1, (T, 3)).astype(np.float32) if states is None else states[i]
        a = np.c_[s[:,:1].clip(-1, 1)*.1, np.zeros((T, 5)), s[:,1] > 0].astype(np.float32)
        w = np.stack([np.full((size, size, 3), 20*i + t, np.uint8) for t in range(T)])
        write_block(folder, i, [dict(task=f"task {i%2}", images=rng.integers(0, 9, (T, size, size, 3), np.uint8), actions=a,
                                     columns={STATE: s}, **(dict(views=dict(wrist=w)) if wrist else {}))])
    finish_dataset(folder, 5); return folder

@pytest.fixture(scope="module")
def demos(tmp_path_factory):
    return write_toy(tmp_path_factory.mktemp("demos")/"toy")

@pytest.fixture(autouse=True)
def _cache(tmp_path_factory, monkeypatch): monkeypatch.setenv("VLM4VLA_CACHE", str(tmp_path_factory.getbasetemp()/"cache"))

def test_a_recording_reads_back_as_it_was_written(demos):
    e = read_episode(demos, 2); s = Samples(demos, 32, K, extra=("state", "wrist")); plain = Samples(demos, 32, K)
    b = s.batch([12, 17]); assert np.array_equal(b["state"], e[STATE][[0, 5]]) and b["wrist"].mean((1, 2, 3)).tolist() == [40, 45]
    assert b["wrist"].shape == (2, 32, 32, 3) and s.hash != plain.hash == s.reader.hash and not {"state", "wrist"} & {*plain.batch([0])}
    assert np.array_equal(s.batch([3])["images"], plain.batch([3])["images"])

readers = pytest.importorskip("test_readers") if __name__ != "__main__" else None # its folders are written by each format's own rules
WRITTEN = dict(calvin=(readers.calvin, 15), libero=(readers.libero, 8), lerobot2=(lambda f: readers.lerobot2(f, False), 8),
               lerobot3=(lambda f: readers.lerobot3(f, False), 8), video=(lambda f: readers.lerobot2(f, True), 8))

@pytest.mark.parametrize("name", WRITTEN)
def test_every_format_hands_on_state_and_second_camera(name, tmp_path):
    write, n = WRITTEN[name]; told = write(tmp_path/"data"); suite = name if name in ("calvin", "libero") else ""
    r = open_data(told.folder, suite, (1., 0.)); states, mark = offered(r, "state"); wrist, other = offered(r, "wrist")
    assert states.shape == (len(r), n) and states.dtype == np.float32 and wrist.hash != r.hash and mark != other
    image = wrist.image(int(wrist.rows[4]))
    if name == "calvin": assert image.shape == (84, 84, 3) and abs(states).sum() > 0
    elif name == "libero": assert np.array_equal(image, r.image(int(r.rows[4]))[::-1, ::-1]) # the toy's lie the other way
    else: assert np.abs(image.astype(int) - told.images[0][4]).max() <= 6*told.lossy
    again = open_data(told.folder, suite, (1., 0.)); assert again.hash == r.hash and offered(again, "wrist")[1] == other

def test_a_column_under_another_name_is_not_guessed(tmp_path):
    folder = readers.lerobot2(tmp_path/"data", False).folder; path = folder/"meta"/"info.json"; info = json.loads(path.read_text())
    info["features"] = {k.replace("wrist_image", "overhead").replace("observation.state", "extrinsics"): f
                        for k,f in info["features"].items()}
    path.write_text(json.dumps(info)); r = open_data(folder, "", (1., 0.))
    for what, part in (("state", "has no state of the robot"), ("wrist", "has no images of a wrist camera")):
        with pytest.raises(UserError) as heard: offered(r, what)
        one_sentence(heard, part)

def spoil_calvin(d):
    path = sorted((d/"training").glob("episode_*.npz"))[4]
    with np.load(path) as z: found = {k: z[k] for k in z if k not in ("rgb_gripper", "robot_obs")}
    np.savez_compressed(path, **found)

def spoil_libero(d):
    with __import__("h5py").File(sorted(d.glob("*.hdf5"))[0], "a") as f:
        for k in ("eye_in_hand_rgb", "ee_states"): del f[f"data/demo_1/obs/{k}"]

def spoil_video(d): sorted(d.glob("videos/*/observation.images.wrist_image/*.mp4"))[1].unlink()

@pytest.mark.parametrize("name,spoil,state,wrist", [
    ("calvin", spoil_calvin, "has no robot_obs; it holds", "has no rgb_gripper; it holds"),
    ("libero", spoil_libero, "demo_1 has no obs/ee_states for its 9 actions", "demo_1 has no obs/eye_in_hand_rgb for its 9 actions"),
    ("video", spoil_video, "", "a video of observation.images.wrist_image; bring it")])
def test_what_is_missing_in_a_part_is_one_sentence(name, spoil, state, wrist, tmp_path):
    folder = WRITTEN[name][0](tmp_path/"data").folder; spoil(folder); r = open_data(folder, name if name != "video" else "", (1., 0.))
    assert len(r) > 0 # whoever does not ask does not notice
    for what, part in (("state", state), ("wrist", wrist)):
        if not part: assert len(offered(r, what)[0]); continue
        with pytest.raises(UserError) as heard: offered(r, what)
        one_sentence(heard, part)

def test_videos_that_are_not_listed_and_images_that_are_null(tmp_path):
    r = open_data(readers.lerobot3(tmp_path/"film", True).folder, "", (1., 0.)) # its toy lists the first camera's videos alone
    with pytest.raises(UserError) as heard: offered(r, "wrist")
    one_sentence(heard, "3 episodes of"); assert "have no video of observation.images.wrist_image" in str(heard.value)
    import pyarrow as pa, pyarrow.parquet as pq
    folder = readers.lerobot2(tmp_path/"table", False).folder; path = folder/"data/chunk-000/episode_000001.parquet"
    t = pq.read_table(path); at = t.schema.get_field_index("observation.images.wrist_image"); rows = t.column(at).to_pylist()
    rows[2] = dict(bytes=None, path=None)
    pq.write_table(t.set_column(at, t.schema.names[at], pa.array(rows)), path)
    with pytest.raises(UserError) as heard: Samples(folder, 32, K, extra=("wrist",))
    one_sentence(heard, "has no image in observation.images.wrist_image")

def test_an_episode_with_a_hole_in_its_state_is_left_out(tmp_path):
    folder = readers.lerobot2(tmp_path/"data", False).folder; path = folder/"data/chunk-000/episode_000001.parquet"
    import pyarrow as pa, pyarrow.parquet as pq
    t = pq.read_table(path); at = t.schema.get_field_index("observation.state"); rows = t.column(at).to_pylist(); rows[3][2] = float("nan")
    pq.write_table(t.set_column(at, "observation.state", pa.array(rows, pa.list_(pa.float32()))), path)
    with pytest.warns(UserWarning, match="state of 1 frames of .* is not finite .*in episode 1., so 1 of 3 episodes are left out"):
        s = Samples(folder, 32, K, extra=("state",))
    assert {*s.episode_ids.tolist()} == {0, 2} and len(s) == len(s.extra["state"]) == 16 and len(Samples(folder, 32, K)) == 21

# --- families ---------------------------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("name", TINY)
def test_two_images_of_a_row(name):
    f = families[backbones[name].family]
    assert all(t.count(f.frame) == 1 for t in f.prompts.values())
    if f.one_image:
        with pytest.raises(UserError) as heard: policy(name, views=2)
        one_sentence(heard, "takes one image, not 2: "); return
    p = policy(name, views=2); images, said, extra = seen(p, 4); acts = p.act(images, said, extra); e = p.encoder
    row = e.prompt("go"); assert row.count(e.image_id) == 2*e.n_visual and e.with_views(1).prompt("go").count(e.image_id) == e.n_visual
    alone = np.concatenate([p.act(images[i:i+1], said[i:i+1], {k: x[i:i+1] for k,x in extra.items()}) for i in range(4)])
    assert np.abs(acts - alone).max() < 1e-5
    if name == "tiny-gemma-3": return # with random weights its projector says nothing of any image
    assert np.abs(acts - p.act(extra["wrist"], said, dict(wrist=images))).max() > 1e-6 # which is first matters

# --- policies ---------------------------------------------------------------------------------------------------------------------------

def test_by_default_nothing_is_observed_and_nothing_is_new(tmp_path):
    p = policy(); assert p.observes == () and p.proprio is None and not {"proprio", "views", "states"} & {*p.facts}
    assert not any("proprio" in n for n in p.state_dict())
    p.save(tmp_path); assert not {"proprio", "views", "states"} & {*json.loads((tmp_path/"policy.json").read_text())}

@pytest.mark.parametrize("way", WAYS, ids=str)
@pytest.mark.parametrize("head", ["mlp", "oft", "flow", "bins"])
def test_a_policy_that_observes_more(head, way, tmp_path):
    p = policy(head=head, **way); images, said, extra = seen(p, 8); acts = p.act(images, said, extra)
    alone = np.concatenate([p.act(images[i:i+1], said[i:i+1], {k: x[i:i+1] for k,x in extra.items()}) for i in range(8)])
    assert np.abs(acts - alone).max() < 1e-5 and p.extra == {} # whoever shares the batch
    p.save(tmp_path); q = Policy.load(tmp_path); assert q.facts == p.facts and q.states == p.states and q.observes == p.observes
    assert np.array_equal(q.act(images, said, extra), acts)
    batch = dict(images=images, instructions=said, actions=np.zeros((8, K, 7)), mask=np.ones((8, K), bool), keys=[(1, i) for i in range(8)],
                 **extra)
    loss = p.loss(batch)[0].item(); p.compute_less(); assert abs(p.loss(batch)[0].item() - loss) < 1e-5
    p.loss(batch)[0].backward(); assert p.proprio is None or p.proprio.linear.weight.grad[:,:2].abs().sum() > 0
    with pytest.raises(UserError) as heard: p.act(images, said)
    one_sentence(heard, "The images come without ")

def test_the_state_is_read(tmp_path):
    for way in WAYS[:2]:
        p = policy(**way); images, said, extra = seen(p, 2); here = p.act(images, said, dict(state=[[0, 1, 2.]]*2))
        assert not np.array_equal(here, p.act(images, said, dict(state=[[.5, 1, 2]]*2)))
        assert np.array_equal(here, p.act(images, said, dict(state=[[0, 1, 7.]]*2))) # that number never moved in its data

@pytest.mark.parametrize("way", WAYS[:2] + WAYS[3:], ids=str)
def test_a_remembered_prefix_changes_nothing(way):
    p = policy(**way); images, said, extra = seen(p, 3); acts = p.act(images, said, extra)
    assert p.remember_prefix() > 0 and np.abs(p.act(images, said, extra) - acts).max() < 1e-5
    assert np.abs(p.quick("less").act(images, said, extra) - acts).max() < 1e-5 and "less" in ACT_SPEEDUPS

@pytest.mark.parametrize("bad,part", [
    (dict(state=np.zeros((2, 4))), "this policy reads 3 finite ones"), (dict(state=[[0, np.nan, 0]]*2), "some that are not finite"),
    (dict(state=np.zeros(3)), "shape (3,)"), (dict(state=np.zeros((1, 3))), "2 images and 1 states"),
    (dict(state="here"), "no numbers of shape"),
    (dict(state=np.zeros((2, 3)), wrist=np.zeros((1, 8, 8, 3), np.uint8)), "2 images and 1 of the wrist camera"),
    (dict(state=np.zeros((2, 3)), wrist=np.zeros((2, 8, 8, 3))), "whole numbers"), (dict(wrist=np.zeros((2, 8, 8, 3), np.uint8)), "state")])
def test_what_is_no_observation(bad, part):
    p = policy(**WAYS[3]); images, said, extra = seen(p, 2)
    if "state" in bad: bad = dict(wrist=extra["wrist"]) | bad
    with pytest.raises(UserError) as heard: p.act(images, said, bad)
    one_sentence(heard, part); assert p.extra == {}

def test_ranges_that_are_none(tmp_path):
    for lo, hi, part in (((0,)*33, (1,)*33, f"1 to {STATE_DIMS}"), ((0,), (np.inf,), "not finite"), ((), (), "0 lower")):
        with pytest.raises(UserError) as heard: StateStats(lo=lo, hi=hi)
        one_sentence(heard, part)
    p = policy(proprio="token"); p.save(tmp_path); said = json.loads((tmp_path/"policy.json").read_text())
    for states, part in ((dict(lo=[1], hi=[0]), "statistics in"), (dict(low=[1]), "statistics in")):
        (tmp_path/"policy.json").write_text(json.dumps(said | dict(states=states)))
        with pytest.raises(UserError) as heard: Policy.load(tmp_path)
        one_sentence(heard, part)
    (tmp_path/"policy.json").write_text(json.dumps({k: v for k,v in said.items() if k != "states"}))
    with pytest.raises(UserError, match="has no range of states"): Policy.load(tmp_path).act(*seen(p, 1)[:2], dict(state=np.zeros((1, 3))))

# --- training ---------------------------------------------------------------------------------------------------------------------------

@pytest.fixture(scope="module")
def trains(demos):
    "An experiment on the toy demonstrations, with fields of its recipe set."
    changes = dict(steps=4, batch_size=4, warmup_steps=1, checkpoint_every=2, chunk_size=K, n_action_steps=2, image_size=64)
    variants.add(Variant("state-toy", "A test's.", dict(changes, demos=str(demos))))
    yield lambda *said, b="tiny-qwen3-vl": with_settings(Experiment(b, "grinningface", "state-toy", 0), *said)
    del variants["state-toy"]

@pytest.mark.parametrize("said", ["proprio=token,views=2", "proprio=text", "head=pi0,views=2"])
def test_a_training_goes_on_to_the_bit_and_says_what_it_read(said, trains, tmp_path):
    e = trains(said, b="tiny-paligemma" if "pi0" in said else "tiny-qwen3-vl"); p, log, inputs = train(e, tmp_path/"whole")
    train(e, tmp_path/"cut", stop_at=2); q, _, again = train(e, tmp_path/"cut")
    assert inputs["weights"] == again["weights"] and inputs["data"] != train(trains(), tmp_path/"plain")[2]["data"]
    facts = p.origin.facts; assert facts["states"] == p.states.hash if p.states else "states" not in facts
    assert Policy.load(tmp_path/"whole").states == p.states

def test_a_recipe_that_asks_for_nothing_is_named_as_before(trains, tmp_path):
    facts = train(trains(), tmp_path)[0].origin.facts; assert not {"proprio", "views", "states"} & {*facts}

def test_only_with_the_state_can_be_learnt_what_follows_from_it(demos):
    losses = {}
    for how in ("none", "token", "text"):
        torch.manual_seed(0); p = policy(**(dict(proprio=how) if how != "none" else {})); s = Samples(demos, p.encoder.facts["size"], 1,
                                                                                                      extra=p.observes)
        s.frames = np.zeros_like(np.asarray(s.frames)) # what the camera shows says nothing
        p.head = __import__("vlm4vla.heads.registry", fromlist=["x"]).make_head("mlp", 64, 1); p.stats = ActionStats.from_range(-.1, .1)
        if how != "none": p.states = StateStats.from_quantiles(s.extra["state"])
        losses[how] = overfit(p, s, np.arange(10), steps=45, lr=2e-3)[-1]
    assert losses["token"] < .5*losses["none"] and losses["text"] < .8*losses["none"], losses

def test_a_second_image_is_changed_as_the_first_is(demos):
    s = Samples(demos, 64, K, extra=("wrist",)); a, b = (with_text(s, [3, 4], kind="crop", seed=(7,)) for _ in range(2))
    assert torch.equal(a["wrist"], b["wrist"]) and not np.array_equal(a["wrist"], with_text(s, [3, 4])["wrist"])
    assert a["wrist"].dtype == torch.uint8

def test_data_without_it_and_simulators_without_it(trains, tmp_path):
    folder = write_toy(tmp_path/"poor", wrist=False); variants.add(Variant("state-poor", "A test's.", dict(variants["state-toy"].changes,
                                                                                                          demos=str(folder))))
    try:
        with pytest.raises(UserError) as heard: train(Experiment("tiny-qwen3-vl", "grinningface", "state-poor+views-2", 0), tmp_path/"a")
        one_sentence(heard, "has no images of a wrist camera")
    finally: del variants["state-poor"]
    for e in (replace(trains("proprio=text"), benchmark="calvin-abc-d"), replace(trains("views=2"), benchmark="simpler-bridge")):
        for f in (lambda: train(e, tmp_path/"b"), lambda: cost(e)):
            with pytest.raises(UserError) as heard: f()
            one_sentence(heard, "which this policy reads")
    assert not (tmp_path/"b").exists()

def test_one_of_our_sets_gives_way_to_its_twin(monkeypatch):
    from vlm4vla.catalog.sets import demo_sets
    asked = []; monkeypatch.setattr(type(demo_sets["grinningface-extra"]), "record", lambda s, f: asked.append(s.name) or f)
    monkeypatch.setattr(type(demo_sets["grinningface"]), "record", lambda s, f: asked.append(s.name) or f)
    demonstrations("grinningface"); demonstrations("grinningface", ("wrist",))
    assert asked == ["grinningface", "grinningface-extra"]

# --- recipes and plans ------------------------------------------------------------------------------------------------------------------

def test_variants_of_the_study():
    r = {v: experiments[f"mini-qwen3-vl__grinningface__adapt-{v}__s0"].recipe for v in ("full", "proprio", "two-views")}
    assert (r["full"].proprio, r["full"].views) == ("none", 1)
    assert r["proprio"] == replace(r["full"], proprio="token") and r["two-views"] == replace(r["full"], views=2)
    for said, part in (("proprio=tokens", "did you mean 'token'?"), ("views=3", "it is 1, or 2 with the wrist camera")):
        with pytest.raises(UserError, match=part): with_settings(experiments["mini-qwen3-vl__grinningface__base__s0"], said)
    with pytest.raises(UserError) as heard: observed("pi0", "text", 1)
    one_sentence(heard, "reads the robot's state itself")

def test_a_plan_counts_them():
    b = "qwen3-vl-2b"; plain, state, text, two = (cost(with_settings(experiments[f"{b}__grinningface__base__s0"], *s))
                                                  for s in ((), ("proprio=token",), ("proprio=text",), ("views=2",)))
    p = Policy(backbones["mini-qwen3-vl"], 10, proprio="token")
    counted = cost(experiments["mini-qwen3-vl__grinningface__base+proprio-token__s0"])
    assert counted.parts["new"] == p.learning()["new"] and state.tokens == plain.tokens + 1 and two.tokens > plain.tokens + 40
    assert two.flops > 1.3*plain.flops and text.tokens == plain.tokens + 31
    assert advise(experiments[f"{b}__grinningface__adapt-two-views__s0"]).fits
    enc = Encoder("mini-qwen3-vl"); row = lambda **kw: len(enc.prompt("go", **kw))
    assert abs(row(state="128 200 45 128 0 255 13") - row() - 31) < 12 # what the plan takes for seven numbers
    with pytest.raises(UserError) as heard: cost(experiments["kosmos-2__grinningface__adapt-two-views__s0"])
    one_sentence(heard, "Kosmos-2 takes one image, not 2")
