"CALVIN: the benchmark's own sequences and scenes, and, where a checkout is given, the benchmark itself."
import ast, contextlib, hashlib, json, os, subprocess, sys
from pathlib import Path
import numpy as np, pytest

from vlm4vla.catalog.benchmarks import benchmarks, simulator_environment
from vlm4vla.tasks.calvin.simulator import (LENGTH, ACTION_LIMIT, CHECKOUT_SETTING, checkout, fnv1, scene_layout, make, opengl, sequence,
                                            starts, tasks, ways,
                                            _words)
from vlm4vla.core import UserError
from vlm4vla.sim.rollout import rollout
from vlm4vla.sim.worker import check_action

ROOT = Path(__file__).resolve().parent.parent
b = benchmarks["calvin-abc-d"]
theirs = dict(red="red_block", blue="blue_block", pink="pink_block")

def test_sequences_are_those_of_the_benchmarks_frozen_list():
    "The hash is that of the same twelve of its thousand, as the released code of the study stores them."
    some = (0, 1, 2, 3, 100, 321, 499, 500, 777, 997, 998, 999)
    rows = [[list(state.values()), list(names)] for state, names in map(sequence, some)]
    assert hashlib.sha256(json.dumps(rows).encode()).hexdigest()[:16] == "22cc34f995263bb0"
    assert len(starts()) == 192 and set(ways()) == set(tasks()) and len(tasks()) == 34
    assert (LENGTH, ACTION_LIMIT, b.episodes) == (5, 360, 1000)

def test_a_thousand_sequences_are_drawn_once(monkeypatch):
    from vlm4vla.tasks.calvin import simulator as calvin
    drawn, order = [], np.random.RandomState(1).permutation(1000)[:40].tolist()
    singly = {}
    for e in order[:6]: calvin._fitting.cache_clear(); singly[e] = sequence(e) # nothing is known yet
    calvin._fitting.cache_clear()
    true = calvin.possible; monkeypatch.setattr(calvin, "possible", lambda *a: (drawn.append(a), true(*a))[1])
    first = [sequence(e) for e in order]; n = len(drawn)
    assert [sequence(e) for e in reversed(order)] == first[::-1] and len(drawn) == n
    assert all(first[order.index(e)] == s for e, s in singly.items())

@pytest.fixture
def models():
    "The folder of the benchmark's evaluation, where the checkout has it."
    named = os.environ.get(CHECKOUT_SETTING) or simulator_environment(b.python).get(CHECKOUT_SETTING)
    for folder in ((Path(named), Path(named).parent) if named else ()):
        if (folder/"calvin_models"/"calvin_agent").is_dir(): return folder/"calvin_models"
    pytest.skip(f"no checkout of the whole benchmark; name a clone of https://github.com/mees/calvin, with its submodules, in "
                f"{CHECKOUT_SETTING}")

def pieces(path, names, **known):
    "Some definitions of a file, without what it imports."
    body = [n for n in ast.parse(path.read_text(encoding="utf-8")).body if getattr(n, "name", None) in names or isinstance(n, ast.Assign)
            and n.targets[0].id in names]
    exec(compile(ast.Module(body, []), str(path), "exec"), known := dict(np=np, contextlib=contextlib, **known))
    return [known[n] for n in names]

def test_the_rule_is_the_benchmarks(models):
    from copy import deepcopy
    table, kinds, *_, draw = pieces(models/"calvin_agent"/"evaluation"/"multistep_sequences.py",
        ("tasks", "task_categories", "check_condition", "update_state", "valid_task", "check_sequence", "get_sequences_for_state2"),
        deepcopy=deepcopy)
    assert list(table) == list(tasks())
    same = lambda a, c: (tasks()[a]["kind"] == tasks()[c]["kind"]) == (kinds[a] == kinds[c])
    assert all(same(a, c) for a in table for c in table)
    plain = lambda d: {theirs.get(k, k): list(v) if isinstance(v, tuple) else v for k, v in d.items()}
    unordered = lambda found: sorted(json.dumps(w, sort_keys=True) for w in found)
    for name, found in ways().items():
        mine = [[plain(old), plain(new)] for old, new in found]
        ours = [[m[0], {**m[0], **m[1]}] for m in mine]; other = [[w["condition"], {**w["condition"], **w["effect"]}] for w in table[name]]
        assert unordered([[norm(d) for d in w] for w in ours]) == unordered([[norm(d) for d in w] for w in other]), name
    from vlm4vla.tasks.calvin.simulator import _fitting
    state = {theirs.get(k, k): v for k, v in starts()[7].items()}
    assert [tuple(s.tolist()) for s in draw((state, 2, 7))] == list(_fitting(7, 2))

def norm(d): return {k: sorted(v) if isinstance(v, list) else v for k, v in d.items()}

def test_scenes_are_the_benchmarks(models):
    seed, scene_of = pieces(models/"calvin_agent"/"evaluation"/"utils.py", ("temp_seed", "get_env_state_for_initial_condition"), pi=np.pi,
                            hasher=fnv1)
    for state in starts():
        arm, scene = scene_of({theirs.get(k, k): v for k, v in state.items()})
        np.testing.assert_array_equal(scene_layout(state)[0], arm); np.testing.assert_array_equal(scene_layout(state)[1], scene)

def test_instructions_are_the_benchmarks(models):
    yaml = pytest.importorskip("yaml")
    said = yaml.safe_load((models/"conf"/"annotations"/"new_playtable_validation.yaml").read_text(encoding="utf-8"))
    assert {t: w for t, (w,) in said.items()} == _words()

@pytest.fixture
def simulator():
    "The simulator's interpreter, with a checkout."
    if b.python == sys.executable: pytest.skip("CALVIN is not installed here; `vlm4vla simulators install calvin` brings it")
    if not (os.environ.get(CHECKOUT_SETTING) or simulator_environment(b.python).get(CHECKOUT_SETTING)):
        pytest.skip(f"no checkout of calvin_env; clone https://github.com/mees/calvin_env and name it in {CHECKOUT_SETTING}")
    return b.python

@pytest.fixture
def inside(simulator, tmp_path):
    "Run code under the simulator's Python; what it leaves in `out`, as JSON."
    def run(code, **known):
        head = (f"import json\nimport numpy as np\nfrom vlm4vla.tasks.calvin.simulator import *\n"
                f"known = json.loads({json.dumps(json.dumps(known))})\nout = {{}}\n")
        done = subprocess.run([simulator, "-c", f"{head}{code}\nprint(); print('OUT' + json.dumps(out))"],
                              env={**os.environ, "PYTHONPATH": str(ROOT)}, cwd=tmp_path, stdin=subprocess.DEVNULL, capture_output=True,
                              text=True, timeout=600)
        assert done.returncode == 0, done.stderr[-2000:]
        return json.loads(next(l for l in done.stdout.splitlines() if l.startswith("OUT"))[3:])
    return run

SAME = '''
rng = np.random.default_rng(0); actions = np.c_[rng.uniform(-1, 1, (20, 6)), rng.choice([-1, 1], 20)]
env = make("D", renderer=known["renderer"])
def roll(every, episode):
    env.every = every; obs = env.reset(episode); seen = [(env.state(), obs.image)]
    for k in (0, 10): obs = env.step(actions[k:k+10]); seen.append((env.state(), obs.image))
    return seen
same = lambda x, y: all((p == q).all() and (i == j).all() for (p, i), (q, j) in zip(x, y, strict=True))
watched = roll(True, 3); out["frames"] = len(env.frames)
other, once = roll(False, 0), roll(False, 3)
out["once"], out["differ"], out["shape"] = same(watched, once), same(other, once), once[0][1].shape
env.close(); env = make("D", renderer=known["renderer"])
out["anew"] = same(roll(False, 3), once)
'''

@pytest.mark.parametrize("renderer", ["egl", "tiny"])
def test_rendering_once_changes_no_bit(inside, renderer):
    assert inside(SAME, renderer=renderer) == dict(frames=20, once=True, differ=False, shape=[200, 200, 3], anew=True)

def test_a_solved_task_ends_the_chunk_and_the_next_begins(inside):
    out = inside('''
env = make("D", renderer="tiny", limit=4); obs = env.reset(13); out["first"] = obs.instruction # its first two tasks: a light, a drawer
light = next(l for l in env.env.scene.lights if l.name == "led"); light.turn_on()
chunk = np.tile([0, 0, 0, 0, 0, 0, 1.], (10, 1))
obs = env.step(chunk); out["second"], out["n"] = obs.instruction, [env.n, env.solved, obs.done]
next(d for d in env.env.scene.doors if d.name == "base__drawer").reset(0.)
obs = env.step(chunk); out["third"] = obs.instruction
obs = env.step(chunk); out["info"] = obs.info
''')
    names = sequence(13)[1]
    assert [out[k] for k in ("first", "second", "third")] == [_words()[n] for n in names[:3]] and out["n"] == [1, 1, False]
    assert out["info"] == dict(success=False, n_subtasks=2, n_steps=6, task_1=True, task_2=True, task_3=False, task_4=False, task_5=False,
                               tasks=list(names))

class Shaking:
    def act(self, images, instructions):
        return np.stack([np.random.default_rng(int(i.astype(np.int64).sum())).uniform(-1, 1, (10, 7)) for i in images]).astype(np.float32)

def test_sequences_run_and_two_workers_change_nothing(simulator):
    ask = lambda w: [{k: v for k, v in r.items() if k != "seconds"}
                     for r in rollout(Shaking(), b, "D", 3, workers=w, env=dict(limit=30, renderer="tiny"), time_limit=300)]
    rows = ask(2)
    assert rows == ask(1) and not any(r["failure"] for r in rows) and all(r["n_steps"] >= 30 and 0 <= r["n_subtasks"] <= 5 for r in rows)
    assert [json.loads(r["detail"])["tasks"] for r in rows] == [list(sequence(e)[1]) for e in range(3)]

def test_bad_input_is_one_sentence(monkeypatch, tmp_path):
    with pytest.raises(UserError, match="no scene 'E'"): make("E")
    with pytest.raises(UserError, match=f"{tmp_path} is no checkout of calvin_env"): checkout(str(tmp_path))
    with pytest.raises(UserError, match="open_drawer is empty"): make(instructions=dict(open_drawer=" "))
    with pytest.raises(UserError, match="did you mean 'open_drawer'"): make(instructions=dict(open_drawr="x"))
    with pytest.raises(UserError, match=r"7 numbers .* shape \(2, 8\)"): check_action(np.zeros((2, 8)), "CALVIN")
    with pytest.raises(UserError, match="not finite"): check_action(np.full((1, 7), np.inf), "CALVIN")
    with pytest.raises(UserError, match="no sequence 1000"): sequence(1000)
    monkeypatch.setenv(CHECKOUT_SETTING, "")
    with pytest.raises(UserError, match=f"git clone https://github.com/mees/calvin_env and name its folder in {CHECKOUT_SETTING}"):
        checkout()
    import ctypes
    def none(name): raise OSError(name)
    monkeypatch.setattr(ctypes, "CDLL", none)
    with pytest.raises(UserError, match="apt install libegl1"): opengl("egl")
    assert not opengl("tiny")

def test_an_absent_package_is_one_sentence(without, tmp_path):
    (tmp_path/"calvin_env"/"envs").mkdir(parents=True); (tmp_path/"calvin_env"/"envs"/"play_table_env.py").write_text("import pybullet\n")
    (tmp_path/"calvin_env"/"__init__.py").touch()
    done = without(["hydra"], f"from vlm4vla.tasks.calvin.simulator import make; make(path={str(tmp_path)!r}, renderer='tiny')")
    assert "UserError: CALVIN needs the package hydra" in done.stderr and "vlm4vla simulators install calvin" in done.stderr

def test_scores_count_tasks_in_a_row():
    from vlm4vla.results.tables import frame
    from vlm4vla.results.scores import scores
    def row(e, solved):
        return dict(run_id="x", benchmark=b.name, split="D", task=b.tasks[0], episode=e, chunk_mode="10 of 10", success=solved == 5,
                    n_subtasks=solved, n_steps=1, seconds=1.,
                                    detail=json.dumps({f"task_{i+1}": solved > i for i in range(LENGTH)}))
    lost = dict(row(3, 0), n_subtasks=None, detail="{}", failure="worker died")   # a failure is no measurement
    found = scores(frame("episodes", [row(0, 0), row(1, 2), row(2, 5), lost])).set_index("metric").value
    assert found.to_dict() == {"avg_len": 2.333333, "task-1": .666667, "task-2": .666667, "task-3": .333333, "task-4": .333333,
                               "task-5": .333333}
