"""What a LeRobot dataset says twice is compared: an episode about which it says two things is left out and named, and no frame
gets another's image, words or numbers."""
import json, re, shutil, warnings
from fractions import Fraction
from functools import partial
from pathlib import Path
import numpy as np, pytest
import pyarrow as pa, pyarrow.parquet as pq

av = pytest.importorskip("av"); pytest.importorskip("h5py")
from test_readers import LENGTHS, MAKE, TASKS, cache, features, film, lerobot2, lerobot3, near
from vlm4vla.core import UserError
from vlm4vla.data.formats import check_data
from vlm4vla.data.lerobot import VideoReader, read_lerobot
from vlm4vla.data.readers import Faults
from vlm4vla.data.samples import Samples

CAMERA = "observation.images.image"
KINDS = {k: MAKE[k] for k in ("lerobot2-video", "lerobot3-video", "lerobot3-images")} | {"lerobot2-images": partial(lerobot2, video=False)}

@pytest.fixture(scope="module")
def made(tmp_path_factory):
    base = tmp_path_factory.mktemp("sets")
    return {k: make(base/k) for k, make in KINDS.items()}

@pytest.fixture
def spoilt(made, tmp_path): return lambda k: Path(shutil.copytree(made[k].folder, tmp_path/k))

def tables(folder): return sorted(folder.glob("data/chunk-*/*.parquet"))
def films(folder): return sorted(p for p in folder.rglob("*.mp4") if CAMERA in str(p))
def change(path, **columns):
    "Write a table again; a column may be given by a function of its values, or taken away."
    t = pq.read_table(path)
    for k, v in columns.items():
        i, old = t.schema.get_field_index(k), t.schema.field(k).type if k in t.schema.names else None
        t = t.remove_column(i) if v is None else t.set_column(i, k, v if isinstance(v, pa.Array) else pa.array(v(t[k].to_pylist()), old))
    pq.write_table(t, path)
def info(folder, **entries):
    path = folder/"meta/info.json"; found = json.loads(path.read_text())
    path.write_text(json.dumps({k: v for k, v in (found | entries).items() if v is not ...}))
def episodes(folder, f):
    "Change the rows of the table of episodes, whatever the version."
    path = folder/"meta/episodes.jsonl"
    if path.is_file():
        path.write_text("".join(json.dumps(r) + "\n" for r in f([json.loads(l) for l in path.read_text().splitlines()])))
        return
    path = folder/"meta/episodes/chunk-000/file-000.parquet"; pq.write_table(pa.Table.from_pylist(f(pq.read_table(path).to_pylist())), path)
def tasks(folder, f):
    path = folder/"meta/tasks.jsonl"
    path.write_text("".join(json.dumps(r) + "\n" for r in f([json.loads(l) for l in path.read_text().splitlines()])))
def at(i, v): return lambda x: [v if k == i else o for k, o in enumerate(x)]
def row(i, **v): return lambda x: [r | v if k == i else r for k, r in enumerate(x)]
def again(path, images, fps, pts=None):
    "A video made again, with times in frames where they are given."
    with av.open(str(path), "w") as out:
        s = out.add_stream("libx264", rate=fps, options={"g": "2", "crf": "8"})
        s.height, s.width, s.pix_fmt = *images.shape[1:3], "yuv420p"
        for k, im in zip(pts if pts is not None else range(len(images)), images):
            f = av.VideoFrame.from_ndarray(im, format="rgb24"); f.pts, f.time_base = k, Fraction(1, fps); out.mux(s.encode(f))
        out.mux(s.encode())

def says_and_leaves(folder, told, says, left, trains=True):
    "What a check says, and what is left; what a training gets of it is right, or it stops with a sentence."
    faults = Faults(gather=True)
    try: r = read_lerobot(folder, faults)
    except UserError as e: faults.append(str(e)); r = None
    assert any(re.search(says, f) for f in faults), list(faults)
    assert not any("again" in f for f in faults) and all(f.endswith(".") and "\n" not in f for f in faults), list(faults)
    assert (list(dict.fromkeys(r.numbers.tolist())) if r else []) == left, list(faults)
    assert any(re.search(says, f) for f in check_data(folder).faults)
    with warnings.catch_warnings(record=True) as heard:
        warnings.simplefilter("always")
        try: r = read_lerobot(folder)
        except UserError as e: assert not (trains and left) and re.search(says, str(e)) or not left, str(e); return
    if not trains: return right_or_refused(r, told)
    assert heard and list(dict.fromkeys(r.numbers.tolist())) == left; right_or_refused(r, told, every=True)

def right_or_refused(r, told, every=False):
    "Every frame that a training is given is the one that was written, or none is given."
    ends, given = np.cumsum(r.lengths), []
    for e, (a, b) in enumerate(zip(ends - r.lengths, ends)):
        n = int(r.numbers[e]); assert r.instructions[r.texts[e]] == told.texts[n]
        for k, i in enumerate(range(a, b)):
            np.testing.assert_array_equal(r.actions[i], told.actions[n][k])
            try: given.append(near(r.image(int(r.rows[i])), told.images[n][k], told.lossy))
            except UserError: assert not every
    assert all(given), given

def both(*pairs): return [(k, *p) for p in pairs for k in ("lerobot2", "lerobot3")]
V2, V3, I2, I3 = "lerobot2-video", "lerobot3-video", "lerobot2-images", "lerobot3-images"
FIRST = lambda d: tables(d)[0]
NAN = float("nan")
LIST = dict(episode_index=1, tasks=[TASKS[1]], length=LENGTHS[1])

# what is done to a dataset; what is said; which episodes are left
ROWS = {
    "frame numbers out of order": (I3, lambda d: change(FIRST(d), frame_index=lambda x: x[:2] + [3, 2] + x[4:]),
                                   r"episode 0 of .*file-000.parquet, frame_index of row 2 is 3", [1, 2]),
    "frame numbers from one": (V2, lambda d: change(FIRST(d), frame_index=lambda x: [i + 1 for i in x]),
                               r"episode 0 .* frame_index of row 0 is 1", [1, 2]),
    "a frame number is null": (V3, lambda d: change(FIRST(d), frame_index=at(9, None)), r"episode 1 .* frame_index of frame 2 is null",
                               [0, 2]),
    "a clock that is slow": (V2, lambda d: change(FIRST(d), timestamp=lambda x: [t*1.1 for t in x]),
                             r"episode 0 .* timestamp of frame 5 is 1.1 s after that of the first, and frame_index ÷ fps is 1 s", [1, 2]),
    "a time is NaN": (V3, lambda d: change(FIRST(d), timestamp=at(3, NAN)), r"episode 0 .* timestamp of frame 3 is null", [1, 2]),
    "the same moment twice": (I3, lambda d: change(FIRST(d), timestamp=at(3, .4)), r"episode 0 .* timestamp of frame 3 is 0.4 s", [1, 2]),
    "index is not counted up": (I2, lambda d: change(FIRST(d), index=at(3, 99)),
                                r"episode 0 .* index does not count its rows up by one \(frame 3 has 99\)", [1, 2]),
    "an action is infinite": (V2, lambda d: change(FIRST(d), action=at(2, [0., 0., 0., 0., float("inf"), 0., 0.])),
                              r"episode 0 .* the action of frame 2 is not seven finite numbers", [1, 2]),
    "an action is null": (V3, lambda d: change(FIRST(d), action=at(8, None)),
                          r"episode 1 .* the action of frame 1 is not seven finite numbers", [0, 2]),
    "a number in an action is null": (V3, lambda d: change(FIRST(d), action=at(8, [None, 0., 0., 0., 0., 0., 0.])),
                                      r"episode 1 .* the action of frame 1 is not seven", [0, 2]),
    "an action of another width": (I3, lambda d: change(FIRST(d), action=at(8, [0.]*5)),
                                   r"episode 1 .* the action of frame 1 is not seven", [0, 2]),
    "an episode number is null": (V3, lambda d: change(FIRST(d), episode_index=at(8, None)),
                                  r"1 rows have no episode_index \(the first is row 8\)", [0, 2]),
    "a task number is null": (I2, lambda d: change(FIRST(d), task_index=at(2, None)), r"episode 0 .* task_index of frame 2 is null",
                              [1, 2]),
    "a task that does not exist": (I3, lambda d: change(FIRST(d), task_index=at(2, 7)),
                                   r"episode 0 .* task_index of frame 2 is 7, which the table of tasks does not have", [1, 2]),
    "rows of an episode that is not listed": (I3, lambda d: change(FIRST(d), episode_index=lambda x: [9 if e == 1 else e for e in x]),
                                              r"file-000.parquet holds 5 rows of episode 9, which is not in meta/episodes", [0, 2]),
    "rows of an episode of another table": (I3, lambda d: change(FIRST(d), episode_index=lambda x: [2 if e == 1 else e for e in x]),
                                            r"episode 2 of .*file-000.parquet, meta/episodes places it in data/chunk-000/file-001.parquet",
                                            [0, 2]),
    "a row too many": (V2, lambda d: episodes(d, row(1, length=4)),
                       r"episode 1 .* meta/episodes.jsonl says that it has 4 frames, and 5 rows are there", [0, 2]),
    "task of every row is another": (I2, lambda d: change(FIRST(d), task_index=lambda x: [1 - t for t in x]),
                                     r"episode 0 .* its rows are of the task 'push the red block to the left', and meta/episodes.jsonl "
                                     r"names 'open the drawer'", [1, 2]),
    "from and to do not fit the length": (V3, lambda d: episodes(d, row(1, dataset_to_index=13)),
                                          r"episode 1 .* says that it goes from index 7 to 13 and has 5 frames", [0, 2]),
}
LISTS = {
    "an episode twice": (I2, lambda d: episodes(d, lambda r: r + [r[1]]), r"meta/episodes.jsonl of .* lists episode 1 twice", [0, 2]),
    "a length is negative": (V3, lambda d: episodes(d, row(1, length=-5)),
                             r"The entry 'length' of episode 1, row 1 of .* is -5; a whole number of at least 0 belongs there", [0, 2]),
    "a length is a word": (V2, lambda d: episodes(d, row(1, length="5")), r"The entry 'length' of episode 1, line 2 of .* is the text '5'",
                           [0, 2]),
    "a length is absent": (V2, lambda d: episodes(d, lambda r: [r[0], {"episode_index": 1}, r[2]]),
                           r"The entry 'length' of episode 1, line 2 .* is absent", [0, 2]),
    "an episode has no number": (I2, lambda d: episodes(d, row(1, episode_index=None)),
                                 r"The entry 'episode_index' of line 2 of .* is null", [0, 2]),
    "a line is no JSON": (
        V2, lambda d: (p := d/"meta/episodes.jsonl").write_text(p.read_text().replace('{"episode_index": 1', '{"episode_index" 1')),
        r"Line 2 of .*episodes.jsonl cannot be read as JSON", [0, 2]),
    "a video has no beginning": (V3, lambda d: episodes(d, row(0, **{f"videos/{CAMERA}/from_timestamp": None})),
                                r"The entry 'videos/.*/from_timestamp' of episode 0, row 0 .* is null", [1, 2]),
    "two episodes begin at the same second": (
        V3, lambda d: episodes(d, row(1, **{f"videos/{CAMERA}/from_timestamp": 0., f"videos/{CAMERA}/to_timestamp": 1.})),
        r"episode 1 .* lets it begin at second 0.00 of file-000.mp4, and episode 0 before it ends at 1.40", [0, 2]),
    "an episode begins a frame late": (
        V3, lambda d: episodes(d, row(1, **{f"videos/{CAMERA}/from_timestamp": 1.6, f"videos/{CAMERA}/to_timestamp": 2.6})),
        r"episode 1 .* begin at second 1.60", [0, 2]),
    "an episode is longer on its video": (V3, lambda d: episodes(d, row(1, **{f"videos/{CAMERA}/to_timestamp": 2.8})),
                                         r"episode 1 .* goes from second 1.40 to 2.80 and has 5 frames", [0, 2]),
}
FILMS = { # the video of the first episode, or of the first two
    "three times as fast": lambda p, im, fps: again(p, im, 3*fps), "half as fast": lambda p, im,
    fps: again(p, im, fps, range(0, 2*len(im), 2)),
    "a frame short": lambda p, im, fps: again(p, im[:-1], fps), "a frame too many": lambda p, im,
    fps: again(p, np.concatenate([im[:1], im]), fps),
    "a hole": lambda p, im, fps: again(p, np.delete(im, 3, 0), fps, np.delete(np.arange(len(im)), 3)), "begins late": lambda p, im,
    fps: again(p, im, fps, np.arange(len(im)) + 2),
    "irregular": lambda p, im, fps: again(p, im, 10*fps, 10*np.arange(len(im)) + 7*(np.arange(len(im)) == 3)), "cut off": lambda p, im,
    fps: p.write_bytes(p.read_bytes()[:-200]),
    "a pointer": lambda p, im, fps: p.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n"), "empty": lambda p,
    im, fps: p.write_bytes(b""),
}

@pytest.mark.parametrize("name", [*ROWS, *LISTS])
def test_an_episode_about_which_two_things_are_said_is_left_out_and_named(made, spoilt, name):
    kind, spoil, says, left = (ROWS | LISTS)[name]; folder = spoilt(kind); spoil(folder)
    says_and_leaves(folder, made[kind], says, left)

@pytest.mark.parametrize("kind", [V2, V3])
@pytest.mark.parametrize("name", FILMS)
def test_a_film_that_does_not_fit_its_table(made, spoilt, kind, name):
    folder = spoilt(kind); told = made[kind]; on = [0] if kind == V2 else [0, 1]; path = films(folder)[0]
    FILMS[name](path, np.concatenate([told.images[i] for i in on]), 5)
    faults = Faults(gather=True); r = read_lerobot(folder, faults); left = set(r.numbers.tolist())
    assert len(faults) >= (name != "irregular") and all(path.name in f and f.endswith(".") for f in faults), faults
    assert 2 in left and (name in ("irregular", "a hole") or 0 not in left), (left, faults)
    right_or_refused(r, told, every=True)                               # what a check leaves is right, every image of it
    right_or_refused(read_lerobot(folder), told)                        # and a training, which has not looked, gets no wrong one

ASIDE = { # what is said, and costs nothing
    "index from zero in each table": (I2, lambda d: change(tables(d)[1], index=lambda x: list(range(len(x)))),
                                      r"index of episode 1 of .* begins at 0, and the episodes before it have 7 frames"),
    "a list that begins elsewhere": (V3, lambda d: episodes(d, row(1, dataset_from_index=8, dataset_to_index=13)),
                                     r"dataset_from_index of episode 1 .* begins at 8"),
    "a clock on the wall": (V2, lambda d: change(tables(d)[1], timestamp=pa.array(1.7e9 + np.arange(5)/5)),
                            r"timestamp of episode 1 of .* begins at 1700000000 s and not at 0"),
    "video.fps": (V3, lambda d: info(d, features=features(CAMERA, 64, "video", "action")
                                     | {CAMERA: dict(dtype="video", shape=[64, 64, 3], info={"video.fps": 30.0})}),
                                     r"says 5 frames per second under fps and 30 under features"),
    "tasks are fewer": (I3, lambda d: info(d, total_tasks=3), r"holds 2 tasks where meta/info.json counts 3"),
    "a table that nobody names": (I3, lambda d: shutil.copy(FIRST(d), FIRST(d).with_name("file-007.parquet")),
                                  r"1 tables of .* named by no row of meta/episodes \(the first is data/chunk-000/file-007.parquet\)"),
    "eight names for seven numbers": (
        I3, lambda d: info(d, features=features(CAMERA, 32, "image", "action")
                           | dict(action=dict(dtype="float32", shape=[7], names=list("abcdefgh")))),
                           r"gives features.action the names of 8 numbers, and its rows have 7"),
    "a feature that is null": (I2, lambda d: info(d, features=features(CAMERA, 32, "image", "action") | dict(more=None)),
                               r"The entry 'more' of features in .*info.json is null; an object belongs there"),
    "a split that ends later": (V3, lambda d: info(d, splits=dict(train="0:9")),
                                r"The entry 'train' of splits in .* goes to episode 8, and meta/episodes ends at 2"),
}

@pytest.mark.parametrize("name", ASIDE)
def test_what_is_said_twice_and_not_needed_costs_nothing(made, spoilt, name):
    kind, spoil, says = ASIDE[name]; folder = spoilt(kind); spoil(folder)
    says_and_leaves(folder, made[kind], says, [0, 1, 2])

SAME = { # nothing is wrong with these, and nothing is said
    "the list in another order": (V3, lambda d: episodes(d, lambda r: r[::-1])),
    "rows of two episodes between each other": (I3, lambda d: (t := pq.read_table(FIRST(d)))
                                                and pq.write_table(t.take([0, 7, 1, 8, 2, 9, 3, 10, 4, 11, 5, 6]), FIRST(d))),
    "more columns": (I2, lambda d: [
        pq.write_table(pq.read_table(p).append_column("action.more", pa.array([["x"]]*n)).append_column("note", pa.array([None]*n)), p)
        for p, n in zip(tables(d), LENGTHS)]),
    "numbers that are needed by nobody are absent": (
        V2, lambda d: [change(p, timestamp=None, frame_index=None, index=None) for p in tables(d)]),
    "numbers of another type": (
        I3, lambda d: [change(p, task_index=pa.array(np.array(pq.read_table(p)["task_index"], float)),
                              frame_index=pa.array(np.array(pq.read_table(p)["frame_index"]), pa.uint8())) for p in tables(d)]),
    "numbers in lists of one": (
        I3, lambda d: [change(p, timestamp=pa.array([[v] for v in pq.read_table(p)["timestamp"].to_pylist()])) for p in tables(d)]),
    "blanks around the words": (V2, lambda d: tasks(d, lambda r: [t | dict(task=f"  {t['task']}\n") for t in r])),
    "two numbers for one task": (I2, lambda d: tasks(d, lambda r: r + [dict(task_index=2, task="open the drawer")])
                                 or info(d, total_tasks=3) or change(FIRST(d), task_index=lambda x: x[:3] + [2]*4)),
    "a list without tasks": (V2, lambda d: episodes(d, lambda r: [{k: v for k, v in e.items() if k != "tasks"} for e in r])),
    "marks before the text": (
        V2, lambda d: [(p := d/"meta"/n).write_text("\ufeff" + p.read_text(), encoding="utf-8")
                       for n in ("info.json", "tasks.jsonl", "episodes.jsonl")]),
    "UTF-16": (V2, lambda d: [(p := d/"meta"/n).write_text(p.read_text(), encoding="utf-16")
                              for n in ("info.json", "tasks.jsonl", "episodes.jsonl")]),
}

@pytest.mark.parametrize("name", SAME)
def test_what_is_only_written_in_another_way_is_read_as_it_is(made, spoilt, name):
    kind, spoil = SAME[name]; folder = spoilt(kind); spoil(folder); faults = Faults(gather=True)
    r = read_lerobot(folder, faults); assert not faults and list(r.numbers) == [0, 1, 2] and sorted(r.instructions) == sorted(set(TASKS))
    if name != "rows of two episodes between each other": assert not check_data(folder).faults
    right_or_refused(r, made[kind], every=True)

def test_each_frame_has_the_words_of_its_own_row(made, spoilt):
    folder = spoilt(I2); change(FIRST(folder), task_index=lambda x: [0]*4 + [1]*3)
    says = "Episode 0 of .* has rows of the task 'push the red block to the left', which meta/episodes.jsonl does not name"
    assert any(re.search(says, f) for f in check_data(folder).faults)
    episodes(folder, row(0, tasks=sorted(set(TASKS)))); assert not check_data(folder).faults
    r = read_lerobot(folder); words = [r.instructions[t] for t in r.texts[r.episode]]
    assert words[:7] == ["open the drawer"]*4 + ["push the red block to the left"]*3 and list(r.lengths) == [4, 3, 5,
        9] and list(r.numbers) == [0, 0, 1, 2]
    assert r.last[0] == 3 and "The task changes within an episode 1 times" in r.notes[-1]

@pytest.mark.parametrize("text", ["nan", "NaN", "None", "null", " ", None, float("nan"), 5])
def test_a_missing_instruction_is_no_word(made, spoilt, text):
    folder = spoilt(V2)
    tasks(folder, lambda r: [t | dict(task=text if t["task"] == "open the drawer" else t["task"]) for t in r])
    episodes(folder, lambda r: [e | dict(tasks=[]) for e in r])
    report = check_data(folder)
    assert report.faults and report.facts["episodes"].startswith("1,") and "nan" not in report.facts["instructions"].lower()
    with pytest.warns(UserWarning): r = read_lerobot(folder)
    assert r.instructions == ("push the red block to the left",) and list(r.numbers) == [1]

def test_a_missing_instruction_in_parquet_is_no_word(made, spoilt):
    folder = spoilt(I3)
    path = folder/"meta/tasks.parquet"
    pq.write_table(pa.table(dict(task=["open the drawer", None], task_index=[0, 1])), path)
    with pytest.warns(UserWarning, match="1 of 3 episodes of .* have an empty instruction"): r = read_lerobot(folder)
    assert r.instructions == ("open the drawer",)
    pq.write_table(pa.table(dict(task=["open the drawer", "close it", "open it"], task_index=[0, 1, 1])), path)
    assert any("have number 1 twice, as 'close it' and 'open it'" in f for f in check_data(folder).faults)

@pytest.mark.parametrize("splits, numbers, says",
                         [(dict(train="0:2"), [0, 1], ""), (dict(train="1:3", val="0:1"), [1, 2], ""), ({}, [0, 1, 2], ""),
                          (None, [0, 1, 2], ""),
    (dict(test="0:3"), [], "names test and no train"), (dict(train=[0, 1]), [], "is a list; two numbers belong there"),
    (dict(train="all"), [], "is the text 'all'"), ("train", [], "The entry 'splits' .* is the text 'train'")])
def test_only_the_episodes_to_learn_from_are_read(made, spoilt, splits, numbers, says):
    folder = spoilt(V3); info(folder, splits=splits)
    if says:
        with pytest.raises(UserError, match=says): read_lerobot(folder)
        assert any(re.search(says, f) for f in check_data(folder).faults); return
    r = read_lerobot(folder); assert list(r.numbers) == numbers and not check_data(folder).faults
    assert (len(numbers) == 3) == (r.hash == read_lerobot(made[V3].folder, None).hash or "outside" not in " ".join(r.notes))
    right_or_refused(r, made[V3], every=True)

VALUES = [..., None, "many", [], {}, True, -1, 0, 1.5, float("nan")]
@pytest.mark.parametrize("kind", [V2, I3])
@pytest.mark.parametrize("key",
                         ["features", "data_path", "video_path", "fps", "total_frames", "total_episodes", "total_tasks", "chunks_size",
                          "codebase_version", "splits"])
def test_an_entry_of_another_kind_is_a_sentence(made, spoilt, kind, key):
    folder = spoilt(kind)
    for v in VALUES:
        info(folder, **(json.loads((made[kind].folder/"meta/info.json").read_text()) | {key: v}))
        if v is ...: p = folder/"meta/info.json"; p.write_text(json.dumps({k: x for k, x in json.loads(p.read_text()).items() if k != key}))
        faults = check_data(folder).faults
        assert all("again" not in f and f.endswith(".") for f in faults), faults
        if faults: assert any(key in f or "info.json" in f or "lacks" in f for f in faults), faults

FILES = {"missing": lambda p: p.unlink(), "empty": lambda p: p.write_bytes(b""), "cut off": lambda p: p.write_bytes(p.read_bytes()[:-9]),
         "a pointer": lambda p: p.write_text("version https://git-lfs.github.com/spec/v1\n"),
         "a web page": lambda p: p.write_text("<!DOCTYPE html><html></html>"), "a folder": lambda p: p.unlink() or p.mkdir(),
         "noise": lambda p: p.write_bytes(bytes(range(256)))}
SAID = {"missing": "lacks|not there|no chunk", "empty": "is empty", "cut off": "cut off|as JSON|tells|Line", "a pointer": "git lfs pull",
        "a web page": "web page", "a folder": "is a folder|lacks|no chunk", "noise": "is not a Parquet|as JSON|cannot be read"}

@pytest.mark.parametrize("how", FILES)
@pytest.mark.parametrize("kind, name",
                         [(V2, "meta/info.json"), (V2, "meta/tasks.jsonl"), (V2, "meta/episodes.jsonl"), (V3, "meta/tasks.parquet"),
                          (V3, "meta/episodes/chunk-000/file-000.parquet"), (V3, "data/chunk-000/file-000.parquet")])
def test_what_is_wrong_with_a_file_has_its_own_words(spoilt, kind, name, how):
    folder = spoilt(kind); FILES[how](folder/name)
    faults = check_data(folder).faults
    assert any(re.search(SAID[how], f) for f in faults) or name.endswith("info.json") and how in ("missing", "a folder"), faults
    assert not any("again" in f for f in faults) or how in ("empty", "cut off"), faults
    with pytest.raises(UserError) if not (name.endswith("jsonl") and how == "cut off") else warnings.catch_warnings():
        warnings.simplefilter("ignore")
        read_lerobot(folder)

@pytest.mark.parametrize("column, says",
                         [(dict(task_index=None), "has no column task_index"), (dict(action=None), "has no column action"),
                          (dict(episode_index=pa.array(["a"]*12)), "string where numbers belong"),
    (dict(action=pa.array([["a"]*7]*12)), "string where numbers belong"),
    (dict(action=pa.array([[[0.]*7]]*12)), "list.* where numbers belong")])
def test_a_column_of_another_kind_is_a_sentence(spoilt, column, says):
    folder = spoilt(V3); change(FIRST(folder), **column); faults = check_data(folder).faults
    assert len(faults) == 1 and re.search(says, faults[0]), faults

def test_a_picture_that_is_null_is_named(made, spoilt):
    folder = spoilt(I2); change(FIRST(folder), **{CAMERA: lambda x: x[:3] + [dict(bytes=None, path="gone.png")] + x[4:]})
    assert any("Row 3 of" in f and "has no image in" in f for f in check_data(folder, every=True).faults)
    right_or_refused(read_lerobot(folder), made[I2])

def test_pictures_of_another_size_than_they_are_said_to_have(spoilt):
    folder = spoilt(I3); info(folder, features=features(CAMERA, 48, "image", "action"))
    assert any("are 48 × 48; the first is 32 × 32" in f for f in check_data(folder).faults)

def test_many_tables_are_kept_as_they_were_found(made, spoilt, monkeypatch):
    import vlm4vla.data.lerobot as m
    monkeypatch.setattr(m, "MANY", 1); folder = spoilt(I2); change(FIRST(folder), frame_index=lambda x: x[::-1])
    for _ in range(2):
        with pytest.warns(UserWarning, match="1 episodes of .* are left out .the first is number 0.; `vlm4vla data check"):
            r = read_lerobot(folder)
        assert list(r.numbers) == [1, 2]; right_or_refused(r, made[I2], every=True)
    monkeypatch.setattr(m, "_collect", lambda *a: pytest.fail("read again")); read_lerobot(folder)

@pytest.mark.parametrize("gop, bf", [(2, 0), (12, 0), (250, 3), (8, 2)])
def test_a_film_in_any_order_shows_what_it_shows_in_order(tmp_path, gop, bf):
    path = tmp_path/"a.mp4"; rng = np.random.default_rng(0); images = rng.integers(0, 255, (60, 32, 32, 3), np.uint8)
    with av.open(str(path), "w") as out:
        s = out.add_stream("libx264", rate=10, options={"g": str(gop), "bf": str(bf), "crf": "8"})
        s.height = s.width = 32
        s.pix_fmt = "yuv420p"
        for im in images: out.mux(s.encode(av.VideoFrame.from_ndarray(im, format="rgb24")))
        out.mux(s.encode())
    with av.open(str(path)) as c: plain = [f.to_ndarray(format="rgb24") for f in c.decode(video=0)]
    f, order = VideoReader(path), [*rng.permutation(60), *range(60), *np.repeat(rng.permutation(60), 2)]
    for i in order: np.testing.assert_array_equal(f(float(np.float32(i/10)), 10), plain[i])

def test_a_check_says_what_a_training_stops_at(spoilt):
    folder = spoilt(V2); episodes(folder, lambda r: r[:2])
    with pytest.warns(UserWarning, match="1 tables of"), pytest.raises(UserError,
                                                                       match="holds 12 frames where meta/info.json counts 21") as e:
        read_lerobot(folder)
    assert str(e.value) in check_data(folder).faults

def test_a_table_without_rows_and_a_path_that_leads_out(spoilt):
    folder = spoilt(I3)
    pq.write_table(pq.read_table(FIRST(folder)).slice(0, 0), FIRST(folder))
    assert any("There are no frames in" in f for f in check_data(folder).faults)
    info(folder, data_path="../data/file-{file_index:03d}.parquet"); assert "no path comes of it" in check_data(folder).faults[0]
