"SimplerEnv-Bridge: the real simulator where it is there, and one sentence for everything that may be missing."
import json, os, subprocess, sys
from pathlib import Path
import numpy as np, pytest
from vlm4vla.catalog.benchmarks import benchmarks, simulator_environment
from vlm4vla.core import UserError
from vlm4vla.sim.rollout import rollout
from vlm4vla.sim.install import shown_package, simulators

B, RECIPE = benchmarks["simpler-bridge"], simulators["simpler"]
ROOT = Path(__file__).resolve().parent.parent

@pytest.fixture(scope="session")
def python(interpreter): return interpreter("simpler")

EPISODES = """
import json
import numpy as np
from vlm4vla.core import UserError
from vlm4vla.tasks.bridge.simulator import make, SCENES
def drive(env, task, episode, every, chunk=4):
    env.every = every; first = env.reset(episode, task); r, states, seen = np.random.default_rng(episode), [], []
    while not env.done:
        a = np.c_[r.uniform(-.03, .02, (chunk, 3)), r.uniform(-.1, .1, (chunk, 3)), r.integers(0, 2, (chunk, 1))]
        obs = env.step(a); states.append(env.state()); seen.append(obs.image)
    return first.image, np.stack(states), np.stack(seen), obs.info
env, other = make(), make()
from mani_skill.utils.registration import REGISTERED_ENVS
said = {}
for task in SCENES:
    a, b = drive(env, task, 5, False), drive(env, task, 5, True)
    other.reset(7, task); other.step(np.tile([0, 0, -.03, 0, 0, 0, 1.], (8, 1)))
    c = drive(other, task, 5, False)
    info = {k: v for k, v in a[3].items()}
    said[task] = dict(shape=a[0].shape, kind=str(a[0].dtype), frames=len(env.frames), info=info, same_info=a[3] == b[3] == c[3],
        instruction=env.instruction,
        every=[bool((x == y).all()) for x, y in zip(a[:3], b[:3])], anew=[bool((x == y).all()) for x, y in zip(a[:3], c[:3])],
        moved=float(np.ptp(a[1], 0).max()), apart=bool((env.reset(6, task).image != a[0]).any()))
first = {t: env.reset(3, t).image for t in reversed(SCENES)}
alone = make(); alone.scenes.close(); only = alone.reset(3, "cube").image
registered = {t: REGISTERED_ENVS[i].max_episode_steps for t, i in SCENES.items()}
refused = []
def refuse(f, *args, **kw):
    try: f(*args, **kw)
    except UserError as e: refused.append(str(e))
refuse(env.reset, 24, "carrot"); refuse(env.reset, 0, "carott"); refuse(env.reset, 0, "carrot", instruction=" ")
env.reset(0, "carrot"); refuse(env.step, np.zeros((4, 6))); refuse(env.step, np.full((1, 7), np.nan))
env.done = True; refuse(env.step, np.zeros((1, 7)))
refuse(make, "test"); refuse(make, pilot="autopilot")
print(json.dumps(dict(tasks=said, alone=bool((only == first["cube"]).all()), registered=registered, refused=refused,
                      apart=[float(np.abs(first[t].astype(float) - first["carrot"]).mean()) for t in SCENES])))
"""

@pytest.fixture(scope="module")
def said(python, tmp_path_factory):
    "What one process of the simulator's own Python found out."
    env = {**simulator_environment(python), **os.environ, "PYTHONPATH": str(shown_package(tmp_path_factory.mktemp("path"))),
           "OMP_NUM_THREADS": "1"}
    done = subprocess.run([python, "-c", EPISODES], capture_output=True, text=True, env=env, stdin=subprocess.DEVNULL, timeout=900)
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout.strip().splitlines()[-1])

def test_every_task_makes_resets_steps_and_looks_only_when_asked(said):
    assert set(said["tasks"]) == set(B.tasks)
    for task, s in said["tasks"].items():
        assert s["shape"] == [224, 224, 3] and s["kind"] == "uint8" and s["apart"] and s["instruction"], task
        assert s["every"] == [True]*3, f"{task}: rendering every step changes first image, states or later images: {s['every']}"
        assert s["anew"] == [True]*3, f"{task}: what came before changes an episode: {s['anew']}"
        assert s["same_info"] and s["info"]["n_steps"] == s["frames"] == B.limit(task) and s["moved"] > .01
        assert {"success", "ever", "grasped", "held"} <= set(s["info"])

LIMITS = """
import json, vlm4vla.tasks.bridge.simulator as s
s.maniskill()
from mani_skill.utils.registration import REGISTERED_ENVS
print(json.dumps({t: REGISTERED_ENVS[i].max_episode_steps for t, i in s.SCENES.items()}))
"""

def test_a_scene_looks_the_same_alone_and_among_others(said):
    assert said["alone"] and said["apart"][0] == 0 and min(said["apart"][1:]) > 1, said["apart"]

def test_limits_are_those_of_the_simulator(said):
    assert said["registered"] == {t: B.limit(t) for t in B.tasks}

class Still:
    "Leaves the arm where it is, or lets the pilot act."
    def __init__(self, n=4): self.n = n
    def act(self, images, instructions): return np.tile(np.r_[np.zeros(6), 1].astype(np.float32), (len(images), self.n, 1))

def without_time(rows): return [{k: v for k, v in r.items() if k != "seconds"} for r in rows]

def test_the_expert_succeeds_and_two_workers_give_the_rows_of_one(python):
    flown = dict(env=dict(pilot="expert"), n_action_steps=120, time_limit=300.)
    rows = rollout(Still(120), B, "visual-matching", 3, workers=2, **flown)
    lost = [(r["task"], r["episode"], r["failure"]) for r in rows if not r["success"]]
    assert len(rows) == 12 and len(lost) <= 1, lost
    assert all(json.loads(r["detail"])["grasped"] for r in rows) and {r["n_steps"] for r in rows} == {60, 120}
    again = rollout(Still(120), B, "visual-matching", [1], workers=1, tasks=["spoon", "cube"], **flown)
    assert without_time(again) == [r for r in without_time(rows) if r["episode"] == 1 and r["task"] in ("spoon", "cube")]

def test_doing_nothing_is_no_success(python):
    rows = rollout(Still(), B, "visual-matching", [0, 23], workers=1, tasks=["carrot", "cube"])
    assert [(r["success"], r["n_steps"], r["failure"], r["chunk_mode"]) for r in rows] == [(False, 60, "", "4 of 4")]*4
    assert not any(json.loads(r["detail"])["ever"] for r in rows)

def test_bad_input_is_one_sentence(said):
    for s, words in zip(said["refused"],
                        ("has episodes 0 to 23, not 24", "did you mean 'carrot'?", "instruction is empty", "not an array of shape (4, 6)",
                         "an action that is not finite", "call `reset`", "no split 'test'", "no pilot 'autopilot'"), strict=True):
        assert words in s and "\n" not in s, s

def test_missing_assets_are_named_and_nothing_asks(python, tmp_path):
    policy, old = Still(), os.environ.get(RECIPE.assets_setting)
    os.environ[RECIPE.assets_setting] = str(tmp_path)
    try:
        with pytest.raises(UserError, match=f"assets of SimplerEnv-Bridge are not in {tmp_path}"):
            rollout(policy, B, "visual-matching", 1, workers=1)
    finally: os.environ.pop(RECIPE.assets_setting) if old is None else os.environ.update({RECIPE.assets_setting: old})

def test_a_python_without_the_simulator_says_how_to_get_it(monkeypatch, tmp_path):
    assets = tmp_path/"assets"
    for p in RECIPE.assets_proof: (assets/p).mkdir(parents=True)
    monkeypatch.setenv(B.python_setting, sys.executable); monkeypatch.setenv(RECIPE.assets_setting, str(assets))
    with pytest.raises(UserError, match="vlm4vla simulators install simpler"): rollout(Still(), B, "visual-matching", 1, workers=1)
