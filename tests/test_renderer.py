"""The tabletop's own renderer draws what PyBullet draws, to the bit, and disturbs nothing."""
import os, numpy as np, pytest
pytest.importorskip("pybullet")
pytest.importorskip("numba")
from vlm4vla.core import make_folder, try_lock
from vlm4vla.tasks.knowledge.simulator import KnowledgeTable
from vlm4vla.tasks.tabletop import renderer, simulator
from vlm4vla.tasks.tabletop.questions import COLORS
from vlm4vla.tasks.tabletop.simulator import EYE, FOV, TARGET, Tabletop, _theirs, expert

def lens(env, eye=EYE.tolist(), target=TARGET, fov=FOV, near=.1):
    return env.p.computeViewMatrix(eye, target, [0, 0, 1]), env.p.computeProjectionMatrixFOV(fov, 1, near, 3)

def same(env, *cam, size=None):
    "Our image and PyBullet's, which have to agree in colours, depths and owners."
    size = size or env.size
    ours = renderer.draw(renderer.scene(env.p, **env.kw), size, *cam, simulator._LIGHT, simulator._LAMP, simulator._SHARES)
    assert ours is not None
    for a, b in zip(ours, _theirs(env.p, size, *cam, env.kw)):
        assert a.dtype == b.dtype and np.array_equal(a, b)
    return ours

@pytest.fixture(autouse=True)
def nobody_else_compiles(monkeypatch, tmp_path): monkeypatch.setenv("VLM4VLA_CACHE", str(tmp_path/"cache"))

@pytest.fixture
def env():
    made = Tabletop("val"); yield made
    made.close()

@pytest.mark.parametrize("size", [48, 96, 223, 224])
def test_an_episode_at_any_size(env, size):
    env.reset(3)
    while not env.done:
        if env.n%3 == 0: same(env, *lens(env), size=size)
        env.act(expert(env))

def test_from_anywhere(env):
    env.reset(5); r = np.random.default_rng(0)
    for _ in range(12):
        eye = [r.uniform(.6, 1.3), r.uniform(-.6, .6), r.uniform(.3, 1.2)]
        same(env, *lens(env, eye, [.5, 0, .05], fov=float(r.uniform(25, 80))), size=96)

def test_bodies_and_colours_may_change(env):
    env.reset(1)
    env.p.changeVisualShape(env.cube, -1, rgbaColor=[*COLORS["green"], 1], **env.kw); first = same(env, *lens(env))[0]
    env.p.removeBody(env.cards[0], **env.kw)
    simulator._box(env.p, env.client, [.03, .05, .02], [.5, .2, .02], [.2, .3, .9, 1], yaw=.7)
    assert not np.array_equal(first, same(env, *lens(env))[0])

def test_the_knowledge_tabletop_lays_other_cards():
    env = KnowledgeTable("id")
    for episode in range(3): env.reset(episode); same(env, *lens(env))
    env.lay(env.layout); same(env, *lens(env)); env.close()

def test_the_wrist_camera_is_drawn_by_somebody():
    shown = []
    for alike in (None, False):
        env = Tabletop("id", extra=("state", "wrist")); env.alike = alike; obs = env.reset(2); images = [obs.extra["wrist"]]
        for _ in range(6): images.append(env.step(expert(env)).extra["wrist"])
        shown.append(images); env.close()
    assert np.array_equal(*shown)

def test_looking_disturbs_nothing():
    "An episode ends in the same state to the bit, whoever draws."
    seen = []
    for alike in (None, False):
        env = Tabletop("id", extra=("state",)); env.alike = alike; obs = env.reset(4); told = []
        while not env.done:
            obs = env.step(expert(env)); told += [obs.image, np.float64(env.p.getBasePositionAndOrientation(env.cube, **env.kw)[0]),
                                                  *(np.float64(s[0]) for s in env.p.getJointStates(env.robot, range(12), **env.kw))]
        seen.append((told, obs.info)); env.close()
    assert len(seen[0][0]) == len(seen[1][0]) and all(map(np.array_equal, seen[0][0], seen[1][0])) and seen[0][1] == seen[1][1]

def test_what_lies_behind_a_camera_is_left_to_pybullet(env):
    env.reset(0); env.alike = True; cam = lens(env, [.5, 0, -.05], [.5, 1, -.05])
    assert renderer.draw(renderer.scene(env.p, **env.kw), 32, *cam, simulator._LIGHT, 2, simulator._SHARES) is None
    for a, b in zip(env.seen(*cam, 32), _theirs(env.p, 32, *cam, env.kw)): assert np.array_equal(a, b)

def test_a_scene_that_it_cannot_draw_is_left_to_pybullet(env):
    env.reset(0); env.alike = True; p = env.p
    ball = p.createVisualShape(p.GEOM_SPHERE, radius=.05, **env.kw); p.createMultiBody(0, -1, ball, [.5, 0, .1], **env.kw)
    assert renderer.scene(p, **env.kw) is None
    assert np.array_equal(env.render(), _theirs(p, env.size, *lens(env), env.kw)[0])

def test_a_processor_that_rounds_otherwise_is_left_to_pybullet(env, monkeypatch):
    real = renderer.draw
    def other(*a): rgb, *more = real(*a); rgb = rgb.copy(); rgb[0, 0, 0] ^= 1; return rgb, *more
    monkeypatch.setattr(renderer, "draw", other)
    first = env.reset(0).image
    assert env.alike is False and np.array_equal(first, _theirs(env.p, env.size, *lens(env), env.kw)[0])
    assert np.array_equal(env.render(), first)

def test_without_numba_pybullet_draws(env, monkeypatch):
    mine = env.reset(0).image; assert env.alike
    monkeypatch.setattr(simulator, "_ours", lambda: None)
    assert np.array_equal(env.render(), mine)

def test_while_another_process_compiles_pybullet_draws(env, tmp_path):
    lock = try_lock(make_folder(tmp_path/"cache"/"drawing"))
    first = env.reset(0).image; assert env.alike is None
    os.close(lock)
    assert np.array_equal(env.render(), first) and env.alike

def test_a_cache_that_cannot_be_written_stops_no_image(env, monkeypatch, tmp_path):
    (tmp_path/"file").touch(); monkeypatch.setenv("VLM4VLA_CACHE", str(tmp_path/"file"))
    first = env.reset(0).image; assert env.alike
    assert np.array_equal(env.render(), first)
