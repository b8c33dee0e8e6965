"Rows do not depend on workers, their order, or what crashed; and whatever happens, no process is left behind."
import json, math, os, signal, subprocess, sys, time
from dataclasses import replace
from pathlib import Path
import numpy as np, pytest

from vlm4vla.catalog.benchmarks import benchmarks
from vlm4vla.core import UserError
from vlm4vla.sim.rollout import key_of, rollout

ROOT = Path(__file__).resolve().parent.parent

SIMULATOR = '''
import os, time
import numpy as np
from vlm4vla.sim.worker import Observation

class Map:
    "A chaotic map that every bit of every action disturbs: two runs agree only if all actions agree to the bit."
    def __init__(self, slow): self.slow, self.frames = slow, []
    def reset(self, episode):
        self.n, self.length, self.x = 0, 10 + episode % 13, (1 + episode % 97)/100
        return self.look()
    def step(self, actions):
        if self.slow: time.sleep(self.slow*np.random.random())   # answers come in any order
        for a in actions:
            self.x = 3.99*self.x*(1 - self.x); self.n += 1
            self.x = (self.x + 1e5*float(np.sum(a, dtype=np.float64))) % 1.
            if self.n >= self.length: break
        return self.look()
    def look(self):
        over = self.n >= self.length
        image = (255*((self.x*np.arange(1, 8*8*3 + 1)) % 1)).astype(np.uint8).reshape(8, 8, 3)
        return Observation(image, "x", over, dict(success=np.bool_(self.x > .5), n_steps=np.int64(self.n), x=self.x) if over else {})
    def close(self): pass

TALES = { # what is wrong with an episode: a function of the observation that there should be
    "over": lambda o: Observation(o.image, o.instruction, True, dict(success=True, n_steps=0)),
    "mute": lambda o: Observation(o.image, o.instruction, o.done, {k: v for k, v in o.info.items() if k != "success"}),
    "nan": lambda o: Observation(o.image, o.instruction, o.done, {**o.info, "success": float("nan")} if o.done else {}),
    "none": lambda o: Observation(o.image, o.instruction, o.done, None),
    "part": lambda o: Observation(o.image, o.instruction, o.done, {**o.info, "n_steps": 2.5} if o.done else {}),
    "idle": lambda o: Observation(o.image, o.instruction, o.done, {**o.info, "n_steps": 0} if o.done else {}),
    "black": lambda o: Observation(np.zeros((64, 64, 3), np.uint8), o.instruction),
    "float": lambda o: Observation(o.image/255, o.instruction),
    "grey": lambda o: Observation(o.image[..., 0], o.instruction),
    "still": lambda o: Observation(o.image, None)}

class Told(Map):
    "Tells something wrong of some episodes, or fails in them."
    def __init__(self, tale, which): super().__init__(0.); self.tale, self.which = tale, which
    def reset(self, episode):
        self.wrong = episode in self.which
        if self.wrong and self.tale == "raise": raise RuntimeError(f"no EGL context {episode} at 0x7f{episode:06x}")
        if self.wrong and self.tale == "other": raise RuntimeError("broken " + "abcdefghijklmnop"[episode])
        if self.wrong and self.tale == "exit": print("driver lost"); os._exit(5)
        return super().reset(episode)
    def look(self):
        o = super().look()
        return TALES[self.tale](o) if self.wrong and self.tale in TALES else o

def make(split, slow=0., broken="", tale="", which=()):
    if tale: return Told(tale, which)
    if broken == "mistake":
        from vlm4vla.core import UserError
        raise UserError("This simulator wants a licence; ask for one.")
    if broken == "exit": print("missing libEGL.so"); os._exit(3)
    if broken == "hang": time.sleep(1000)
    return Map(slow)
'''

@pytest.fixture(scope="module")
def toy(tmp_path_factory):
    "A benchmark whose simulator is a module in a temporary folder."
    folder = tmp_path_factory.mktemp("simulator")
    (folder/"chaos.py").write_text(SIMULATOR)
    old = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(folder), old]))
    yield replace(benchmarks["grinningface"], name="chaos", suite="chaos", module="chaos", tasks=("mix",), max_steps=40)
    os.environ.pop("PYTHONPATH") if old is None else os.environ.update(PYTHONPATH=old)

class Net:
    "A small torch network, and a count of how it was called."
    def __init__(self):
        import torch
        torch.manual_seed(1); self.torch, self.sizes = torch, set()
        self.net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(192, 96), torch.nn.GELU(), torch.nn.Linear(96, 96),
                                       torch.nn.GELU(), torch.nn.Linear(96, 70))
    def act(self, images, instructions):
        self.sizes.add((len(images), len(instructions)))
        with self.torch.no_grad(): return self.net(self.torch.from_numpy(images).float()/255).view(-1, 10, 7).numpy()

def plain(rows): return [{k: v for k, v in r.items() if k != "seconds"} for r in rows]

def children(): return {int(c) for t in Path("/proc/self/task").glob("*/children") for c in t.read_text().split()}

def gone(pid):
    try: return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] == "Z"
    except OSError: return True

def until(f, seconds=30):
    end = time.time() + seconds
    while not f():
        assert time.time() < end, "waited too long"
        time.sleep(.02)

@pytest.fixture(scope="module")
def alone(toy): return plain(rollout(Net(), toy, "val", 30, workers=1))

@pytest.mark.parametrize("workers", [2, 3, 11])
def test_rows_do_not_depend_on_the_number_of_workers(toy, alone, workers):
    policy, before = Net(), children()
    rows = rollout(policy, toy, "val", 30, workers=workers, env=dict(slow=.01))
    assert plain(rows) == alone
    assert policy.sizes == {(8, 8)}
    assert children() == before

def test_nor_on_the_order_of_episodes_or_where_it_was_cut_off(toy, alone):
    order = list(np.random.default_rng(0).permutation(30))
    rows = rollout(Net(), toy, "val", order, workers=3)
    assert sorted(plain(rows), key=lambda r: r["episode"]) == alone and [r["episode"] for r in rows] == order
    kept = []
    def stop_after_seven(row):
        kept.append(row)
        if len(kept) == 7: raise KeyboardInterrupt
    before = children()
    with pytest.raises(KeyboardInterrupt): rollout(Net(), toy, "val", 30, workers=3, on_row=stop_after_seven)
    assert children() == before
    rest = rollout(Net(), toy, "val", 30, workers=2, done_keys=[key_of(r) for r in kept])
    assert sorted(plain(kept + rest), key=lambda r: r["episode"]) == alone
    assert rollout(Net(), toy, "val", 30, workers=2, done_keys=[key_of(r) for r in kept + rest]) == []

def test_workers_killed_from_outside_change_nothing(toy, alone):
    killed, seen, before = [], [], children()
    def kill_one(row):
        seen.append(row)
        if len(seen) in (2, 10, 18):                             # far apart: no episode loses its worker twice
            victim = sorted(children() - before)[0]; os.kill(victim, signal.SIGKILL); killed.append(victim)
    rows = rollout(Net(), toy, "val", 30, workers=3, on_row=kill_one, env=dict(slow=.01))
    assert len(killed) == 3 and plain(rows) == alone

def test_a_stopped_worker_is_killed_and_replaced(toy, alone):
    before, stopped = children(), []
    def stop_one(row):
        if not stopped: stopped.append(sorted(children() - before)[0]); os.kill(stopped[0], signal.SIGSTOP)
    rows = rollout(Net(), toy, "val", 30, workers=2, on_row=stop_one, time_limit=1.)
    assert plain(rows) == alone and gone(stopped[0])

def test_an_episode_without_end_is_given_up_and_is_no_zero(toy):
    failures = []
    assert rollout(Net(), replace(toy, max_steps=2), "val", [12], workers=1, on_failure=failures.append) == []
    assert [(f["episode"], f["failure"], f["n_steps"]) for f in failures] == [(12, "not over after 10 actions", 10)]

# a failure is no measurement

@pytest.mark.parametrize("tale, says",
                         [("raise", "RuntimeError: no EGL context"),
                          ("exit", r"worker died \(exit status 5\).*the last line .* 'driver lost'".replace("the", "The"))])
def test_the_same_failure_in_every_episode_ends_the_rollout(toy, tale, says):
    rows, failures, before = [], [], children()
    with pytest.raises(UserError, match=f"3 episodes in a row failed, all in the same way .*{says}"):
        rollout(Net(), toy, "val", 12, workers=2, on_row=rows.append, on_failure=failures.append,
                env=dict(tale=tale, which=list(range(12))))
    assert rows == [] and 6 <= len(failures) < 12 and children() == before # each of three episodes was tried twice

def test_so_do_many_failures_of_different_kinds(toy):
    with pytest.raises(UserError, match="8 episodes in a row failed, the last one with"):
        rollout(Net(), toy, "val", 12, workers=2, on_failure=[].append, env=dict(tale="other", which=list(range(12))))

@pytest.mark.parametrize("tale", ["raise", "exit", "over", "mute", "nan", "none", "part", "idle", "black"])
def test_episodes_that_fail_have_no_row_and_the_others_are_the_same(toy, alone, tale):
    failures, which = [], [3, 6]
    rows = rollout(Net(), toy, "val", 10, workers=2, on_failure=failures.append, env=dict(tale=tale, which=which))
    assert plain(rows) == [r for r in alone[:10] if r["episode"] not in which]
    assert {f["episode"] for f in failures} == set(which)
    words = dict(none="told no outcome (info is None)", part="told no number of actions (n_steps is 2.5)",
                 over="over before the policy acted", mute="told no outcome (success is None)", nan="told no outcome (success is nan)",
                 idle="over before the policy acted", black="of one colour (0, 0, 0)", exit="exit status 5")
    assert all(words.get(tale, "no EGL context") in f["failure"] for f in failures)

def test_what_failed_is_said_where_nobody_listens(toy, alone):
    with pytest.warns(UserWarning, match=r"2 of 10 episodes of chaos val failed and have no row"):
        rollout(Net(), toy, "val", 10, workers=2, env=dict(tale="mute", which=[3, 6]))
    with pytest.raises(UserError, match="2 of 2 episodes .* so nothing was measured"):
        rollout(Net(), toy, "val", 2, workers=1, env=dict(tale="mute", which=[0, 1]))

@pytest.mark.parametrize("tale, says",
                         [("float", "an image of type float64"), ("grey", r"type uint8 and shape \(8, 8\)"),
                          ("still", "gave the instruction None")])
def test_a_picture_of_another_kind_or_no_words_end_the_rollout(toy, tale, says):
    with pytest.raises(UserError, match=says): rollout(Net(), toy, "val", 4, workers=1, env=dict(tale=tale, which=[0, 1, 2, 3]))

def test_an_evaluation_that_starts_again_tries_failed_episodes_again(toy, alone, tmp_path):
    from vlm4vla.results.tables import append, done_keys, load, unmeasured, why_failed
    tell = dict(on_row=lambda r: append("episodes", [r], tmp_path), on_failure=lambda r: append("failures", [r], tmp_path))
    rollout(Net(), toy, "val", 8, workers=2, run_id="r", env=dict(tale="exit", which=[2, 5]), **tell)
    lost = unmeasured(load("episodes", tmp_path), load("failures", tmp_path))
    assert lost.episode.tolist() == [2, 5] and lost.attempt.tolist() == [2, 2] and why_failed(lost) == "worker died (exit status 5) 2 times"
    again = rollout(Net(), toy, "val", 8, workers=2, run_id="r", done_keys=done_keys("r", tmp_path), **tell)
    assert [r["episode"] for r in again] == [2, 5] and len(load("failures", tmp_path)) == 4
    assert not len(unmeasured(load("episodes", tmp_path), load("failures", tmp_path)))
    assert load("episodes", tmp_path).success.tolist() == [r["success"] for r in alone[:8]]

def test_a_slow_policy_is_not_the_workers_fault(toy, alone):
    class Slow(Net):
        def act(self, *args): time.sleep(.5); return super().act(*args)
    rows = rollout(Slow(), toy, "val", 4, workers=4, time_limit=.3)
    assert plain(rows) == alone[:4]

@pytest.mark.parametrize("broken,says",
                         [("mistake", "wants a licence"), ("exit", r"does not start .*status 3.*missing libEGL"),
                          ("hang", r"does not start .*no answer within 1 s")])
def test_a_simulator_that_does_not_start_is_said_at_once(toy, broken, says):
    before = children()
    with pytest.raises(UserError, match=says):
        rollout(Net(), toy, "val", 4, workers=2, start_limit=1. if broken == "hang" else 60., env=dict(broken=broken))
    assert children() == before

def test_bad_input_is_one_sentence(toy, monkeypatch):
    with pytest.raises(UserError, match="workers must be"): rollout(Net(), toy, "val", 4, workers=0)
    with pytest.raises(UserError, match="no split 'vall'"): rollout(Net(), toy, "vall", 4)
    with pytest.raises(UserError, match="lower n_action_steps"): rollout(Net(), toy, "val", 4, workers=1, n_action_steps=11)
    for wrong, says in ((lambda a: a[..., :6], r"shape \(8, 10, 6\)"), (lambda a: a[:1], r"shape \(1, 10, 7\)"),
                        (lambda a: a.astype(str), "not numbers"), (lambda a: a.astype(float)*0 + 1e300, "not finite"),
                        (lambda a: a[0], "shape")):
        class Odd(Net):
            def act(self, *args): return wrong(super().act(*args))
        with pytest.raises(UserError, match=says): rollout(Odd(), toy, "val", 4, workers=1)
    class Diverged(Net):
        def act(self, *args): return super().act(*args)*math.nan
    with pytest.raises(UserError, match="not finite"): rollout(Diverged(), toy, "val", 4, workers=1)
    monkeypatch.setenv("VLM4VLA_CHAOS_PYTHON", "/nowhere/python")
    with pytest.raises(UserError, match="/nowhere/python does not start"): rollout(Net(), toy, "val", 4, workers=1)

def test_a_failing_policy_leaves_no_process(toy):
    class Broken(Net):
        def act(self, *args): raise RuntimeError("out of memory")
    before = children()
    with pytest.raises(RuntimeError, match="out of memory"): rollout(Broken(), toy, "val", 4, workers=3)
    assert children() == before

def test_the_simulators_own_interpreter_is_used_and_sees_only_this_package(toy, alone, tmp_path, monkeypatch):
    python = tmp_path/"python"
    python.write_text(f'#!/bin/sh\necho "$PYTHONPATH" > {tmp_path}/seen\nexec {sys.executable} "$@"\n'); python.chmod(0o755)
    monkeypatch.setenv("VLM4VLA_CHAOS_PYTHON", str(python))
    assert plain(rollout(Net(), toy, "val", 3, workers=1)) == alone[:3]
    first = (tmp_path/"seen").read_text().strip().split(os.pathsep)[0]
    assert first.endswith("/path") and str(ROOT) not in first

@pytest.mark.parametrize("name", ["scratch-of-a-job-"*7, "with:colon", "gone"])
def test_a_temporary_folder_that_takes_no_socket(toy, alone, tmp_path, monkeypatch, name):
    import tempfile
    folder = tmp_path/name
    if name != "gone": folder.mkdir()
    monkeypatch.setenv("TMPDIR", str(folder)); monkeypatch.setattr(tempfile, "tempdir", None if name == "gone" else str(folder))
    assert plain(rollout(Net(), toy, "val", 2, workers=1)) == alone[:2]
    assert name == "gone" or list(folder.iterdir()) == []

SAYS = '#!/bin/sh\nenv > {0}/said\nexec {1} "$@"\n'

def test_a_simulators_own_environment_comes_before_the_shells(toy, alone, tmp_path, monkeypatch):
    python = tmp_path/"env"/"bin"/"python"; python.parent.mkdir(parents=True)
    python.write_text(SAYS.format(tmp_path, sys.executable)); python.chmod(0o755)
    own = dict(LD_LIBRARY_PATH="/its/own/lib", VK_ICD_FILENAMES="/its/driver.json", ASSETS="/its/assets")
    (tmp_path/"env"/"made.json").write_text(json.dumps(dict(variables=own, assets="/its/assets")))
    for k, v in dict(LD_LIBRARY_PATH="/opt/modules/lib", VK_ICD_FILENAMES="/other.json", ASSETS="/mine", PYTHONHOME="/opt/conda",
                     PYTHONSTARTUP="/x.py", VLM4VLA_CHAOS_PYTHON=str(python)).items():
        monkeypatch.setenv(k, v)
    assert plain(rollout(Net(), toy, "val", 1, workers=1)) == alone[:1]      # found at the end of the shell's PYTHONPATH
    got = dict(l.split("=", 1) for l in (tmp_path/"said").read_text().splitlines() if "=" in l)
    assert [got.get(k) for k in ("LD_LIBRARY_PATH", "VK_ICD_FILENAMES", "ASSETS", "PYTHONHOME", "PYTHONSTARTUP")] == [
        "/its/own/lib:/opt/modules/lib", "/its/driver.json", "/mine", None, None]
    assert got["PYTHONPATH"].endswith("/path") and os.pathsep not in got["PYTHONPATH"]

def test_the_worker_imports_no_more_than_it_may():
    code = ("import sys; before = set(sys.modules); import vlm4vla.sim.worker; "
            "print(sorted({m.split('.')[0] for m in set(sys.modules) - before}))")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True)
    assert set(eval(done.stdout)) <= {"vlm4vla", "numpy"} | set(sys.stdlib_module_names) | {"_distutils_hack", "__mp_main__"}

SCRIPT = '''
import sys, time; sys.path.insert(0, {tests!r})
from dataclasses import replace
from vlm4vla.catalog.benchmarks import benchmarks
from vlm4vla.sim.rollout import rollout
import numpy as np
class Zero:
    def act(self, images, instructions): return np.zeros((len(images), 10, 7), np.float32)
toy = replace(benchmarks["grinningface"], name="chaos", suite="chaos", module="chaos", tasks=("mix",), max_steps=40)
rollout(Zero(), toy, "val", 10000, workers=3, env=dict(slow=.2), on_row=lambda r: print("row", flush=True))
'''

@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT, signal.SIGTERM])
def test_no_orphans_whatever_ends_the_policy(toy, how):
    path = os.pathsep.join([os.environ["PYTHONPATH"], str(ROOT)])
    process = subprocess.Popen([sys.executable, "-c", SCRIPT.format(tests=str(ROOT))], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
                               env={**os.environ, "PYTHONPATH": path}, text=True)
    assert process.stdout.readline() == "row\n"
    family = [int(c) for t in Path(f"/proc/{process.pid}/task").glob("*/children") for c in t.read_text().split()]
    assert len(family) == 3
    process.send_signal(how); process.stdout.close(); process.wait(20)
    until(lambda: all(gone(c) for c in family), 10)

def test_rows_follow_the_schema(toy, alone):
    assert list(alone[0]) == ["run_id", "benchmark", "split", "chunk_mode", "task", "episode", "success", "n_subtasks", "n_steps",
                              "failure", "detail"]
    for r in alone:
        assert (type(r["success"]), type(r["n_steps"]), r["failure"]) == (bool, int, "") and "x" in json.loads(r["detail"])
        assert r["n_steps"] == 10 + r["episode"] % 13
