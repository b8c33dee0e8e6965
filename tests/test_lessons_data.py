"What the lessons of the data's pages no longer show: ranges, the way in and out, chunks, changed images."
import json
import numpy as np, pytest
from vlm4vla.core import UserError
from vlm4vla.data.actions import ActionStats, chunk, decode, encode
from vlm4vla.data.recording import record
from vlm4vla.data.samples import Samples, StreamedImages, augment, center_crop, resize_images

RNG = np.random.default_rng(0)
MOVES = np.c_[RNG.normal(0, [.02, .02, .05, .1, .1, .1], (1000, 6)), RNG.integers(0, 2, 1000)].astype(np.float32)
TABLE = ActionStats.from_range(-.1, .1)
INSIDE = np.c_[RNG.uniform(-.1, .1, (50, 6)), RNG.integers(0, 2, 50)].astype(np.float32)

def close(a, b, eps=1e-7): assert np.allclose(a, b, rtol=0, atol=eps)

# --- actions -----------------------------------------------------------------------------------------------------------------------------

def test_ranges_come_back_from_json_and_have_a_hash():
    bridge = ActionStats.from_quantiles(MOVES)
    assert ActionStats.from_dict(json.loads(json.dumps(bridge.to_dict()))) == bridge
    assert TABLE.hash != bridge.hash and TABLE.hash == ActionStats.from_range([-.1]*7, [.1]*7).hash
    close(ActionStats.from_range().shrunk(.65).hi, [.65]*6, 1e-12)

@pytest.mark.parametrize("make, said", [
    (lambda: ActionStats(lo=[0]*3, hi=[1]*6), "each of the 6 arm dimensions"),
    (lambda: ActionStats.from_range(1, -1), "above its upper end"),
    (lambda: ActionStats.from_range(opened=0.), "give two"),
    (lambda: ActionStats.from_quantiles(np.zeros((0, 7))), "no actions")])
def test_a_range_that_is_none(make, said):
    with pytest.raises(UserError, match=said): make()

@pytest.mark.parametrize("opened, closed", [(1, 0), (1, -1), (-1, 1)]) # tabletop, CALVIN, LIBERO
def test_inside_the_range_nothing_is_lost(opened, closed):
    s, g = ActionStats.from_range(-.1, .1, opened=opened, closed=closed), np.where(INSIDE[:, 6:] > .5, opened, closed)
    raw = np.c_[INSIDE[:, :6], g].astype(np.float32)
    close(decode(encode(raw, s), s), raw)
    assert (encode(raw, s)[:, 6] == INSIDE[:, 6]).all()

def test_outside_it_is_clipped():
    wild = np.array([.5, -.5, 0, 0, 0, 0, .9], np.float32)
    assert encode(wild, TABLE)[:2].tolist() == [1, -1]
    close(decode(encode(wild, TABLE), TABLE), [.1, -.1, 0, 0, 0, 0, 1])

def test_what_does_not_move_comes_back_as_it_was():
    still = ActionStats.from_range([0, 0, 0, .3, 0, 0], [1, 1, 1, .3, 1, 1])
    close(decode(encode([0, 0, 0, .3, 0, 0, 1], still), still), [0, 0, 0, .3, 0, 0, 1])
    noisy = MOVES.copy(); noisy[:, 5] = .3 + np.random.default_rng(1).normal(0, 1e-7, len(noisy)) # a wrist that is never turned
    s = ActionStats.from_quantiles(noisy)
    assert s.lo[5] == s.hi[5] and (encode(noisy, s)[:, 5] == 0).all()
    close(decode(encode(noisy, s), s)[:, 5], .3, 1e-6)

PATH = np.arange(5)[:, None]*np.ones(7)

def test_chunks_end_with_the_trajectory():
    chunks, mask = chunk(PATH, 3)
    assert (chunks.shape, mask.shape) == ((5, 3, 7), (5, 3))
    assert chunks[1, :, 0].tolist() == [1, 2, 3] and mask.sum(1).tolist() == [3, 3, 3, 2, 1]
    assert (chunks[:, 0] == PATH).all() and mask[:, 0].all()
    with pytest.raises(UserError, match="give \\(steps, dimensions\\)"): chunk(PATH[:0], 3)

@pytest.mark.parametrize("k", [1, 2, 3, 10])
def test_chunks_give_the_trajectory_back(k):
    "By their first actions, and whole at every k-th step."
    c, m = chunk(PATH, k)
    assert (c[:, 0] == PATH).all() and (np.concatenate([c[t][m[t]] for t in range(0, 5, k)]) == PATH).all()

# --- images ------------------------------------------------------------------------------------------------------------------------------

def test_a_resize_leaves_no_moire():
    checks = np.indices((224, 224)).sum(0)[None, ..., None].repeat(3, -1) % 2*255 # finer than the small image can show
    small = resize_images(checks.astype(np.uint8), 96)
    assert small.shape == (1, 96, 96, 3) and np.abs(small.astype(int) - 127).max() <= 3 # grey
    assert resize_images(small, 96) is small

@pytest.fixture(scope="module")
def ring():
    y, x = np.mgrid[:96, :96]; at = np.abs(np.hypot(y-48, x-48) - 30) < 5
    return np.where(at[...,None], [240, 200, 40], np.stack([x*2, 96 + 0*x, 220 - y*2], -1)).astype(np.uint8)

@pytest.mark.parametrize("kind", ["shift", "crop"])
def test_an_image_is_changed_by_its_seed_alone(ring, kind):
    out = augment(np.stack([ring]*200), kind, range(200))
    assert (out.shape, out.dtype) == ((200, 96, 96, 3), np.uint8)
    assert (augment(ring[None], kind, [7])[0] == out[7]).all() # whoever shares the batch
    assert (augment(ring[None], "none", [0])[0] == ring).all() and (center_crop(ring[None], "shift")[0] == ring).all()

def test_a_shift_is_at_most_ten_of_224():
    corner = np.zeros((112, 112, 3), np.uint8); corner[50, 50] = 255
    ends = [np.argwhere(o[...,0])[0] - 50 for o in augment(np.stack([corner]*400), "shift", range(400))]
    assert (np.min(ends), np.max(ends)) == (-5, 4) # 5 is 10 of 224 at this size; the image moves against the window

def test_evaluation_sees_the_middle_of_what_a_crop_keeps(ring):
    assert center_crop(np.stack([ring]*2), "crop").shape == (2, 96, 96, 3)
    width = lambda a: np.ptp(np.argwhere((np.abs(a.astype(int) - [240, 200, 40]).sum(-1) < 90).any(0)))
    assert abs(width(center_crop(ring[None], "crop")[0])/width(ring) - .9**-.5) < .03

# --- samples -----------------------------------------------------------------------------------------------------------------------------

def bar_episode(i, size=24, T=6):
    "A white bar that moves to the right, one column a frame."
    images = np.zeros((T, size, size, 3), np.uint8)
    for t in range(T): images[t, :, 4*t:4*t+4] = 255
    actions = np.c_[np.full((T, 6), i/10) + np.arange(T)[:, None]/10, np.arange(T) % 2].astype(np.float32)
    return dict(task=f"push the bar {('left', 'right')[i % 2]}", kind="demo", images=images, actions=actions)

def test_samples_of_a_world_small_enough_to_check(tmp_path, monkeypatch):
    monkeypatch.setenv("VLM4VLA_CACHE", str(tmp_path/"cache")); folder = tmp_path/"bars"
    record(folder, 2, lambda b: [bar_episode(2*b), bar_episode(2*b+1)], settings={})
    samples = Samples(folder, size=12, chunk_size=4); b = samples.batch([0, 5, 23])
    monkeypatch.setenv("VLM4VLA_IMAGE_CACHE", "0"); streamed = Samples(folder, size=12, chunk_size=4); c = streamed.batch([0, 5, 23])
    with pytest.raises(UserError, match="no episodes of the kinds dream; it has demo"): Samples(folder, 12, 4, kinds=("dream",))
    assert all(np.array_equal(b[k], c[k]) for k in b) and type(streamed.frames) is StreamedImages # from the file or from the disk
    whole = np.concatenate([chunk(samples.actions[6*i:6*i+6], 4)[0] for i in range(4)])
    assert (b["actions"] == whole[[0, 5, 23]]).all()
    assert (len(samples), b["images"].shape, b["actions"].shape) == (24, (3, 12, 12, 3), (3, 4, 7))
    assert (b["images"][0] == resize_images(resize_images(bar_episode(0)["images"][:1], 224), 12)[0]).all()
    assert (b["actions"][0,:,0] == np.float32([0, .1, .2, .3])).all()
    assert b["mask"].sum(1).tolist() == [4, 1, 1] # frames 5 and 23 are the last of their episodes
    assert [samples.instructions[i] for i in b["instruction_ids"]] == ["push the bar left", "push the bar left", "push the bar right"]
