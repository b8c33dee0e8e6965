"Recording survives kills, gives the same bytes however it is done, and says what is wrong with a folder."
import json, os, resource, signal, subprocess, sys, time
from functools import partial
from pathlib import Path
import numpy as np, pytest
import pyarrow.parquet as pq

from vlm4vla.core import UserError, tree_hash
from vlm4vla.data.store import IMAGE, block_path, block_paths, check_dataset, finish_dataset, load_episodes, read_episode, write_block
from vlm4vla.data.recording import record
from vlm4vla.data.samples import Samples, resize_images

MAKER = '''
import os, sys, time
import numpy as np

def episode(i, size=32):
    rng = np.random.default_rng(i); T = 3 + i % 4
    actions = rng.uniform(-1, 1, (T, 7)).astype(np.float32); actions[:, 6] = actions[:, 6] > 0
    return dict(task=f"go to {i % 3}", kind=("demo", "noise")[i % 2], images=rng.integers(0, 256, (T, size, size, 3), np.uint8),
                actions=actions, executed=actions/2, detail=dict(number=i))

def block(n, seconds, b):
    time.sleep(seconds)
    return [episode(n*b + i) for i in range(n)]

def dies(b): os._exit(9)

if __name__ == "__main__":
    from functools import partial
    import block_maker
    from vlm4vla.data.recording import record
    record(sys.argv[1], 12, partial(block_maker.block, 2, float(sys.argv[3])), int(sys.argv[2]), settings={})
'''

@pytest.fixture(scope="module")
def maker(tmp_path_factory):
    "A module that makes blocks, where other processes can import it."
    folder = tmp_path_factory.mktemp("maker")
    (folder/"block_maker.py").write_text(MAKER)
    sys.path.insert(0, str(folder))
    import block_maker
    yield block_maker
    sys.path.remove(str(folder)); del sys.modules["block_maker"]

@pytest.fixture(scope="module")
def whole(maker, tmp_path_factory):
    "An undisturbed recording by one process."
    folder = tmp_path_factory.mktemp("whole")/"d"
    record(folder, 12, partial(maker.block, 2, 0), 1, settings={})
    return folder

@pytest.fixture
def copy(whole, tmp_path):
    import shutil
    return Path(shutil.copytree(whole, tmp_path/"copy"))

def start(maker, folder, workers=2, seconds=.15):
    path = os.pathsep.join([str(Path(maker.__file__).parent), str(Path(__file__).resolve().parent.parent)])
    return subprocess.Popen([sys.executable, maker.__file__, str(folder), str(workers), str(seconds)],
                            env={**os.environ, "PYTHONPATH": path},
                            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

def children(pid):
    return [int(c) for t in Path(f"/proc/{pid}/task").glob("*/children") for c in t.read_text().split()]

def gone(pid):
    try: return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] == "Z"
    except OSError: return True

def until(f, seconds=30):
    end = time.time() + seconds
    while not f():
        assert time.time() < end, "waited too long"
        time.sleep(.02)

def test_any_number_of_workers_gives_the_same_bytes(maker, whole, tmp_path):
    record(tmp_path/"d", 12, partial(maker.block, 2, 0), 3, settings={})
    assert tree_hash(tmp_path/"d") == tree_hash(whole)

@pytest.mark.parametrize("workers", [1, 2])
def test_killed_and_resumed_equals_undisturbed(maker, whole, tmp_path, workers):
    folder, kept = tmp_path/"d", {}
    for blocks in (2, 6):
        process = start(maker, folder, workers)
        until(lambda: len(block_paths(folder)) >= blocks)
        family = children(process.pid)
        process.send_signal(signal.SIGKILL); process.wait()
        until(lambda: all(gone(c) for c in family), 10)
        for p in block_paths(folder):
            assert kept.setdefault(p, p.stat().st_mtime_ns) == p.stat().st_mtime_ns, "a finished block was made again"
    (folder/"data"/"chunk-000"/".file-011.1-ab.parquet").write_bytes(b"half")
    with pytest.raises(UserError, match="half written"): check_dataset(folder)
    record(folder, 12, partial(maker.block, 2, 0), 2, settings={})
    assert tree_hash(folder) == tree_hash(whole)
    assert not list(folder.rglob(".*"))

def test_killed_while_finishing(maker, whole, tmp_path, monkeypatch):
    "At whatever file `finish` is cut off, the next run ends with the same bytes."
    import vlm4vla.core as core
    replace = os.replace
    for after in range(0, 17, 2):
        folder, n = tmp_path/str(after), 0
        for b in range(12): write_block(folder, b, maker.block(2, 0, b), settings={})
        def cut(a, b):
            nonlocal n
            if n == after: raise KeyboardInterrupt
            n += 1; replace(a, b)
        with monkeypatch.context() as m:
            m.setattr(core.os, "replace", cut)
            with pytest.raises(KeyboardInterrupt): finish_dataset(folder, 5)
        with pytest.raises(UserError): check_dataset(folder)
        record(folder, 12, partial(maker.block, 2, 0), settings={})
        assert tree_hash(folder) == tree_hash(whole), after

def test_two_recordings_wait_for_each_other(maker, whole, tmp_path):
    both = [start(maker, tmp_path/"d", 1, .02) for _ in range(2)]
    assert [p.wait(60) for p in both] == [0, 0]
    assert tree_hash(tmp_path/"d") == tree_hash(whole)

def test_other_settings_make_the_blocks_again(maker, tmp_path):
    record(tmp_path/"d", 3, partial(maker.block, 1, 0))
    assert record(tmp_path/"d", 3, partial(maker.block, 2, 0))["total_episodes"] == 6
    assert record(tmp_path/"d", 2, partial(maker.block, 2, 0))["total_episodes"] == 4

def test_a_process_that_dies_is_said_in_a_sentence(maker, tmp_path):
    with pytest.raises(UserError, match="died .* whole blocks are kept"): record(tmp_path/"d", 3, maker.dies, 2)

BARE = """
import sys
from functools import partial
import block_maker
from vlm4vla.data.recording import record
{own}
print("begun", flush=True)
record(sys.argv[1], 4, {make}, 2, settings={{}})
"""

@pytest.mark.parametrize("own, make, says", [
    ("", "partial(block_maker.block, 2, 0)", ""), # what the processes run is in a module: they do not run the script
    ("def own(b): return block_maker.block(2, 0, b)", "own", "runs .*bare.py anew; put what it does below a line"),
    ("def own(b): return block_maker.block(2, 0, b) # __main__", "own", "runs .*bare.py anew; put what it does below a line")])
def test_a_script_without_a_guard_records_or_says_so_at_once(maker, tmp_path, own, make, says):
    import re
    script = tmp_path/"bare.py"; script.write_text(BARE.format(own=own, make=make))
    path = os.pathsep.join([str(Path(maker.__file__).parent), str(Path(__file__).resolve().parent.parent)])
    done = subprocess.run([sys.executable, str(script), str(tmp_path/"d")], env={**os.environ, "PYTHONPATH": path}, capture_output=True,
                          text=True, timeout=60)
    assert bool(done.returncode) == bool(says) and re.search(says, done.stderr)
    if not says: assert done.stdout == "begun\n" and check_dataset(tmp_path/"d")["total_episodes"] == 8

def test_a_full_disk_is_said_and_mended(maker, whole, tmp_path):
    folder, old = tmp_path/"d", resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, old[1]))
    try:
        with pytest.raises(UserError, match="disk is full"): record(folder, 12, partial(maker.block, 2, 0), settings={})
    finally: resource.setrlimit(resource.RLIMIT_FSIZE, old)
    record(folder, 12, partial(maker.block, 2, 0), settings={})
    assert tree_hash(folder) == tree_hash(whole)

def flip(path):
    data = bytearray(path.read_bytes()); data[len(data)//2] ^= 1; path.write_bytes(data)

DAMAGE = dict(
    byte=(lambda d: flip(block_path(d, 3)), "file-003.parquet is damaged"),
    truncated=(lambda d: os.truncate(block_path(d, 3), 1000), "file-003.parquet is damaged"),
    missing=(lambda d: block_path(d, 11).unlink(), "lacks data/chunk-000/file-011.parquet"),
    no_meta=(lambda d: (d/"meta"/"info.json").unlink(), r"half written \(12 blocks"),
    counts=(lambda d: (d/"meta"/"info.json").write_text(
        (d/"meta"/"info.json").read_text().replace('"total_frames": ', '"total_frames": 1')), "counts"),
    stats=(lambda d: flip(d/"meta"/"stats.json"), "stats.json is damaged"),
    not_json=(lambda d: (d/"meta"/"info.json").write_text("{"), "cannot be read as JSON"),
)

@pytest.mark.parametrize("kind", DAMAGE)
def test_damage_is_found_and_recording_again_mends_it(maker, whole, copy, kind):
    spoil, says = DAMAGE[kind]
    spoil(copy)
    with pytest.raises(UserError, match=says) as e: check_dataset(copy)
    assert "record it again" in str(e.value) and "\n" not in str(e.value)
    record(copy, 12, partial(maker.block, 2, 0), settings={})
    assert tree_hash(copy) == tree_hash(whole)

def test_without_our_hashes_counts_are_still_compared(copy):
    (copy/"meta"/"hashes.json").unlink()
    check_dataset(copy)
    block_path(copy, 11).unlink()
    with pytest.raises(UserError, match="frames where meta/info.json counts"): check_dataset(copy)

def test_a_missing_dataset_and_another_version(copy, tmp_path):
    with pytest.raises(UserError, match="There is no dataset in"): check_dataset(tmp_path/"nowhere")
    info = copy/"meta"/"info.json"; info.write_text(info.read_text().replace("v3.0", "v2.1"))
    with pytest.raises(UserError, match="version v2.1"): check_dataset(copy)

def test_the_layout_is_lerobot_v3(maker, whole):
    "The names and types that LeRobot 0.4 reads, followed from `info.json` alone."
    info = json.loads((whole/"meta"/"info.json").read_text())
    assert info["codebase_version"] == "v3.0" and info["splits"] == {"train": "0:24"} and info["video_path"] is None
    assert info["features"]["action"] == dict(dtype="float32", shape=[7], names=["x", "y", "z", "roll", "pitch", "yaw", "gripper"])
    assert info["features"][IMAGE]["dtype"] == "image" and info["features"][IMAGE]["shape"] == [32, 32, 3]
    tasks = pq.read_table(whole/"meta"/"tasks.parquet").to_pandas()
    assert tasks.index.name == "task" and list(tasks.task_index) == list(range(len(tasks))) == list(range(info["total_tasks"]))
    data = pq.read_table(sorted(whole.glob("data/*/*.parquet"))).to_pandas()
    assert list(data["index"]) == list(range(info["total_frames"])) and set(data.columns) == set(info["features"])
    np.testing.assert_array_equal(data.timestamp, (data.frame_index/info["fps"]).astype(np.float32))
    for r in pq.read_table(whole/"meta"/"episodes").to_pylist():
        part = pq.read_table(whole/info["data_path"].format(chunk_index=r["data/chunk_index"], file_index=r["data/file_index"])).to_pandas()
        part = part[part.episode_index == r["episode_index"]]
        want = maker.episode(r["episode_index"])
        assert list(part["index"]) == list(range(r["dataset_from_index"], r["dataset_to_index"])) and r["length"] == len(part)
        assert list(tasks.index[part.task_index]) == [want["task"]]*len(part) and list(r["tasks"]) == [want["task"]]
        np.testing.assert_array_equal(np.stack(part.action), want["actions"])
        np.testing.assert_allclose(r["stats/action/mean"], want["actions"].mean(0), rtol=1e-5, atol=1e-7)
        assert np.shape(r[f"stats/{IMAGE}/mean"]) == (3, 1, 1) and r["stats/index/count"] == [len(part)]
    stats = json.loads((whole/"meta"/"stats.json").read_text())
    images = np.concatenate([maker.episode(i)["images"] for i in range(24)])
    np.testing.assert_allclose(np.ravel(stats[IMAGE]["std"]), images.std((0, 1, 2))/255)
    assert set(stats["action"]) == {"min", "max", "mean", "std", "count", "q01", "q10", "q50", "q90", "q99"}

def test_what_was_recorded_is_what_is_read(maker, whole):
    e, want = read_episode(whole, 13), maker.episode(13)
    for k in ("images", "actions", "executed"): np.testing.assert_array_equal(e[k], want[k])
    assert (e["task"], e["kind"], e["detail"]) == (want["task"], want["kind"], want["detail"])
    assert list(load_episodes(whole).kind.head(2)) == ["demo", "noise"]

def small(images): return resize_images(resize_images(images, 224), 16) # as a policy sees what the simulator shows

def test_samples(maker, whole, copy, tmp_path, monkeypatch):
    monkeypatch.setenv("VLM4VLA_CACHE", str(tmp_path/"cache"))
    s = Samples(whole, 16, 5, workers=2)
    t = 0
    for i in range(24):
        e = maker.episode(i); n = len(e["actions"])
        b = s.batch(range(t, t + n)); t += n
        np.testing.assert_array_equal(b["images"], small(e["images"]))
        assert {s.instructions[j] for j in b["instruction_ids"]} == {e["task"]}
        for k in range(n):
            assert b["mask"][k].sum() == min(5, n - k)
            np.testing.assert_array_equal(b["actions"][k][b["mask"][k]], e["actions"][k:k+5])
    assert t == len(s)
    stamp = [p.stat().st_mtime_ns for p in (tmp_path/"cache").rglob("*.npy")]
    Samples(copy, 16, 3)
    assert [p.stat().st_mtime_ns for p in (tmp_path/"cache").rglob("*.npy")] == stamp, "the same bytes were decoded again"
    Samples(whole, 8, 5)
    assert len(list((tmp_path/"cache").rglob("*.npy"))) == 2
    noise = Samples(whole, 16, 5, kinds=("noise",))
    assert set(noise.episode_ids) == set(range(1, 24, 2)) and len(noise) == len(noise.batch(range(len(noise)))["images"])
    np.testing.assert_array_equal(noise.batch([0])["images"][0], small(maker.episode(1)["images"][:1])[0])

def test_a_cache_on_a_full_disk_is_said(whole, tmp_path, monkeypatch):
    monkeypatch.setenv("VLM4VLA_CACHE", str(tmp_path/"cache"))
    old = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (5_000, old[1]))
    try:
        with pytest.raises(UserError, match="disk is full"): Samples(whole, 32, 5)
    finally: resource.setrlimit(resource.RLIMIT_FSIZE, old)
    assert not list((tmp_path/"cache").rglob("*.npy"))
    assert len(Samples(whole, 32, 5)) == len(Samples(whole, 32, 5).frames)
