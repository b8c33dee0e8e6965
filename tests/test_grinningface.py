"The emoji tabletop: splits, determinism, one image per chunk, and a teacher worth learning from."
import numpy as np, pytest
pytest.importorskip("pybullet", reason="PyBullet has no wheel for this Python; the tabletop runs under an interpreter of its own.")
from vlm4vla.core import UserError
from vlm4vla.tasks.tabletop.demonstrations import demo_sets
from vlm4vla.tasks.tabletop.simulator import LIMIT, REACH, TRAIN_EPISODES, emoji, expert, layout, make, seen_triples


@pytest.fixture(scope="module")
def env():
    e = make("id"); yield e; e.close()


def test_the_splits_are_fixed_and_disjoint():
    train, val = ({e["name"] for e in emoji() if e["split"] == s} for s in ("train", "val"))
    assert len(train) == len(val) == 100 and not train & val
    for e in range(50):
        assert set(layout("id", e).names) <= train and set(layout("val", e).names) <= val


def test_demonstrations_stay_within_the_episodes_that_count_as_seen():
    carried = [s for s in demo_sets.values() if isinstance(getattr(s, "episodes", ()), int)] # these count from a first one
    numbers = [n for s in demo_sets.values() if s not in carried for _, n in getattr(s, "episodes", ())]
    numbers += [s.first + i for s in carried for i in range(s.episodes)]
    assert carried and all(0 <= n < TRAIN_EPISODES for n in numbers)
    assert frozenset(layout("train", 0).cards) in seen_triples()


def test_no_episode_begins_as_solved():
    for split in ("id", "val"):
        for l in (layout(split, e) for e in range(200)): assert np.linalg.norm(l.card_xy - l.cube[:2], axis=1).min() > REACH

def test_an_episode_looks_the_same_whatever_came_before(env):
    first = env.reset(11).image
    env.step(np.tile([.03, 0, -.05, 0, 0, 0, 0], (4, 1))); env.reset(12)
    assert (env.reset(11).image == first).all() and (make("id").reset(11).image == first).all()


def test_one_image_per_chunk_changes_nothing_but_time(env):
    def drive(every, chunk):
        env.every = every; env.reset(5); r, trace = np.random.default_rng(0), []
        for _ in range(60//chunk):
            obs = env.step(np.c_[r.uniform(-.05, .05, (chunk, 3)), np.zeros((chunk, 3)), r.integers(0, 2, (chunk, 1))])
            trace.append(np.concatenate([*env.cube_pose(), env.tip()]))
            if obs.done: break
        env.every = False
        return np.stack(trace), obs.image
    (a, last_a), (b, last_b) = drive(True, 10), drive(False, 10)
    assert (a == b).all() and (last_a == last_b).all()


def test_the_expert_succeeds_on_at_least_98_percent_of_100_seeds(env):
    won, steps = [], []
    for e in range(100):
        env.reset(e, "train" if e % 2 else "val")
        while not env.done: env.act(expert(env))
        won.append(env.success); steps.append(env.n)
    assert np.mean(won) >= .98, [e for e, w in enumerate(won) if not w]
    assert max(steps) < LIMIT


def test_a_finished_episode_and_an_unknown_split_are_refused(env):
    env.reset(0); env.done = True
    with pytest.raises(UserError, match="reset"): env.step(np.zeros((1, 7)))
    with pytest.raises(UserError, match="no split 'test'"): make("id").reset(0, "test")

def test_carrying_ends():
    "A hand that never opens has placed nothing when its actions are over."
    from vlm4vla.catalog.benchmarks import benchmarks
    from vlm4vla.tasks.tabletop.carry import make
    b, env = benchmarks["grinningface-carry"], make("id")
    env.reset(0); assert env.holding() and env.limit == b.max_steps
    while not env.done: env.act(np.zeros(7, np.float32))
    info = env.observe(None).info; env.close()
    assert (info["n_steps"], info["success"], info["execution"]) == (b.max_steps, False, False)
