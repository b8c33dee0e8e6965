"LIBERO itself, from the files of two of its tasks: the same states, images and outcomes however often somebody looks."
import json, os, subprocess, sys
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
import numpy as np, pytest

from vlm4vla.catalog.benchmarks import benchmarks, simulator_environment
from vlm4vla.core import UserError
from vlm4vla.tasks.libero.simulator import DUMMY, Episode, choose_renderer, initial_states, make, suite_of
from vlm4vla.data.libero import words_of
from vlm4vla.sim.rollout import rollout
from vlm4vla.sim.install import simulators
from vlm4vla.sim.worker import check_action

ROOT = Path(__file__).resolve().parent.parent
b, setting = benchmarks["libero-10"], simulators["libero"].assets_setting
SOUP, STOVE = b.tasks[0], b.tasks[2]                               # the tasks whose files the test assets hold
BESIDE = ROOT.parent/"shared"/"assets"/"libero"

@pytest.fixture
def simulator(interpreter, monkeypatch):
    "The simulator's interpreter, with assets."
    found = interpreter("libero")
    assets = Path(os.environ.get(setting) or simulator_environment(found).get(setting) or BESIDE)
    if not (assets/"scenes").is_dir(): pytest.skip(f"no assets of LIBERO here; name their folder in {setting}")
    monkeypatch.setenv(setting, str(assets))
    return found

@pytest.fixture
def inside(simulator, tmp_path):
    "Run code under the simulator's Python; what it leaves in `out`, as JSON."
    def run(code, **known):
        env = {**os.environ, "PYTHONPATH": str(ROOT), "LIBERO_CONFIG_PATH": str(tmp_path/"config"), "HOME": str(tmp_path)}
        head = (f"import json, sys, warnings; warnings.filterwarnings('ignore')\nimport numpy as np\n"
                f"known = json.loads({json.dumps(json.dumps(known))})\nout = {{}}\n")
        done = subprocess.run([simulator, "-c", f"{head}{code}\nprint(); print(json.dumps(out))"], env=env, cwd=tmp_path,
                              stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=600)
        assert done.returncode == 0, done.stderr[-2000:]
        assert not (tmp_path/".libero").exists()                   # nothing in the user's home
        return json.loads(done.stdout.splitlines()[-1])
    return run

SAME = '''
from vlm4vla.tasks.libero.simulator import make, open_package
task = known["task"]
rng = np.random.default_rng(0); actions = np.c_[rng.uniform(-1, 1, (8, 6)), np.arange(8) < 4].astype(float)
env = make("libero_10")
def roll(every, episode):
    env.every = every; obs = env.reset(episode, task); seen = [(env.scene.state(), obs.image)]
    for k in (0, 4): obs = env.step(actions[k:k+4]); seen.append((env.scene.state(), obs.image))
    return seen
same = lambda x, y: all((p == q).all() and (i == j).all() for (p, i), (q, j) in zip(x, y, strict=True))
watched = roll(True, 3); out["frames"] = len(env.frames)
other, once = roll(False, 0), roll(False, 3)
out["once"], out["differ"], out["instruction"] = same(watched, once), same(other, once), env.reset(3, task).instruction

from libero.libero.envs import OffScreenRenderEnv                  # robosuite's own way: a world built anew, all its observations
package = open_package()
native = OffScreenRenderEnv(bddl_file_name=f"{package}/bddl_files/libero_10/{task}.bddl", camera_heights=224, camera_widths=224,
                            camera_names=["agentview"])
native.reset()
native.seed(3); native.reset(); native.set_init_state(env.scene.states[3]); theirs = []
for a in [[0]*6 + [-1]]*10: obs = native.step(a)[0]
theirs.append((native.get_sim_state(), obs["agentview_image"][::-1, ::-1]))
for i, a in enumerate(actions):
    obs = native.step(np.r_[a[:6], -1 if a[6] else 1])[0]
    if i % 4 == 3: theirs.append((native.get_sim_state(), obs["agentview_image"][::-1, ::-1]))
out["native"] = same(theirs, once)
'''

@pytest.mark.parametrize("task", [SOUP, STOVE])
def test_rendering_once_changes_no_bit_and_is_robosuites_own_picture(inside, task):
    out = inside(SAME, task=task)
    assert out == dict(once=True, differ=False, native=True, frames=8, instruction=words_of(task))

BESIDES = '''
from vlm4vla.tasks.libero.simulator import make, open_package
task = known["task"]; package = open_package(); actions = np.c_[np.random.default_rng(0).uniform(-1, 1, (8, 6)), np.arange(8) < 4]
env = make("libero_10", size=64, extra=("state", "wrist")); obs = env.reset(3, task); ours = [obs.extra]
for k in (0, 4): ours.append(env.step(actions[k:k+4]).extra)
plain = make("libero_10", size=64); image = plain.reset(3, task).image
out["same"] = bool((image == obs.image).all() and (plain.step(actions[:4]).extra == {}))
from libero.libero.envs import OffScreenRenderEnv
native = OffScreenRenderEnv(bddl_file_name=f"{package}/bddl_files/libero_10/{task}.bddl", camera_heights=64, camera_widths=64,
                            camera_names=["agentview", "robot0_eye_in_hand"])
native.reset(); native.seed(3); native.reset(); native.set_init_state(env.scene.states[3])
import robosuite.utils.transform_utils as T
def told(o): return np.r_[o["robot0_eef_pos"], T.quat2axisangle(o["robot0_eef_quat"].copy()), o["robot0_gripper_qpos"]].astype(np.float32)
for a in [[0]*6 + [-1]]*10: o = native.step(a)[0]
theirs = [o]
for i, a in enumerate(actions):
    o = native.step(np.r_[a[:6], -1 if a[6] else 1])[0]
    if i % 4 == 3: theirs.append(o)
out["states"] = [float(np.abs(told(o) - x["state"]).max()) for o, x in zip(theirs, ours, strict=True)]
out["wrist"] = [bool((o["robot0_eye_in_hand_image"][::-1, ::-1] == x["wrist"]).all()) for o, x in zip(theirs, ours)]
out["move"] = float(np.abs(ours[0]["state"] - ours[2]["state"]).max())
'''

def test_state_and_wrist_image_are_robosuites_own(inside):
    out = inside(BESIDES, task=SOUP)
    assert out["same"] and max(out["states"]) == 0 and all(out["wrist"]) and out["move"] > .01

def test_settling_waits_or_alternates_as_the_release_does(inside):
    out = inside('''
from vlm4vla.tasks.libero.simulator import DUMMY, make
def alternate():
    env = make("libero_10", size=32, settle="alternate", limit=6); obs = env.reset(0, known["task"])
    acts = []; act = env.scene.act; env.scene.act = lambda a: (acts.append(tuple(a) == DUMMY), act(a))[1]
    while not obs.done: obs = env.step(np.zeros((4, 7)))
    return acts, obs.info["n_steps"]
out["acts"], out["n"] = alternate()
env = make("libero_10", size=32, limit=6); obs = env.reset(0, known["task"]); out["time"] = float(env.scene.state()[0])
while not obs.done: obs = env.step(np.zeros((4, 7)))
out["waits"] = obs.info["n_steps"]
''', task=SOUP)
    assert out["acts"] == [False, True]*4 + [False]*7 and out["n"] == 11 # one dummy came before the first look
    assert out["waits"] == 6 and out["time"] == pytest.approx(.5)  # ten actions at 20 Hz

class Idle:
    def __init__(self): self.images = {}
    def act(self, images, instructions):
        self.images.setdefault(instructions[0], images[0].copy())
        return np.zeros((len(images), 4, 7), np.float32)

def test_the_expert_succeeds_through_two_workers(simulator):
    policy = Idle()
    rows = rollout(policy, replace(b, module="vlm4vla.tasks.libero.expert"), "libero_10", 3, workers=2, tasks=[SOUP], time_limit=300)
    assert [(r["success"], r["failure"]) for r in rows] == [(True, "")]*3
    assert policy.images[words_of(SOUP)].shape == (224, 224, 3)

def test_the_same_rows_from_one_worker_and_from_two(simulator):
    ask = lambda w: [{k: v for k, v in r.items() if k != "seconds"}
                     for r in rollout(Idle(), b, "libero_10", 1, workers=w, tasks=[SOUP, STOVE], env=dict(limit=8, size=64),
                                      time_limit=300)]
    assert ask(1) == ask(2) and [r["n_steps"] for r in ask(2)] == [8, 8]

def test_a_missing_asset_is_one_sentence(simulator):
    with pytest.raises(UserError, match=r"needs the asset .*which is not there; name a folder with all assets in VLM4VLA_LIBERO_ASSETS"):
        rollout(Idle(), benchmarks["libero-goal"], "libero_goal", 1, workers=1, tasks=benchmarks["libero-goal"].tasks[:1], time_limit=300)

def test_bad_input_is_one_sentence(monkeypatch, tmp_path):
    with pytest.raises(UserError, match="did you mean 'libero_90'"): make("libero_91")
    with pytest.raises(UserError, match="cannot settle 'never'"): make(settle="never")
    with pytest.raises(UserError, match=f"{SOUP} is empty"): make(instructions={SOUP: ""})
    with pytest.raises(UserError, match=r"7 numbers .* shape \(4, 6\)"): check_action(np.zeros((4, 6)), "LIBERO")
    with pytest.raises(UserError, match="not finite"): check_action(np.full((1, 7), np.nan), "LIBERO")
    with pytest.raises(UserError, match="lacks a task's initial states"): initial_states(tmp_path/"none")
    (tmp_path/"bad").write_bytes(b"no zip")
    with pytest.raises(UserError, match="holds no initial states"): initial_states(tmp_path/"bad")
    import vlm4vla.tasks.libero.simulator as module
    monkeypatch.delenv("MUJOCO_GL", raising=False); monkeypatch.setattr(module, "_loads", lambda name: False)
    with pytest.raises(UserError, match="apt install libegl1 libgl1-mesa-dri, or libosmesa6"): choose_renderer()

class Stand:
    "A scene in which the task counts as done from the beginning, until the policy acts."
    states, task = [0], SOUP
    def __init__(self, solved): self.solved, self.acted = solved, False
    def start(self, episode): pass
    def act(self, action): return self.solved and tuple(action) == DUMMY and not self.acted

@pytest.mark.parametrize("settle", ["wait", "alternate"])
@pytest.mark.parametrize("solved", [True, False])
def test_what_was_solved_before_the_policy_acted_is_noted(solved, settle):
    e = Episode(); e.scene, e.settle, e.limit, e.words = Stand(solved), settle, 3, {}
    e.begin(0); e.scene.acted = True
    while not e.act(np.r_[.1, np.zeros(5), 1.]): pass
    assert e.observe(None).info == dict(success=False, n_steps=e.n, solved_before=solved)

@pytest.mark.parametrize("error",
                         [RuntimeError("The MUJOCO_EGL_DEVICE_ID environment variable must be an integer between 0 and 0"),
                          ValueError("invalid literal for int()"),
                                   AssertionError(), ImportError("Cannot use EGL"), FileNotFoundError(2, "no such file", "/a/mesh.stl")])
def test_a_renderer_that_does_not_render_is_one_sentence(error, monkeypatch):
    from vlm4vla.tasks.libero.simulator import _files
    monkeypatch.setenv("MUJOCO_GL", "egl"); monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "7")
    with pytest.raises(UserError, match="mesh.stl" if isinstance(error, OSError) and error.filename else "MUJOCO_GL=egl"):
        with _files(SOUP): raise error

def test_a_card_that_robosuite_cannot_read_is_refused_before_a_scene_is_built(monkeypatch):
    for k, v in dict(MUJOCO_GL="egl", PYOPENGL_PLATFORM="glx", MUJOCO_EGL_DEVICE_ID="0").items(): monkeypatch.setenv(k, v)
    for named in ("GPU-1a2b3c4d-0000", "MIG-5e6f", "0,GPU-1a2b", "none"):
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", named)
        with pytest.raises(UserError, match=f"CUDA_VISIBLE_DEVICES is '{named}'"): choose_renderer()
    for named in ("", "0", "2,3"): monkeypatch.setenv("CUDA_VISIBLE_DEVICES", named); choose_renderer()
    assert os.environ["PYOPENGL_PLATFORM"] == "egl"
    monkeypatch.setenv("MUJOCO_GL", "osmesa"); monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "GPU-1"); choose_renderer()

def test_an_absent_simulator_is_one_sentence(python):
    if find_spec("libero"): pytest.skip("this Python has LIBERO, so its absence cannot be seen; run the tests in an environment without it")
    done = python("-c", "from vlm4vla.tasks.libero.simulator import make; make()")
    assert "UserError: LIBERO needs the package hf-libero" in done.stderr and "vlm4vla simulators install libero" in done.stderr

def test_suites_are_the_benchmarks():
    suites = {s: suite_of(s) for s in ("libero_spatial", "libero_object", "libero_goal", "libero_10", "libero_90")}
    assert {s: (len(x.tasks), x.max_steps, x.episodes) for s, x in suites.items()} == dict(
        libero_spatial=(10, 220, 50), libero_object=(10, 280, 50), libero_goal=(10, 300, 50), libero_10=(10, 520, 50),
        libero_90=(90, 400, 50))
    assert words_of(SOUP) == "put both the alphabet soup and the tomato sauce in the basket" and not any(words_of(t)[:1].isupper()
        for x in suites.values() for t in x.tasks)
