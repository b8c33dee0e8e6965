"What the lessons of the data's pages no longer show: ranges, the way in and out, chunks, changed images."
import json
import numpy as np, pytest
from vlm4vla.core import UserError
from vlm4vla.data.actions import ActionStats, chunk, decode, encode

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
