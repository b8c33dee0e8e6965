"What the lesson of rollouts no longer shows: a dot that must be driven to a target, in a world that amplifies every last digit."
import json, os, time
from dataclasses import replace
import av, numpy as np, pytest, torch
from vlm4vla.catalog.benchmarks import benchmarks
from vlm4vla.core import UserError
from vlm4vla.sim.rollout import EpisodeJob, _failure_of, _row_of, _untold, call, key_of, pick_examples, rollout, running_rates

SIMULATOR = '''
import os, signal, time
import numpy as np
from vlm4vla.sim.worker import Observation

class Dot:
    def __init__(self, split, size, render_every_step, trouble):
        self.split, self.size, self.every, self.trouble = split, size, render_every_step, trouble
    def reset(self, episode):
        rng = np.random.default_rng(episode)
        self.episode, self.n, self.chaos, self.frames = episode, 0, rng.uniform(.1, .9), []
        self.at, self.goal = rng.uniform(.1, .9, (2, 2))
        return self.look()
    def step(self, actions):
        self.fail()
        for a in np.atleast_2d(actions):
            self.at = np.clip(self.at + np.clip(a[:2], -.1, .1), 0, 1); self.n += 1
            self.chaos = 3.99*self.chaos*(1 - self.chaos); self.chaos = (self.chaos + 1e4*float(a[2])) % 1.
            if self.every: self.frames.append(self.look().image)
            if self.over(): break
        return self.look()
    def over(self): return self.n >= 20 or np.abs(self.at - self.goal).max() < .06
    def look(self):
        image = np.full((self.size, self.size, 3), int(255*self.chaos), np.uint8)
        for xy, colour in ((self.goal, (0, 200, 0)), (self.at, (255, 0, 0))):
            x, y = (xy*(self.size - 4)).astype(int); image[y:y+4, x:x+4] = colour
        info = dict(success=bool(np.abs(self.at - self.goal).max() < .06), n_steps=self.n, chaos=self.chaos) if self.over() else {}
        return Observation(image, "drive to %.1f %.1f" % tuple(self.goal), bool(info), info)
    def fail(self):
        for kind, episode, always in self.trouble:
            flag = os.path.join(os.environ["DOTS"], f"{kind}-{episode}")
            if episode != self.episode or (os.path.exists(flag) and not always): continue
            open(flag, "w").close()
            if kind == "die": os.kill(os.getpid(), signal.SIGKILL)
            if kind == "hang": time.sleep(1000)
            if kind == "raise": raise ValueError("the arm fell off")
    def close(self): pass

def make(split, size=32, render_every_step=False, trouble=()): return Dot(split, size, render_every_step, trouble)
'''

class Driver:
    "Drives to the place that the instruction names; a small network adds its opinion."
    def __init__(self):
        torch.manual_seed(0)
        self.net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(32*32*3, 64), torch.nn.Tanh(), torch.nn.Linear(64, 10*7))
    def act(self, images, instructions):
        images = torch.from_numpy(images).float()/255
        red = torch.stack([((i[..., 0] > .9) & (i[..., 1] < .1)).nonzero().float().mean(0).flip(0)/28 for i in images])
        way = torch.tensor([[float(w) for w in t.split()[-2:]] for t in instructions]) - red
        with torch.no_grad(): return torch.cat([way[:, None].repeat(1, 10, 1)/5, self.net(images).view(-1, 10, 7)[..., 2:]], -1).numpy()

def without_time(rows): return [{k: v for k, v in r.items() if k != "seconds"} for r in rows]

@pytest.fixture(scope="module")
def toy(tmp_path_factory):
    "A benchmark whose simulator is a module in a temporary folder."
    folder = tmp_path_factory.mktemp("dots"); (folder/"dots.py").write_text(SIMULATOR)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", os.pathsep.join([str(folder), os.environ.get("PYTHONPATH", "")])); patch.setenv("DOTS", str(folder))
        yield replace(benchmarks["grinningface"], name="dots", module="dots", tasks=("drive",), max_steps=20)

@pytest.fixture(scope="module")
def rows(toy): return rollout(Driver(), toy, "val", 10, workers=3, run_id="lesson")

def test_an_episode_has_its_row_in_every_batch():
    jobs = [EpisodeJob("drive", e, e % 8) for e in (3, 9)]
    for j in jobs: j.obs = (np.full((32, 32, 3), (255, 0, 0), np.uint8), f"drive to 0.5 0.{j.episode}")
    together, alone = call(Driver(), jobs, 8, 5), call(Driver(), jobs[1:], 8, 5)
    assert np.array_equal(together[1], alone[1]) # episode 9 sits in row 1, whoever else is there
    with pytest.raises(UserError, match="lower n_action_steps"): call(Driver(), jobs, 8, 11)

def test_a_row_and_what_it_needs(toy):
    job, said = EpisodeJob("drive", 4, 4, began=time.monotonic()), dict(success=True, n_steps=7, chosen="owl", placed=True)
    row = _row_of(job, said, run_id="r", benchmark="dots", split="val", chunk_mode="5 of 10")
    assert key_of(row) == ("r", "dots", "val", "drive", 4, "5 of 10")
    assert running_rates([row, row | dict(success=False)]) == dict(success="0.50", placed="1.00")
    assert [_untold(said | more, toy) for more in ({}, dict(success=None), dict(n_steps=0))] == [
        "", "the simulator told no outcome (success is None)", "over before the policy acted"]
    assert _failure_of(job, "worker died (signal 9)", run_id="r")["failure"] == "worker died (signal 9)"
    found = pick_examples([dict(row, episode=e, success=e in (6, 7)) for e in (7, 9, 6, 8)])
    assert {k: r["episode"] for k, r in found.items()} == dict(success=6, failure=8) and pick_examples([]) == {}

def test_one_worker_or_three_and_every_row_as_it_comes(toy, rows):
    arrived = []
    alone = rollout(Driver(), toy, "val", 10, workers=1, run_id="lesson", on_row=arrived.append)
    assert without_time(alone) == without_time(rows) and sorted(r["episode"] for r in arrived) == list(range(10))
    with pytest.raises(UserError, match="workers must be a whole number of at least 1"): rollout(Driver(), toy, "val", 10, 0)
    with pytest.raises(UserError, match="choose one of id, val"): rollout(Driver(), toy, "test", 10)

def test_what_is_done_is_not_done_again(toy, rows):
    rest = rollout(Driver(), toy, "val", 10, workers=2, run_id="lesson", done_keys=[key_of(r) for r in rows if r["episode"] != 7])
    assert without_time(rest) == without_time(rows)[7:8] and json.loads(rest[0]["detail"])
    singly = rollout(Driver(), toy, "val", 1, workers=1, run_id="lesson", chunk_mode="single", done_keys=[key_of(r) for r in rows])
    assert (singly[0]["chunk_mode"], rows[0]["chunk_mode"]) == ("1 of 10", "5 of 10") # another chunk mode is another row

def test_a_worker_that_dies_hangs_or_reports_an_error(toy, rows):
    "Once is mended; twice, and the episode has no row, but two failures."
    trouble, failures = [("die", 1, False), ("hang", 2, False), ("die", 3, True), ("hang", 4, True), ("raise", 5, True)], []
    hard = rollout(Driver(), toy, "val", 8, workers=2, run_id="lesson", time_limit=1, env=dict(trouble=trouble), on_failure=failures.append)
    assert without_time(hard) == [r for r in without_time(rows)[:8] if r["episode"] not in (3, 4, 5)]
    assert {f["episode"]: f["failure"] for f in failures if f["episode"] > 2} == {
        3: "worker died (signal 9)", 4: "no answer within 1 s", 5: "ValueError: the arm fell off"}
    assert sorted(f["episode"] for f in failures) == [1, 2, 3, 3, 4, 4, 5, 5]

def test_a_simulator_that_fails_in_every_episode_ends_the_rollout(toy):
    arrived, trouble = [], [("raise", e, True) for e in range(12)]
    with pytest.raises(UserError, match="3 episodes in a row failed, all in the same way .ValueError: the arm fell off., so the rollout"):
        rollout(Driver(), toy, "val", 12, workers=2, on_row=arrived.append, env=dict(trouble=trouble))
    assert arrived == []

def test_a_video_changes_nothing(toy, rows, tmp_path):
    filmed = rollout(Driver(), toy, "val", [6], workers=1, run_id="lesson", video={6: tmp_path/"six.mp4"})
    assert without_time(filmed) == without_time(rows)[6:7]
    with av.open(str(tmp_path/"six.mp4")) as v: assert len(list(v.decode(video=0))) == filmed[0]["n_steps"] + 1 + 20

class Reach:
    def act(self, images, instructions):
        return np.tile(np.array([.01, .004, -.01, 0, 0, 0, 1], np.float32), (len(images), 10, 1))

def test_the_tabletop_rolls_out_and_is_filmed(tmp_path):
    emoji = rollout(Reach(), benchmarks["grinningface"], "val", 2, workers=2, env=dict(limit=15), video={0: tmp_path/"reach.mp4"})
    assert [(r["success"], r["n_steps"], json.loads(r["detail"])["execution"]) for r in emoji] == [(False, 15, False)]*2
    with av.open(str(tmp_path/"reach.mp4")) as v: first, *_, last = (f.to_ndarray(format="rgb24") for f in v.decode(video=0))
    assert first.shape == last.shape and (first != last).any()
