"Actions as tokens: there and back, answers that are none, files in the published layout, and what is refused."
import json, os, subprocess, sys
from pathlib import Path
import numpy as np, pytest
from scipy.fft import dct, idct
from tokenizers import ByteLevelBPETokenizer, Tokenizer, models, pre_tokenizers, trainers
from vlm4vla.core import UserError
from vlm4vla.data.actions import ActionStats, chunk, encode
from vlm4vla.heads.tokens import _BYTES, BinTokens, FastTokens, _codes

def smooth(n, k=10, seed=0):
    "Chunks of slow waves; the gripper is where one of them is above 0."
    rng = np.random.default_rng(seed); t = np.linspace(0, 1, k)[:, None]; u = lambda *r: rng.uniform(*r, (n, 1, 7))
    a = np.sin(2*np.pi*t*u(.2, 1.5) + u(0, 6))*u(.1, 1)
    return np.concatenate([a[..., :6], a[..., 6:] > 0], -1).astype(np.float32)

TRAIN, HELD = smooth(600), smooth(100, seed=1)
FAST = FastTokens.fit(TRAIN)
REST = np.tile(np.float32([0, 0, 0, 0, 0, 0, 1]), (10, 1))
BOTH = pytest.mark.parametrize("tok", [BinTokens(), BinTokens(chunk_size=10), FAST], ids=["bins", "bins of 10", "fast"])

# --- there and back ------------------------------------------------------------------------------------------------------------------

@BOTH
def test_the_gripper_comes_back_exactly_and_the_arm_nearly(tok):
    rows = tok.encode(HELD); back, ok = tok.decode(rows, 10)
    assert back.dtype == np.float32 and back.shape == HELD.shape and ok.all()
    assert (back[..., 6] == HELD[..., 6]).all() and np.abs(back[..., :6]).max() <= 1
    off = (back - HELD)[..., :6]
    if isinstance(tok, BinTokens): assert np.abs(off).max() <= 1/255 + 1e-6 and {len(r) for r in rows} == {70}
    else: assert np.sqrt((off**2).mean((1, 2))).max() < .05 and max(map(len, rows)) < 50
    assert all(type(t) is int and 0 <= t < tok.n for r in rows for t in r)
    assert tok.encode(HELD[:1])[0] == rows[0] == tok.encode(HELD.tolist())[0] # whoever shares the batch

def test_bins_are_openvlas():
    "Places among 256 edges, 1 to 256, and centres of 255 bins, the last for two ids."
    edges = np.linspace(-1, 1, 256); centers = (edges[:-1] + edges[1:])/2
    a = np.random.default_rng(0).uniform(-1.2, 1.2, (5, 4, 7)); a[0, 0, :3] = -1, 1, 0
    rows = BinTokens().encode(a)
    assert rows == (np.digitize(np.clip(a, -1, 1), edges) - 1).reshape(5, 28).tolist() and rows[0][:3] == [0, 255, 127]
    back, ok = BinTokens().decode([list(range(249, 256))]*2, 1)
    assert ok.all() and np.allclose(back[0, 0, :6], centers[249:255], atol=1e-7) and back[0, 0, 6] == 1
    assert BinTokens().decode([[255]*7], 1)[0][0, 0, 0] == np.float32(centers[254])

@pytest.mark.parametrize("n", [4, 5, 16, 255, 256])
def test_few_bins_still_know_the_gripper(n):
    back, ok = BinTokens(n).decode(BinTokens(n).encode(HELD), 10)
    assert ok.all() and (back[..., 6] == HELD[..., 6]).all() and np.abs(back - HELD).max() <= 1/(n-1) + 1e-6

@BOTH
def test_ends_of_trajectories_need_no_mask(tok):
    "The chunk of the last step is its action ten times."
    path = smooth(1, 23)[0]; chunks, mask = chunk(encode(path, ActionStats.from_range()), 10)
    back, ok = tok.decode(tok.encode(chunks), 10)
    assert ok.all() and not mask[-1].all() and np.abs(back[-1] - chunks[-1]).max() < .06 and (back[..., 6] == chunks[..., 6]).all()

def test_what_no_demonstration_had_is_the_nearest_that_can_be_written():
    calm = np.concatenate([smooth(200)[..., :6]*.2, smooth(200)[..., 6:]*0], -1)
    tok = FastTokens.fit(calm); wild = np.where(np.arange(10)[:, None] % 2, 1., -1.)*np.ones(7); wild[:, 6] = 1
    back, ok = tok.decode(tok.encode(wild[None]), 10)
    assert ok.all() and (np.sign(back[0, :, :6]) == wild[:, :6]).all()
    plain = FastTokens.fit(calm, first=0)
    assert tok.decode(tok.encode(HELD), 10)[1].all() and plain.decode(plain.encode(HELD), 10)[1].all()

def test_beyond_the_range_is_clipped_as_a_simulator_would():
    far = np.full((1, 10, 7), 3.)
    for tok in (BinTokens(), FAST):
        assert tok.encode(far) == tok.encode(np.ones((1, 10, 7))) and tok.decode(tok.encode(far), 10)[0].max() <= 1

# --- answers that are no chunk ---------------------------------------------------------------------------------------------------------

@BOTH
def test_an_answer_that_is_none_means_no_movement(tok):
    good = tok.encode(HELD[:1])[0]; bad = [[], good[:-1], [*good, good[-1]], [*good[:-1], tok.n], [-1, *good[1:]], [tok.n-1]*300]
    back, ok = tok.decode([good, *bad, good], 10)
    assert ok.tolist() == [True] + [False]*len(bad) + [True]
    assert (back[1:-1] == REST).all() and (back[0] == back[-1]).all() and (back[0] == tok.decode([good], 10)[0][0]).all()
    assert tok.decode([], 10)[0].shape == (0, 10, 7)

def test_half_a_character_is_no_number():
    lead = FAST.tok.token_to_id(_BYTES[0xC4]); row = FAST.encode(HELD[:1])[0]
    assert FAST.decode([[lead]*70, [*row, lead]], 10)[1].tolist() == [False, False]

# --- a checkpoint, a folder ----------------------------------------------------------------------------------------------------------

@BOTH
def test_through_json_and_back(tok):
    again = type(tok).from_dict(json.loads(json.dumps(tok.to_dict())))
    assert again == tok and again.hash == tok.hash and again.encode(HELD) == tok.encode(HELD) and again.longest == tok.longest

def test_hashes_tell_tokenizers_apart():
    others = [FastTokens.fit(TRAIN, **kw) for kw in (dict(scale=9), dict(vocab_size=900), dict(first=0))] + [FastTokens.fit(HELD)]
    assert len({t.hash for t in [FAST, *others, BinTokens(), BinTokens(128), BinTokens(chunk_size=10)]}) == 8

def test_fitting_is_the_same_in_another_process():
    code, root = "from test_action_tokens import FAST; print(FAST.hash)", Path(__file__).resolve().parent
    done = subprocess.run([sys.executable, "-c", code], cwd=root, env=os.environ | dict(PYTHONPATH=str(root.parent)), capture_output=True,
                          text=True, timeout=120)
    assert done.stdout.strip() == FAST.hash, done.stderr[-500:]

def test_saved_and_loaded(tmp_path):
    FAST.save(tmp_path/"a"); again = FastTokens.load(tmp_path/"a")
    assert again == FAST and again.encode(HELD) == FAST.encode(HELD) and again.longest >= FAST.longest
    assert sorted(p.name for p in (tmp_path/"a").iterdir()) == ["processor_config.json", "tokenizer.json"]

def by_hand(tok, facts, chunks):
    "What the published processor does, written from its description: ids of chunks, and chunks of ids."
    a = np.concatenate([chunks[..., :6], 2*chunks[..., 6:] - 1], -1).astype(np.float64)
    q = np.around(dct(a, axis=1, norm="ortho")*facts["scale"])
    ids = [tok("".join(map(chr, np.maximum(x.flatten() - facts["min_token"], 0).astype(int))))["input_ids"] for x in q]
    back = [np.array([*map(ord, tok.decode(r))]) + facts["min_token"] for r in ids]
    return ids, np.stack([idct(b.reshape(-1, 7)/facts["scale"], axis=0, norm="ortho") for b in back])

def hub_folder(folder, chunks=TRAIN, **more):
    "The files of a universal tokenizer, fitted as the published one was: characters from 0 on, no chunk size."
    a = np.concatenate([chunks[..., :6], 2*chunks[..., 6:] - 1], -1).astype(np.float64)
    q = np.around(dct(a, axis=1, norm="ortho")*10).astype(int); lo = int(q.min()); n = int(q.max()) - lo + 1
    bpe = ByteLevelBPETokenizer(); trainer = trainers.BpeTrainer(vocab_size=512, min_frequency=2, show_progress=False, special_tokens=[],
        initial_alphabet=[chr(i) for i in range(n)], max_token_length=10_000)
    bpe._tokenizer.train_from_iterator(("".join(map(chr, x.ravel() - lo)) for x in q), trainer)
    folder.mkdir(exist_ok=True); (folder/"tokenizer.json").write_text(bpe.to_str(), encoding="utf-8")
    facts = dict(action_dim=None, auto_map=dict(AutoProcessor="processing_action_tokenizer.UniversalActionProcessor"), min_token=lo,
                 processor_class="UniversalActionProcessor", scale=10, time_horizon=None, vocab_size=512) | more
    (folder/"processor_config.json").write_text(json.dumps({k: v for k, v in facts.items() if v != "gone"}), encoding="utf-8")
    return facts

@pytest.mark.parametrize("made", ["published", "first 0", "first 256"])
def test_ids_are_those_of_the_published_processor(tmp_path, made):
    tokenizers = pytest.importorskip("transformers")
    if made == "published": hub_folder(tmp_path/"a")
    else: FastTokens.fit(TRAIN, vocab_size=512, first=int(made.split()[1])).save(tmp_path/"a")
    facts = json.loads((tmp_path/"a"/"processor_config.json").read_text(encoding="utf-8")); mine = FastTokens.load(tmp_path/"a")
    tok = tokenizers.PreTrainedTokenizerFast(tokenizer_file=str(tmp_path/"a"/"tokenizer.json"), clean_up_tokenization_spaces=False)
    ids, back = by_hand(tok, facts, HELD)
    assert mine.encode(HELD) == ids
    got, ok = mine.decode(ids, 10)
    assert ok.all() and np.allclose(got[..., :6], np.clip(back[..., :6], -1, 1), atol=1e-6) and (got[..., 6] == (back[..., 6] > 0)).all()

def test_a_fit_from_character_0_is_the_published_fit(tmp_path):
    levels = np.ones((400, 10, 7), np.float32); levels[..., :6] = np.linspace(-1, 1, 400)[:, None, None] # so every number is met
    many = np.concatenate([TRAIN, levels]); hub_folder(tmp_path/"a", many); theirs = FastTokens.load(tmp_path/"a")
    mine = FastTokens.fit(many, vocab_size=512, first=0)
    assert mine.tok.to_str() == theirs.tok.to_str() and mine.min_token == theirs.min_token

def test_a_universal_tokenizer_takes_any_chunk_size(tmp_path):
    hub_folder(tmp_path/"a"); tok = FastTokens.load(tmp_path/"a")
    assert tok.chunk_size is None and tok.longest is None
    for k in (1, 4, 10, 17):
        a = smooth(20, k); back, ok = tok.decode(tok.encode(a), k)
        assert ok.all() and back.shape == a.shape and (back[..., 6] == a[..., 6]).all()

def test_bytes_are_written_as_the_wrapper_writes_them():
    cut = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    for c in (*range(0x300), 0x7FF, 0x800, 0x4E00, 0xD7FF):
        assert "".join(_BYTES[b] for b in chr(c).encode()) == cut.pre_tokenize_str(chr(c))[0][0]
    vocab = FAST.tok.get_vocab()
    assert set(_codes(FAST.tok)) == {c for c in range(0xD800) if all(_BYTES[b] in vocab for b in chr(c).encode())}

# --- refusals --------------------------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("make, said", [
    (lambda: BinTokens(3), "number of bins must be a whole number of at least 4"),
    (lambda: FastTokens.fit([]), "no chunk to fit"),
    (lambda: FastTokens.fit([smooth(1)[0], smooth(1, 9)[0]]), "different shapes.*cut them all"),
    (lambda: FastTokens.fit(TRAIN[..., :6]), "not of 10 and 6"),
    (lambda: FastTokens.fit(np.full((3, 10, 7), np.nan)), "not finite"),
    (lambda: FastTokens.fit(TRAIN, scale=0), "above 0"),
    (lambda: FastTokens.fit(TRAIN, scale=1000), r"span \d+ whole numbers.*vocabulary of 1024; raise vocab_size to .*scale of 1000"),
    (lambda: FastTokens.fit(TRAIN, vocab_size=40), "span 65 whole numbers, -32 to 32.*raise vocab_size"),
    (lambda: FAST.encode(smooth(2, 9)), "chunks of 10 steps.*not of 9.*fit one on chunks like these"),
    (lambda: FAST.encode(np.zeros((2, 10, 8))), "not of 10 and 8"),
    (lambda: FAST.encode(TRAIN[0]), "shape \\(10, 7\\)"),
    (lambda: FAST.decode([[1]], 9), "chunks of 10 steps, not of 9"),
    (lambda: FAST.decode([[1]], 0), "at least 1"),
    (lambda: BinTokens(chunk_size=10).encode(smooth(2, 9)), "chunks of 10 steps"),
    (lambda: FastTokens.from_dict({}), "checkpoint's tokenizer")])
def test_refused(make, said):
    with pytest.raises(UserError, match=said): make()

@pytest.mark.parametrize("more, said", [
    (dict(min_token="gone"), "no min_token of a FAST tokenizer"), (dict(min_token="-3"), "no min_token"),
    (dict(min_token=True), "no min_token"),
    (dict(vocab_size="gone"), "no vocab_size"), (dict(scale="gone"), "no scale above 0"), (dict(scale=-1), "no scale above 0"),
    (dict(action_dim=14), "14-dimensional actions; ours have 7"), (dict(time_horizon=0), "no time_horizon"),
    (dict(vocab_size=100), "says 100 ids and its tokenizer has 512; take both files")])
def test_files_of_another_shape(tmp_path, more, said):
    hub_folder(tmp_path/"a", **more)
    with pytest.raises(UserError, match=said): FastTokens.load(tmp_path/"a")

def words(folder):
    "A tokenizer of words, which is none of FAST's."
    tok = Tokenizer(models.WordLevel(dict(a=0), unk_token="a")); tok.save(str(folder/"tokenizer.json"))

@pytest.mark.parametrize("harm, said", [
    (lambda f: (f/"tokenizer.json").unlink(), "tokenizer.json cannot be read: it is not there"),
    (lambda f: (f/"processor_config.json").unlink(), "processor_config.json cannot be read: it is not there"),
    (lambda f: (f/"tokenizer.json").write_text("{}"), "tokenizer.json cannot be read"),
    (lambda f: (f/"tokenizer.json").write_bytes(b"\xff\xfe\x00\x00\xd8"), "tokenizer.json cannot be read"),
    (lambda f: (f/"tokenizer.json").write_text("version https://git-lfs.github.com/spec/v1\n"), "Git-LFS pointer"),
    (lambda f: (f/"processor_config.json").write_text("[1"), "processor_config.json"),
    (lambda f: (f/"processor_config.json").write_text("[]"), "processor_config.json"),
    (words, "no byte-level tokenizer")])
def test_damaged_files(tmp_path, harm, said):
    hub_folder(tmp_path/"a"); harm(tmp_path/"a")
    with pytest.raises(UserError, match=said): FastTokens.load(tmp_path/"a")
