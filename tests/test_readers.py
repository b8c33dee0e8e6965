"""Datasets in each format, written by the format's own rules, are read back as they were; what is wrong with one is said and
costs nothing else."""
import json, os, re, shutil, time
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
import numpy as np, pandas as pd, pytest
import pyarrow as pa, pyarrow.parquet as pq

av, h5py = pytest.importorskip("av"), pytest.importorskip("h5py")
from vlm4vla.data.actions import chunk
from vlm4vla.core import UserError
from vlm4vla.data.store import encode_png
from vlm4vla.data.formats import check_data, data_folder, open_data, find_format
from vlm4vla.data.samples import Samples, StreamedImages, augment, center_crop, resize_images

TASKS = ("open the drawer", "push the red block to the left", "open the drawer")
LENGTHS = (7, 5, 9)

@dataclass
class Told:
    "What was written: an entry per episode."
    folder:Path
    format:str
    actions:list # frames × 7
    images:list # frames × height × width × 3, as a policy sees them
    texts:list
    lossy:bool=False # is the video a little off?
    opens:float=1. # gripper value that opens
    closes:float=0.

def picture(rng, size, flat=False):
    "An image with its own content; flat ones survive a video."
    if flat: return np.full((size, size, 3), rng.integers(30, 220, 3), np.uint8)
    return rng.integers(0, 256, (size, size, 3), np.uint8)

def episodes(opens, closes, size=32, flat=False, seed=0):
    rng = np.random.default_rng(seed)
    for text, n in zip(TASKS, LENGTHS):
        yield text, np.c_[rng.uniform(-1, 1, (n, 6)),
                          np.where(np.arange(n) < n//2, opens, closes)].astype(np.float32), np.stack(
                              [picture(rng, size, flat) for _ in range(n)])

def calvin(folder, size=(200, 84), full=True)->Told:
    "A split of CALVIN: frames between the annotated stretches, all ten arrays of a frame, annotations as its annotator writes them."
    split = folder/"training"; (split/"lang_annotations").mkdir(parents=True)
    told, at, spans, rng = Told(folder, "calvin", [], [], [], closes=-1.), 3, [], np.random.default_rng(1)
    def frame(i, action, image):
        more = dict(rgb_tactile=np.zeros((160, 120, 6), np.uint8), depth_static=np.ones((200, 200), np.float32),
                    depth_gripper=np.ones((84, 84), np.float32), depth_tactile=np.zeros((160, 120, 2), np.float32)) if full else {}
        np.savez_compressed(split/f"episode_{i:07d}.npz", actions=rng.normal(size=7), rel_actions=action.astype(np.float64),
                            robot_obs=rng.normal(size=15), scene_obs=rng.normal(size=24),
                            rgb_static=image, rgb_gripper=picture(rng, size[1]), **more)
    for text, actions, images in episodes(1, -1, size[0]):
        for t, (a, im) in enumerate(zip(actions, images)): frame(at + t, a, im)
        spans.append((np.int64(at), np.int64(at + len(actions) - 1))); frame(at + len(actions), np.zeros(7), images[0])
        at += len(actions) + 1; told.texts.append(text); told.actions.append(actions); told.images.append(images)
    np.save(split/"ep_start_end_ids.npy", np.array([(3, at - 1)])); np.save(split/"ep_lens.npy", np.array([at - 3]))
    np.save(split/"scene_info.npy", {"calvin_scene_A": [3, at - 1]})
    np.save(split/"lang_annotations"/"auto_lang_ann.npy",
            {"language": {"ann": list(TASKS), "task": ["open_drawer", "push_red_block_left", "open_drawer"],
                          "emb": np.zeros((3, 1, 384), np.float32)},
                                                           "info": {"episodes": [], "indx": spans}})
    return told

def libero(folder, size=128)->Told:
    "Two files of LIBERO: the attributes and datasets that its script writes, images upside down."
    folder.mkdir(parents=True)
    told = Told(folder, "libero", [], [], [], opens=-1., closes=1.)
    eps = list(episodes(-1, 1, size))
    files = {"KITCHEN_SCENE4_open_the_drawer": (0, 2), "LIVING_ROOM_SCENE2_push_the_red_block_to_the_left": (1,)}
    for name, members in files.items():
        with h5py.File(folder/f"{name}_demo.hdf5", "w") as f:
            data = f.create_group("data")
            info = dict(problem_name="libero_kitchen_tabletop_manipulation", domain_name="robosuite",
                        language_instruction=eps[members[0]][0])
            data.attrs.update(env_name="Libero_Kitchen_Tabletop_Manipulation", problem_info=json.dumps(info),
                              macros_image_convention="opengl", bddl_file_name=f"bddl_files/{name}.bddl", bddl_file_content="(define)",
                              env_args=json.dumps(dict(type=1)), num_demos=len(members), total=sum(LENGTHS[m] for m in members))
            for i, m in enumerate(members):
                text, actions, images = eps[m]; n, g = len(actions), data.create_group(f"demo_{i}")
                for k, w in dict(gripper_states=2, joint_states=7, ee_states=6, ee_pos=3, ee_ori=3).items():
                    g.create_dataset(f"obs/{k}", data=np.zeros((n, w)))
                g.create_dataset("obs/agentview_rgb", data=images[:, ::-1, ::-1]); g.create_dataset("obs/eye_in_hand_rgb", data=images)
                for k, x in dict(actions=actions.astype(np.float64), states=np.zeros((n, 51)), robot_states=np.zeros((n, 9)),
                                 rewards=np.r_[np.zeros(n-1), 1].astype(np.uint8), dones=np.r_[np.zeros(n-1), 1].astype(np.uint8)).items():
                    g.create_dataset(k, data=x)
                g.attrs.update(num_samples=n, model_file="<mujoco/>", init_state=np.zeros(51))
                told.texts.append(text); told.actions.append(actions); told.images.append(images)
    return told

def film(path, images, fps, codec="libx264", gop=2):
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as out:
        s = out.add_stream(codec, rate=fps, options={"g": str(gop), "crf": "8"})
        s.height, s.width, s.pix_fmt = *images.shape[1:3], "yuv420p"
        for im in images: out.mux(s.encode(av.VideoFrame.from_ndarray(im, format="rgb24")))
        out.mux(s.encode())

def columns(actions, fps, episode, first, task, name):
    "The numeric columns of an episode, as LeRobot writes them."
    n = len(actions)
    return {name: pa.array(list(actions), pa.list_(pa.float32())), "observation.state": pa.array([[0.]*8]*n, pa.list_(pa.float32())),
            "timestamp": pa.array(np.arange(n)/fps, pa.float32()), "frame_index": pa.array(np.arange(n)),
            "episode_index": pa.array([episode]*n), "index": pa.array(first + np.arange(n)), "task_index": pa.array([task]*n)}

def features(camera, size, dtype, name):
    numbers = dict(timestamp="float32", frame_index="int64", episode_index="int64", index="int64", task_index="int64")
    return {camera: dict(dtype=dtype, shape=[size, size, 3], names=["height", "width", "rgb"]),
            "observation.images.wrist_image": dict(dtype=dtype, shape=[size, size, 3], names=["height", "width", "rgb"]),
            "observation.state": dict(dtype="float32", shape=[8]),
            name: dict(dtype="float32", shape=[7])} | {k: dict(dtype=t, shape=[1], names=None) for k, t in numbers.items()}

def pngs(images): return pa.array([{"bytes": encode_png(im), "path": f"frame_{i:06d}.png"} for i, im in enumerate(images)])

def declared(folder, **more):
    "What LeRobot's metadata leave open, said beside the dataset."
    (folder/"vlm4vla.json").write_text(
        json.dumps(dict(gripper=dict(opens=1, closes=0), images="upright", actions="end-effector deltas", units="simulator") | more))

def lerobot2(folder, video, version="v2.1", camera="observation.images.image", name="action", fps=5)->Told:
    "Version 2.0 or 2.1: a table, and a video, per episode; two episodes to a chunk."
    told, first, words = Told(folder, "lerobot-v2", [], [], [], video), 0, sorted(set(TASKS))
    lines = lambda rows: "".join(json.dumps(r) + "\n" for r in rows)
    for e, (text, actions, images) in enumerate(episodes(1, 0, flat=video)):
        table = columns(actions, fps, e, first, words.index(text),
                        name) | ({} if video else {camera: pngs(images), "observation.images.wrist_image": pngs(images)})
        path = folder/f"data/chunk-{e//2:03d}/episode_{e:06d}.parquet"
        path.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(pa.table(table), path)
        if video:
            for k in (camera, "observation.images.wrist_image"):
                film(folder/f"videos/chunk-{e//2:03d}/{k}/episode_{e:06d}.mp4", images, fps)
        first += len(actions); told.texts.append(text); told.actions.append(actions); told.images.append(images)
    meta = folder/"meta"; meta.mkdir()
    (meta/"tasks.jsonl").write_text(lines(dict(task_index=i, task=t) for i, t in enumerate(words)))
    (meta/"episodes.jsonl").write_text(lines(dict(episode_index=e, tasks=[t], length=n) for e, (t, n) in enumerate(zip(TASKS, LENGTHS))))
    if version == "v2.1": (meta/"episodes_stats.jsonl").write_text(lines(dict(episode_index=e, stats={}) for e in range(3)))
    else: (meta/"stats.json").write_text("{}")
    (meta/"info.json").write_text(
        json.dumps(dict(codebase_version=version, robot_type="franka", total_episodes=3, total_frames=first, total_tasks=2,
                        total_videos=6*video, total_chunks=2, chunks_size=2, fps=fps, splits=dict(train="0:3"),
        data_path="data/chunk-{episode_chunk:03d}/episode_{episode_index:06d}.parquet",
        video_path="videos/chunk-{episode_chunk:03d}/{video_key}/episode_{episode_index:06d}.mp4" if video else None,
        features=features(camera, 32, "video" if video else "image", name))))
    declared(folder); return told

def lerobot3(folder, video, camera="observation.images.image", name="action", fps=5)->Told:
    "Version 3: two tables, and two videos in AV1, for three episodes, the first two of them together."
    told, words, rows = Told(folder, "lerobot-v3", [], [], [], video), sorted(set(TASKS)), []
    eps, first, seconds = list(episodes(1, 0, flat=video)), 0, {0: 0., 1: 0.}
    if video: eps = [(t, a, np.kron(im, np.ones((1, 2, 2, 1), np.uint8))) for t, a, im in eps] # AV1 wants 64 pixels
    for e, (text, actions, images) in enumerate(eps):
        where, n = int(e == 2), len(actions)
        rows.append({"episode_index": e, "tasks": [text], "length": n, "data/chunk_index": 0, "data/file_index": where,
                     "dataset_from_index": first, "dataset_to_index": first + n, "stats/action/mean": [0.]*7}
                    | ({f"videos/{camera}/chunk_index": 0, f"videos/{camera}/file_index": where,
                        f"videos/{camera}/from_timestamp": seconds[where], f"videos/{camera}/to_timestamp": seconds[where] + n/fps}
                        if video else {}))
        first += n; seconds[where] += n/fps; told.texts.append(text); told.actions.append(actions); told.images.append(images)
    starts = np.cumsum([0, *LENGTHS])
    for where, members in enumerate(((0, 1), (2,))):
        tables = [pa.table(columns(eps[e][1], fps, e, starts[e], words.index(eps[e][0]), name)
                           | ({} if video else {camera: pngs(eps[e][2]), "observation.images.wrist_image": pngs(eps[e][2])}))
                           for e in members]
        path = folder/f"data/chunk-000/file-{where:03d}.parquet"
        path.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(pa.concat_tables(tables), path, row_group_size=4)
        if video:
            film(folder/f"videos/{camera}/chunk-000/file-{where:03d}.mp4", np.concatenate([eps[e][2] for e in members]), fps, "libsvtav1")
    (folder/"meta"/"episodes"/"chunk-000").mkdir(parents=True)
    pq.write_table(pa.Table.from_pylist(rows), folder/"meta/episodes/chunk-000/file-000.parquet")
    pd.DataFrame(dict(task_index=range(len(words))), index=words).to_parquet(folder/"meta"/"tasks.parquet")
    (folder/"meta"/"stats.json").write_text("{}")
    (folder/"meta"/"info.json").write_text(
        json.dumps(dict(codebase_version="v3.0", robot_type="franka", total_episodes=3, total_frames=first, total_tasks=2,
                        chunks_size=1000, data_files_size_in_mb=100, video_files_size_in_mb=500, fps=fps,
        splits=dict(train="0:3"), data_path="data/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet",
        video_path="videos/{video_key}/chunk-{chunk_index:03d}/file-{file_index:03d}.mp4" if video else None,
        features=features(camera, 64 if video else 32, "video" if video else "image", name))))
    declared(folder); return told

MAKE = {"calvin": calvin, "libero": libero, "lerobot2-video": partial(lerobot2, video=True),
        "lerobot2-images": partial(lerobot2, video=False, version="v2.0", camera="image", name="actions"),
        "lerobot3-video": partial(lerobot3, video=True), "lerobot3-images": partial(lerobot3, video=False)}

@pytest.fixture(scope="module")
def made(tmp_path_factory):
    "A dataset in each form."
    base = tmp_path_factory.mktemp("sets")
    return {k: make(base/k) for k, make in MAKE.items()}

@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("VLM4VLA_CACHE", str(tmp_path/"cache"))
    monkeypatch.delenv("VLM4VLA_DATA", raising=False)

@pytest.fixture
def spoilt(made, tmp_path): return lambda k: Path(shutil.copytree(made[k].folder, tmp_path/k))

def near(a, b, lossy): return np.abs(a.astype(int) - b.astype(int)).max() <= (6 if lossy else 0)

@pytest.mark.parametrize("kind", MAKE)
def test_what_was_written_is_what_is_read(made, kind):
    told = made[kind]
    assert find_format(told.folder).name == told.format
    r = find_format(told.folder).read(told.folder, None)
    assert [len(a) for a in told.actions] == list(r.lengths) and [r.instructions[t]
                                                                  for t in r.texts] == told.texts and len(r.instructions) == 2
    np.testing.assert_array_equal(r.actions, np.concatenate(told.actions))
    want = np.concatenate(told.images)
    for i in np.random.default_rng(0).permutation(len(r)): assert near(r.image(int(r.rows[i])), want[i], told.lossy), (kind, i)
    assert r.hash == find_format(told.folder).read(told.folder, None).hash
    assert (r.gripper or (1., 0.)) == (told.opens, told.closes)

@pytest.mark.parametrize("kind", MAKE)
def test_samples_from_the_cache_and_from_the_disk(made, kind, monkeypatch, tmp_path):
    told = made[kind]; suite = {"calvin": "calvin", "libero": "libero"}.get(kind, "simpler")
    kept = Samples(told.folder, 24, 4, via=28, suite=suite, gripper=(1., 0.))
    monkeypatch.setenv("VLM4VLA_IMAGE_CACHE", "0"); streamed = Samples(told.folder, 24, 4, via=28, suite=suite, gripper=(1., 0.))
    assert isinstance(streamed.frames, StreamedImages) and not isinstance(kept.frames, StreamedImages)
    a, b = (s.batch(range(len(s))) for s in (kept, streamed))
    for k in a: np.testing.assert_array_equal(a[k], b[k])
    # 1 is open in every suite
    actions = [np.c_[x[:, :6], np.where(x[:, 6] == told.opens, 1, 0)].astype(np.float32) for x in told.actions]
    want = [chunk(x, 4) for x in actions]
    np.testing.assert_array_equal(a["actions"], np.concatenate([c for c, _ in want]))
    np.testing.assert_array_equal(a["mask"], np.concatenate([m for _, m in want]))
    for i in (0, len(kept) - 1):
        assert near(a["images"][i], resize_images(resize_images(np.concatenate(told.images)[i:i+1], 28), 24)[0], told.lossy)
    for change in ("shift", "crop"):
        out = augment(a["images"][:3], change, range(3)); assert out.shape == (3, 24, 24, 3) and (out != a["images"][:3]).any()
    assert center_crop(a["images"][:3], "crop").shape == (3, 24, 24, 3)

def test_a_sample_of_calvin_reads_one_array_of_one_file(made, monkeypatch):
    import vlm4vla.data.calvin as m
    monkeypatch.setenv("VLM4VLA_IMAGE_CACHE", "0"); s = Samples(made["calvin"].folder, 24, 4, workers=1); asked = []
    member = m.calvin_member
    monkeypatch.setattr(m, "calvin_member", lambda folder, frame, name: asked.append((frame, name)) or member(folder, frame, name))
    read = lambda: int(Path("/proc/self/io").read_text().split()[1])
    s.batch([0]); uses = []
    for _ in range(3): before, n = read(), len(asked); s.batch([4, 9, 20]); uses.append(read() - before)
    used = min(uses) # the process may read something else meanwhile
    assert asked[n:] == [(3 + 4, "rgb_static"), (3 + 8 + 2, "rgb_static"), (3 + 8 + 6 + 8, "rgb_static")]
    whole = sum((made["calvin"].folder/"training"/f"episode_{i:07d}.npz").stat().st_size for i, _ in asked[n:])
    assert used < whole*.9, (used, whole)

def test_headers_of_calvins_arrays_are_parsed_one_at_a_time(made, monkeypatch):
    import ast; from vlm4vla.data.calvin import frames_of; from vlm4vla.data.readers import Faults
    parse, now, most = ast.literal_eval, [], [0]
    def slow(text):
        now.append(text); most[0] = max(most[0], len(now)); time.sleep(.002)
        try: return parse(text)
        finally: now.pop()
    monkeypatch.setattr(ast, "literal_eval", slow); monkeypatch.setattr("vlm4vla.data.calvin.cores", lambda: 4)
    assert len(frames_of(made["calvin"].folder/"training", np.arange(3, 12), Faults())) == 9 and most == [1]

def test_pictures_in_tables_are_unpacked_once_and_read_one_by_one(made, monkeypatch, tmp_path):
    import vlm4vla.data.lerobot as m
    monkeypatch.setenv("VLM4VLA_IMAGE_CACHE", "0"); told = made["lerobot3-images"]; replacing, cut = m.replacing, []
    def dies(path):
        if not cut: cut.append(path); raise KeyboardInterrupt
        return replacing(path)
    monkeypatch.setattr(m, "replacing", dies)
    with pytest.raises(KeyboardInterrupt): Samples(told.folder, 24, 4)
    s = Samples(told.folder, 32, 4, via=32)
    kept = lambda: {p: p.stat().st_mtime_ns for p in (tmp_path/"cache/readers").iterdir() if p.suffix in (".png", ".npy")}
    stamp = kept()
    np.testing.assert_array_equal(s.batch([0, 20, 8])["images"], np.concatenate(told.images)[[0, 20, 8]])
    monkeypatch.setattr(m.TableImages, "_group", lambda *a: pytest.fail("a table was read again"))
    Samples(told.folder, 32, 4, via=32).batch([5]); assert stamp == kept() and len(stamp) == 2

def test_calvins_actions_are_collected_once_and_a_start_that_was_cut_off_goes_on(made, monkeypatch):
    import vlm4vla.data.calvin as m
    monkeypatch.setattr(m, "_PART", 8); real, seen = m.frames_of, []
    def dies(folder, frames, faults):
        if len(seen) == 1: raise KeyboardInterrupt
        seen.append(len(frames)); return real(folder, frames, faults)
    monkeypatch.setattr(m, "frames_of", dies)
    with pytest.raises(KeyboardInterrupt): m.read_calvin(made["calvin"].folder)
    monkeypatch.setattr(m, "frames_of", lambda *a: seen.append(len(a[1])) or real(*a))
    r = m.read_calvin(made["calvin"].folder); assert seen == [8, 8, 5]
    np.testing.assert_array_equal(m.read_calvin(made["calvin"].folder).actions, r.actions); assert seen == [8, 8, 5]

def test_a_pickle_that_runs_code_is_refused(spoilt):
    folder = spoilt("calvin"); path = folder/"training/lang_annotations/auto_lang_ann.npy"
    class Evil: __reduce__ = lambda self: (os.mkdir, (str(folder/"evil"),))
    np.save(path, {"language": Evil()})
    with pytest.raises(UserError, match="cannot be read"): open_data(folder)
    assert not (folder/"evil").exists()

def test_overlapping_annotations_share_their_frames(made, spoilt):
    folder = spoilt("calvin"); path = folder/"training/lang_annotations/auto_lang_ann.npy"
    a = np.load(path, allow_pickle=True).item()
    a["info"]["indx"].append((5, 8))
    a["language"]["ann"].append("close the drawer")
    np.save(path, a)
    r = find_format(folder).read(folder, None)
    assert list(r.lengths) == [7, 5, 9, 4] and r.on_disk == 21
    np.testing.assert_array_equal(r.actions[21:], made["calvin"].actions[0][2:6])

def test_frames_that_do_nothing_are_left_out_for_libero(tmp_path):
    told = libero(tmp_path/"l", 16)
    with h5py.File(next((tmp_path/"l").glob("KITCHEN*")), "r+") as f:
        a = f["data/demo_0/actions"]
        a[0, :6] = 0
        a[2, :6] = 1e-6
        a[4, :6] = 0
        want = a[()]
    s = Samples(tmp_path/"l", 8, 3)
    # 0: before any move; 2 and 4: gripper as before
    np.testing.assert_array_equal(np.flatnonzero([(s.actions[:, :6] == w[:6].astype(np.float32)).all(1).any() for w in want]), [1, 3, 5, 6])
    assert (s.episode_ids == 0).sum() == 4 and len(s) == sum(LENGTHS) - 3
    np.testing.assert_array_equal(s.batch([0])["images"][0], resize_images(resize_images(told.images[0][1:2], 224), 8)[0])
    np.testing.assert_array_equal(s.batch([0])["actions"][0, :, 0], want[[1, 3, 5], 0].astype(np.float32))

def cut(path): os.truncate(path, path.stat().st_size//2)
def in_file(path, change):
    with h5py.File(path, "r+") as f: change(f)
def narrow(f): a = f["data/demo_0/actions"][()]; del f["data/demo_0/actions"]; f["data/demo_0/actions"] = a[:, :6]
def no_words(f): f["data"].attrs["problem_info"] = json.dumps(dict(language_instruction=" "))
def swap(path, old, new): path.write_text(path.read_text().replace(old, new))
def fewer_numbers(path):
    t = pq.read_table(path); i = t.column_names.index("action")
    pq.write_table(t.set_column(i, "action", pa.array([a[:5] for a in t["action"].to_pylist()])), path)
def silent_calvin(d):
    path = d/"training/lang_annotations/auto_lang_ann.npy"
    a = np.load(path, allow_pickle=True).item()
    a["language"]["ann"][1] = ""
    np.save(path, a)
def narrow_calvin(d):
    path = d/"training/episode_0000005.npz"
    z = dict(np.load(path))
    z["rel_actions"] = z["rel_actions"][:6]
    np.savez_compressed(path, **z)
KITCHEN = "KITCHEN_SCENE4_open_the_drawer_demo.hdf5"

# what is done to a dataset, what is said, which episodes are left
WRONG = {
    "calvin without annotations": ("calvin", lambda d: (d/"training/lang_annotations/auto_lang_ann.npy").unlink(),
                                   r"has no lang_annotations/auto_lang_ann.npy", []),
    "calvin, annotations cut off": ("calvin", lambda d: cut(d/"training/lang_annotations/auto_lang_ann.npy"),
                                    r"auto_lang_ann.npy cannot be read", []),
    "calvin, npz cut off": ("calvin", lambda d: cut(d/"training/episode_0000012.npz"), r"episode_0000012.npz is cut off or damaged",
                            [0, 2]),
    "calvin, npz missing": ("calvin", lambda d: (d/"training/episode_0000004.npz").unlink(), r"episode_0000004.npz is missing", [1, 2]),
    "calvin, action too narrow": ("calvin", narrow_calvin, r"The actions of episode_0000005.npz have 6 numbers", [1, 2]),
    "calvin, empty instruction": ("calvin", silent_calvin, r"1 of 3 episodes of .* have an empty instruction", [0, 2]),
    "libero without actions": ("libero", lambda d: in_file(d/KITCHEN, lambda f: f["data/demo_0"].__delitem__("actions")),
                               r"demo_0 has no actions", [0, 1]),
    "libero without images": ("libero", lambda d: in_file(d/KITCHEN, lambda f: f["data/demo_1/obs"].__delitem__("agentview_rgb")),
                                r"demo_1 has no obs/agentview_rgb", [0, 1]),
    "libero, action too narrow": ("libero", lambda d: in_file(d/KITCHEN, narrow), r"demo_0 have 6 numbers", [0, 1]),
    "libero, file cut off": ("libero", lambda d: cut(d/KITCHEN), r"KITCHEN.* is cut off: \d+ of its \d+ bytes", [0]),
    "libero, no HDF5": ("libero", lambda d: (d/"x.hdf5").write_bytes(b"hello"), r"x.hdf5 cannot be read", [0, 1, 2]),
    "libero, empty instruction": ("libero", lambda d: in_file(d/KITCHEN, no_words), r"2 of 3 episodes of .* have an empty instruction",
                                  [2]),
    "lerobot2, chunk missing": ("lerobot2-video", lambda d: shutil.rmtree(d/"data/chunk-001"),
                                r"lacks data/chunk-001/episode_000002.parquet", [0, 1]),
    "lerobot2, video missing": ("lerobot2-video", lambda d: next(d.glob("videos/chunk-000/*.image/episode_000001.mp4")).unlink(),
                               r"lacks videos/chunk-000/observation.images.image/episode_000001.mp4", [0, 2]),
    "lerobot2, table cut off": ("lerobot2-images", lambda d: cut(d/"data/chunk-000/episode_000000.parquet"),
                                r"episode_000000.parquet cannot be read", [1, 2]),
    "lerobot2, action too narrow": ("lerobot2-video", lambda d: fewer_numbers(d/"data/chunk-000/episode_000001.parquet"),
                                    r"episode_000001.parquet have 5 numbers", [0, 2]),
    "lerobot2, empty instruction": ("lerobot2-video", lambda d: swap(d/"meta/tasks.jsonl", "open the drawer", ""),
                                    r"2 of 3 episodes of .* have an empty instruction", [1]),
    "lerobot3, file missing": ("lerobot3-video", lambda d: (d/"data/chunk-000/file-001.parquet").unlink(),
                               r"lacks data/chunk-000/file-001.parquet", [0, 1]),
    "lerobot3, video missing": ("lerobot3-video", lambda d: next(d.rglob("file-000.mp4")).unlink(),
                               r"lacks videos/observation.images.image/chunk-000/file-000.mp4", [2]),
    "lerobot3, count": ("lerobot3-images", lambda d: swap(d/"meta/info.json", '"total_frames": 21', '"total_frames": 22'),
                        r"holds 21 frames where meta/info.json counts 22", [0, 1, 2]),
    "lerobot3, no table of episodes": ("lerobot3-images", lambda d: shutil.rmtree(d/"meta/episodes"),
                                       r"table of episodes of .* cannot be read", []),
    "lerobot, info is no JSON": ("lerobot3-images", lambda d: (d/"meta/info.json").write_text("{"), r"info.json cannot be read as JSON",
                                 []),
    "lerobot, unknown version": ("lerobot2-images", lambda d: swap(d/"meta/info.json", '"v2.0"', '"v1.6"'),
                                 r"is in version v1.6, and we read v2.0, v2.1, v3.0", []),
    "lerobot, no camera": ("lerobot2-video", lambda d: swap(d/"meta/info.json", '"dtype": "video"', '"dtype": "sound"'),
                           r"has no camera under a name we know", []),
}

@pytest.mark.parametrize("name", WRONG)
def test_what_is_wrong_is_one_sentence_and_nothing_else_is_lost(spoilt, name):
    kind, spoil, says, left = WRONG[name]; folder = spoilt(kind); spoil(folder)
    report = check_data(folder)
    assert len(report.faults) == 1, report.faults
    sentence = report.faults[0]
    assert re.search(says, sentence) and "\n" not in sentence and sentence.endswith(".") and "Traceback" not in sentence, sentence
    if left: assert report.facts["episodes"].startswith(str(len(left))) and len(report.ranges) == 7
    else: assert not report.facts
    if "empty instruction" in says:                       # can be left out: a training says so and goes on
        with pytest.warns(UserWarning, match=says): assert list(dict.fromkeys(Samples(folder, 8, 2).episode_ids)) == left
    else:
        with pytest.raises(UserError, match=says): Samples(folder, 8, 2)

# HDF5 keeps plain images without a checksum: a changed byte cannot be seen
@pytest.mark.parametrize("kind", ["calvin", "lerobot2-video", "lerobot3-images"])
def test_a_picture_that_is_broken_is_named_by_a_check_and_by_a_training(spoilt, kind, monkeypatch):
    folder = spoilt(kind)
    def ruin(path, at=.5, n=400):
        data = bytearray(path.read_bytes()); i = int(len(data)*at); data[i:i+n] = bytes(n); path.write_bytes(data)
    if kind == "calvin":
        path = folder/"training/episode_0000003.npz"
        z = dict(np.load(path))
        del z["rgb_static"]
        np.savez_compressed(path, **z)
        says = "episode_0000003.npz has no rgb_static; it holds rgb_gripper"
    elif kind == "lerobot2-video":
        (folder/"videos/chunk-000/observation.images.image/episode_000000.mp4").write_bytes(b"x"*500)
        says = "episode_000000.mp4 cannot be read"
    else: ruin(folder/"data/chunk-000/file-000.parquet", .25); says = "file-000.parquet"
    report = check_data(folder, every=True)
    assert any(says in f for f in report.faults) and report.facts["episodes"].startswith("3" if kind == "lerobot3-images"
        else "2"), report.faults
    monkeypatch.setenv("VLM4VLA_IMAGE_CACHE", "0")
    with pytest.raises(UserError, match=says): s = Samples(folder, 8, 2); s.batch(range(len(s)))

def test_a_folder_of_nothing_we_know(tmp_path):
    for path, says in ((tmp_path/"nowhere", "There is nothing at"), (tmp_path, "holds no dataset we can read")):
        with pytest.raises(UserError, match=says): open_data(path)
        assert len(check_data(path).faults) == 1
    half = tmp_path/"half/data/chunk-000"; half.mkdir(parents=True); (half/"file-000.parquet").touch()
    with pytest.raises(UserError, match="half a LeRobot dataset"): find_format(tmp_path/"half")

def test_data_of_another_suite_is_refused(made):
    with pytest.raises(UserError, match="holds demonstrations of calvin and the experiment is of libero"):
        Samples(made["calvin"].folder, 8, 2, suite="libero")

def test_a_dataset_is_found_by_path_and_by_name(made, tmp_path, monkeypatch):
    there = made["calvin"].folder
    assert data_folder(str(there)) == there
    with pytest.raises(UserError, match="put the dataset .* VLM4VLA_DATA"): data_folder("calvin-abc")
    with pytest.raises(UserError, match="There is nothing at"): data_folder(str(tmp_path/"gone"))
    (tmp_path/"b").mkdir(); (tmp_path/"b"/"calvin-abc").symlink_to(there)
    monkeypatch.setenv("VLM4VLA_DATA", os.pathsep.join([str(tmp_path/"a"), str(tmp_path/"b")]))
    assert data_folder("calvin-abc").resolve() == there
    with pytest.raises(UserError, match="did you mean 'calvin-abc'"): data_folder("calvin-abd")

@pytest.mark.parametrize("kind", MAKE)
def test_the_command_says_what_a_dataset_is_without_torch(made, without, kind):
    code = f"import sys; from vlm4vla.cli import main; sys.exit(main(['data', 'check', {str(made[kind].folder)!r}, '--all']))"
    done = without(["torch", "transformers", "pybullet", "pandas"] if kind in ("calvin", "libero")
                   else ["torch", "transformers", "pybullet"], code)
    assert done.returncode == 0, done.stdout + done.stderr
    for words in ("21", "2: “open the drawer”", "gripper", "Nothing is wrong with it."): assert words in done.stdout, done.stdout

@pytest.mark.parametrize("name", ["calvin, npz cut off", "libero without actions", "lerobot2, chunk missing"])
def test_the_command_says_what_is_wrong_with_status_1(spoilt, python, name):
    kind, spoil, says, _ = WRONG[name]; folder = spoilt(kind); spoil(folder)
    done = python("-m", "vlm4vla.cli", "data", "check", str(folder))
    assert done.returncode == 1 and re.search(says, done.stdout) and "Traceback" not in done.stdout + done.stderr, done.stdout + done.stderr
    assert python("-m", "vlm4vla.cli", "data", "check", str(folder/"nothing")).returncode == 1

@pytest.mark.parametrize("kind", MAKE)
def test_three_steps_of_training_from_each_format(made, kind, tmp_path, monkeypatch):
    pytest.importorskip("torch")
    from vlm4vla.catalog.benchmarks import benchmarks
    from vlm4vla.catalog.experiments import Experiment, Variant, experiments, variants
    from vlm4vla.policy.train import train
    told = made[kind]; suite = {"calvin": "calvin", "libero": "libero"}.get(kind, "simpler"); name = f"from-{kind}"
    monkeypatch.setenv("VLM4VLA_DATA", str(told.folder.parent)); monkeypatch.setenv("VLM4VLA_IMAGE_CACHE", "0")
    base = benchmarks["grinningface"]; opened = dict(calvin=-1.).get(suite, 0.)
    try:
        benchmarks.add(replace(base, name=name, suite=suite, demos=kind, action_lo=(-1.,)*6 + (opened,), action_hi=(1.,)*7))
        variants.add(Variant("three-steps", "For this test.",
                             dict(steps=3, batch_size=4, warmup_steps=1, checkpoint_every=2,
                                  augment="shift" if suite == "calvin" else "crop")))
        e = Experiment("tiny-qwen3-vl", name, "three-steps", 0)
        policy, log, inputs = train(e, tmp_path/"run")
        assert [r["step"] for r in log if r["name"] == "loss"] == [0, 2] and all(np.isfinite(r["value"]) for r in log)
        assert (policy.stats.opened, policy.stats.closed) == (1., opened) and inputs["stats"] == policy.stats.hash
        monkeypatch.setenv("VLM4VLA_IMAGE_CACHE", "8")
        again, log2, inputs2 = train(e, tmp_path/"again")
        assert inputs2 == inputs and log2 == log                    # decoded beforehand or read frame by frame
    finally: benchmarks.pop(name, None); variants.pop("three-steps", None)

def test_what_is_wrong_with_a_state_is_no_fault_of_the_dataset(tmp_path):
    "A hole, a state of zero frames, a camera whose image is cut off: said beside it, and the dataset can be used."
    from vlm4vla.data import formats
    from vlm4vla.data.pictures import decode_image
    from vlm4vla.data.recording import record
    record(tmp_path/"bars", 2, lambda b: [dict(task="push", kind="demo", images=np.zeros((6, 32, 32, 3), np.uint8) + 9,
                                              actions=np.c_[np.full((6, 6), .1*(b + 1)), np.arange(6) % 2].astype(np.float32))],
           fps=10, settings={})
    r = open_data(tmp_path/"bars"); n = len(r)
    hole = np.where(np.arange(n)[:, None] == 3, np.nan, 1.)
    said = lambda state=None, wrist=None: formats._besides(replace(r, offers=lambda _, k: dict(state=state, wrist=wrist)[k]), False)
    facts, rows = said((hole, ""), (lambda row: decode_image(b"\x89PNG cut off", f"Image {row}"), ""))
    assert facts["state"].startswith("1 numbers; The state of 1 frames") and "1 of 2 episodes are left out" in facts["state"]
    assert facts["wrist"].startswith("none could be read; Image 0") and len(rows) == 1
    assert said((np.full((n, 3), np.inf), ""))[0]["state"].startswith("cannot be used; ")
    assert said() == (dict(state="none that is known by name", wrist="none that is known by name"), [])
