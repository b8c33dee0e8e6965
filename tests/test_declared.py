"""What a dataset means is declared, never judged by its values; images pass one door; what is missing stays missing;
what is kept is named by contents."""
import fcntl, gc, io, json, os, shutil, struct, warnings, zlib
from functools import partial
from pathlib import Path
import numpy as np, pytest
import pyarrow as pa, pyarrow.parquet as pq
from PIL import Image

av, h5py = pytest.importorskip("av"), pytest.importorskip("h5py")
from test_readers import KITCHEN, calvin, declared, in_file, lerobot3, libero
from vlm4vla.data.actions import LEAST, ActionStats, decode, encode
from vlm4vla.core import UserError
from vlm4vla.data.declarations import AXES, kind_of_axes
from vlm4vla.data.formats import check_data, declare, dataset_stats, open_data
from vlm4vla.data.samples import Samples

CAMERA = "observation.images.image"
MAKE = dict(lerobot=partial(lerobot3, video=False), calvin=partial(calvin, size=(24, 12), full=False), libero=partial(libero, size=24))

@pytest.fixture(scope="module")
def made(tmp_path_factory):
    base = tmp_path_factory.mktemp("sets")
    return {k: make(base/k) for k, make in MAKE.items()}

@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch): monkeypatch.setenv("VLM4VLA_CACHE", str(tmp_path/"cache"))

@pytest.fixture
def spoilt(made, tmp_path): return lambda k: Path(shutil.copytree(made[k].folder, tmp_path/k))

def column(folder, name, change):
    "Write a column of all tables again."
    for p in sorted(folder.glob("data/chunk-*/*.parquet")):
        t = pq.read_table(p); i = t.column_names.index(name); new = change(t[name].to_pylist())
        pq.write_table(t.set_column(i, name, pa.array(new, t.schema.field(i).type)), p)

def actions(folder, change): column(folder, "action", lambda rows: change(np.array(rows)).tolist())
def gripper(folder, change): actions(folder, lambda a: np.c_[a[:, :6], change(a[:, 6])])
def names(folder, n):
    path = folder/"meta/info.json"
    info = json.loads(path.read_text())
    info["features"]["action"]["names"] = n
    path.write_text(json.dumps(info))

def both(folder, says, suite="", stops=True):
    "A check and a training say the same; the sentence is one line."
    said = [f for f in check_data(folder, suite=suite).faults if says in f]
    assert said and "\n" not in said[0] and "again" not in said[0], check_data(folder, suite=suite).faults
    if stops:
        with pytest.raises(UserError) as e: Samples(folder, 8, 2, suite=suite)
        assert says in str(e.value)
    else:
        with pytest.warns(UserWarning) as w: Samples(folder, 8, 2, suite=suite)
        assert any(says in str(x.message) for x in w)
    return said[0]

# conventions

def test_what_is_declared_nowhere_is_warned_of_with_the_lines_that_declare_it(spoilt):
    folder = spoilt("lerobot"); (folder/"vlm4vla.json").unlink()
    said = both(folder, "does not say which of the gripper's values opens; how its images lie", "simpler", stops=False)
    line = json.loads(said[said.index('{"'):].rstrip("."))
    assert line == dict(gripper=dict(opens=1., closes=0.), images="upright", actions="end-effector deltas", units="metric")
    (folder/"vlm4vla.json").write_text(json.dumps(line))                      # written down, nothing is left to say
    with warnings.catch_warnings(): warnings.simplefilter("error"); assert len(Samples(folder, 8, 2, suite="simpler")) == 21
    assert check_data(folder, suite="simpler").faults == []

def test_the_command_begins_the_file(spoilt, python):
    folder = spoilt("lerobot"); (folder/"vlm4vla.json").unlink()
    done = python("-m", "vlm4vla.cli", "data", "check", str(folder), "--declare")
    assert done.returncode == 1 and "null" in done.stdout
    assert json.loads((folder/"vlm4vla.json").read_text())["gripper"] == dict(opens=None, closes=None)
    declared(folder, fps=7.); assert json.loads(declare(folder).read_text())["fps"] == 7        # what it says stays
    assert python("-m", "vlm4vla.cli", "data", "check", str(folder)).returncode == 0

@pytest.mark.parametrize("values, says", {
    "a width in metres": (lambda g: .08*g, "go from 0 to 0.08 and never reach 1"), "other signs": (lambda g: 2*g - 1, "go from -1 to 1"),
    "bytes": (lambda g: 255*g, "go from 0 to 255"),
    "a third state": (lambda g: np.where(np.arange(len(g)) % 2, g, .5), "3 states"),
    "always half": (lambda g: g*0 + .5, "never reach")}.values())
def test_a_gripper_that_contradicts_what_is_declared_is_a_fault(spoilt, values, says):
    folder = spoilt("lerobot"); gripper(folder, values)
    assert '"opens": …' in both(folder, says, "simpler")

@pytest.mark.parametrize("suite, shown, opens, closes",
                         [("simpler", 1., 1, 0), ("simpler", 0., 1, 0), ("libero", -1., -1, 1), ("libero", 1., -1, 1),
                          ("grinningface", 0., 0, 1), ("simpler", .08, .08, 0)])
def test_a_gripper_of_which_one_value_is_seen_means_what_is_declared(spoilt, suite, shown, opens, closes):
    folder = spoilt("lerobot")
    gripper(folder, lambda g: g*0 + shown)
    declared(folder, gripper=dict(opens=opens, closes=closes), fps=dict(libero=20.).get(suite, 5.))
    assert set(open_data(folder, suite, (1., 0.)).actions[:, 6]) == {float(shown == opens)}

def test_shares_between_open_and_closed_are_cut_in_two(spoilt):
    folder = spoilt("lerobot")
    gripper(folder, lambda g: np.where(g == 1, np.linspace(.9, .55, len(g)), np.linspace(.4, .1, len(g)))
            + (np.arange(len(g)) == 0)*.1 - (np.arange(len(g)) == len(g) - 1)*.1)
    declared(folder, fps=30.); r = open_data(folder, "calvin", (1., -1.)); assert set(r.actions[:, 6]) == {1., -1.}

def test_pictures_that_are_declared_upside_down_are_turned_and_have_another_name(made, spoilt):
    folder = spoilt("lerobot"); before = open_data(folder)
    for how, want in dict(
        zip(("upside-down", "mirrored", "flipped"), (lambda i: i[::-1, ::-1], lambda i: i[:, ::-1], lambda i: i[::-1]))).items():
        declared(folder, images=how); r = open_data(folder)
        np.testing.assert_array_equal(r.image(3), want(made["lerobot"].images[0][3])); assert r.hash != before.hash
    folder = spoilt("libero"); (folder/"vlm4vla.json").write_text('{"images": "upright"}')
    # what the user declares counts more than the file's attribute
    np.testing.assert_array_equal(open_data(folder).image(0), made["libero"].images[0][0][::-1, ::-1])

@pytest.mark.parametrize("kind", MAKE)
def test_a_file_that_was_only_begun_changes_no_picture_and_no_number(spoilt, kind):
    folder = spoilt(kind); a = open_data(folder); declare(folder); b = open_data(folder)
    np.testing.assert_array_equal(a.actions, b.actions)
    np.testing.assert_array_equal(a.image(2), b.image(2))
    assert check_data(folder).faults == []

def test_a_file_of_libero_that_has_lost_its_convention_is_taken_as_robosuite_has_it(made, spoilt):
    folder = spoilt("libero"); in_file(folder/KITCHEN, lambda f: f["data"].attrs.__delitem__("macros_image_convention"))
    assert '{"images": "upside-down"}' in both(folder, "how its images lie", stops=False)
    with pytest.warns(UserWarning): np.testing.assert_array_equal(open_data(folder).image(0), made["libero"].images[0][0])
    (folder/"vlm4vla.json").write_text('{"images": "upside-down"}'); assert check_data(folder).faults == []
    np.testing.assert_array_equal(open_data(folder).image(0), made["libero"].images[0][0])

def test_without_a_suite_a_gripper_that_is_declared_is_brought_to_the_values_asked_for(spoilt):
    folder = spoilt("lerobot")
    declared(folder, gripper=dict(opens=0, closes=1))
    assert open_data(folder).actions[0, 6] == 0 and open_data(folder, gripper=(1., -1.)).actions[0, 6] == -1

@pytest.mark.parametrize("called, what",
                         [([f"joint_{i}" for i in range(6)] + ["gripper"], "names of joints"), (["gripper", *AXES[:6]], "another order"),
                          (["x", "y", "z", "qx", "qy", "qz", "qw"], "not understood"),
                                          ({"motors": ["shoulder_pan", "shoulder_lift", "elbow_flex", "wrist_flex", "wrist_roll", "base",
                                                       "gripper"]}, "names of joints")])
def test_numbers_that_are_called_otherwise_are_refused_until_they_are_declared(spoilt, called, what):
    folder = spoilt("lerobot"); names(folder, called); both(folder, what)
    declared(folder, axes=AXES); assert check_data(folder).faults == []

def test_names_of_moves_declare_moves(spoilt):
    folder = spoilt("lerobot"); names(folder, [f"delta_{a}" for a in AXES[:6]] + ["gripper"]); declared(folder, actions=None)
    assert check_data(folder).faults == [] and open_data(folder).declared.actions == "end-effector deltas"
    assert kind_of_axes(["x", "y", "z", "rx", "ry", "rz", "gripper_open"]) == "hand" and kind_of_axes(["actions"]) == ""

@pytest.mark.parametrize("change, says",
                         {"kind": (lambda d: declared(d, actions="joints"), "declared as joints"),
                          "poses": (lambda d: declared(d, actions="end-effector poses"), "declared as end-effector poses"),
    "metres": (lambda d: actions(d, lambda a: a*np.r_[[50]*3, [1]*4]), "more than a metre"),
    "degrees": (lambda d: actions(d, lambda a: a*np.r_[[1]*3, [57]*3, 1]), "whole turn"),
    "beyond the scale": (lambda d: (declared(d, units="scaled"), actions(d, lambda a: a*np.r_[[2]*3, [1]*4])),
                         "said to be scaled")}.values())
def test_moves_that_are_none_are_refused(spoilt, change, says):
    folder = spoilt("lerobot"); change(folder); both(folder, says)

def test_units_and_rate_are_held_to_those_of_the_suite(spoilt):
    folder = spoilt("lerobot"); declared(folder, units="metric"); both(folder, "the simulator of calvin takes scaled ones", "calvin")
    declared(folder, fps=10.); both(folder, "has 10 actions per second and simpler is controlled at 5", "simpler", stops=False)

@pytest.mark.parametrize("text, says",
                         [("{", "cannot be read as JSON"), ("[]", "an object belongs"), ('{"griper": {}}', "did you mean 'gripper'"),
                          ('{"images": "rotated"}', "it may be"), ('{"gripper": [1, 0]}', "is a list"),
                                        ('{"gripper": {"opens": 1, "closes": 1}}', "same value"), ('{"fps": -5}', "at least"),
                                        ('{"axes": ["x"]}', "7 names"), ('{"gripper": {"opens": true, "closes": 0}}', "is true")])
def test_a_file_that_declares_nonsense_is_a_fault(spoilt, text, says):
    folder = spoilt("lerobot"); (folder/"vlm4vla.json").write_text(text); both(folder, says)

def test_a_dimension_that_hardly_moves_does_not_move():
    rng = np.random.default_rng(0); a = rng.uniform(-.05, .05, (500, 7)); a[:, 5] = .2 + rng.normal(0, 1e-7, 500); a[:, 4] *= 2*LEAST/.1
    s = ActionStats.from_quantiles(a); learnt = encode(a, s)
    assert not learnt[:, 5].any() and np.ptp(learnt[:, 4]) == 2 and s.lo[5] == s.hi[5]
    np.testing.assert_allclose(decode(learnt, s)[:, 5], .2, atol=1e-6)

# images

def png(im, kind="PNG", **kw): out = io.BytesIO(); im.save(out, kind, **kw); return out.getvalue()

def deep(a):
    "A PNG of 16 bits a colour."
    part = lambda kind, data: struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
    rows = b"".join(b"\0" + r.tobytes() for r in a.astype(">u2")*257)
    return b"\x89PNG\r\n\x1a\n" + part(b"IHDR", struct.pack(">IIBBBBB", a.shape[1], a.shape[0], 16, 2, 0, 0, 0)) + part(b"IDAT",
        zlib.compress(rows)) + part(b"IEND", b"")

turned = Image.Exif(); turned[274] = 6
REFUSED = {"16 bits a colour": (lambda im: deep(np.asarray(im)), "16 bits a channel"),
           "16-bit grey": (lambda im: png(Image.fromarray(np.asarray(im.convert("L")).astype(np.uint16))), "16 bits a channel"),
           "CMYK": (lambda im: png(im.convert("CMYK"), "JPEG"), "mode CMYK"),
           "turned": (lambda im: png(im, "JPEG", exif=turned), "EXIF orientation 6"),
           "floats": (lambda im: png(im.convert("F"), "TIFF"), "mode F"),
           "transparent": (lambda im: png(Image.fromarray(np.dstack([np.asarray(im), np.full(im.size, 128, np.uint8)]))), "not opaque"),
           "a colour that is transparent": (lambda im: png(im, transparency=im.getpixel((0, 0))), "not opaque"),
           "a video": (lambda im: png(im, "GIF", save_all=True, append_images=[im.rotate(90)]), "a video of 2"),
           "nothing": (lambda im: b"", "has no image"), "no image": (lambda im: b"hello", "no image that Pillow knows"),
           "another size": (lambda im: png(im.resize((16, 16))), "is 16 × 16, and the first of the dataset is 32 × 32")}

@pytest.mark.parametrize("kind", REFUSED)
def test_a_picture_that_is_none_is_refused_by_check_and_training(spoilt, kind):
    # the check decodes first and last ones only
    make, says = REFUSED[kind]; folder = spoilt("lerobot"); at = 0 if kind in ("transparent", "a colour that is transparent") else 3
    column(folder, CAMERA,
           lambda rows: [dict(r, bytes=make(Image.open(io.BytesIO(r["bytes"])))) if i == at else r for i, r in enumerate(rows)])
    both(folder, says)

@pytest.mark.parametrize("make",
                         [lambda im: png(im.convert("RGBA")), lambda im: png(im.quantize(256, dither=0)),
                          lambda im: png(im, "WEBP", lossless=True)])
def test_a_picture_that_only_is_written_otherwise_is_the_same(made, spoilt, make):
    folder = spoilt("lerobot"); flat = lambda r: Image.open(io.BytesIO(r["bytes"])).convert("L").point(lambda v: v//32*32).convert("RGB")
    column(folder, CAMERA, lambda rows: [dict(r, bytes=png(flat(r))) for r in rows]); want = [open_data(folder).image(i) for i in (0, 20)]
    column(folder, CAMERA, lambda rows: [dict(r, bytes=make(flat(r))) for r in rows]); r = open_data(folder)
    np.testing.assert_array_equal([r.image(i) for i in (0, 20)], want)

def test_pictures_of_hdf5_and_npz_pass_the_same_door(made, spoilt):
    def put(f, x): del f["data/demo_0/obs/agentview_rgb"]; f["data/demo_0/obs/agentview_rgb"] = x
    n = 7
    for x, says in ((np.zeros((n, 24, 24, 3), np.float32), "of floats"), (np.zeros((n, 3, 24, 25), np.uint8), "planes first"),
                    (np.zeros((n, 24, 24, 4), np.uint8), "not opaque"),
                    (np.zeros((n, 16, 24, 3), np.uint8), "first of the dataset is 16 × 24")):
        folder = spoilt("libero"); in_file(folder/KITCHEN, lambda f: put(f, x)); both(folder, says); shutil.rmtree(folder)
    def frame(d, i, **kw): p = d/f"training/episode_{i:07d}.npz"; np.savez(p, **dict(np.load(p)) | kw)
    for x, says in ((np.zeros((24, 24, 3)), "of floats"), (np.zeros((3, 24, 25), np.uint8), "planes first"),
                    (np.zeros((20, 24, 3), np.uint8), "another size than the first")):
        folder = spoilt("calvin")
        frame(folder, 5, rgb_static=x)
        both(folder, says)
        assert check_data(folder).facts["episodes"].startswith("2")
        shutil.rmtree(folder)
    folder = spoilt("calvin"); grey = made["calvin"].images[0][0][..., 0]
    for i in range(3, 27): frame(folder, i, rgb_static=grey)
    np.testing.assert_array_equal(open_data(folder).image(0), np.dstack([grey]*3))

# what is missing stays missing

def annotate(folder, change):
    path = folder/"training/lang_annotations/auto_lang_ann.npy"; a = np.load(path, allow_pickle=True).item(); change(a); np.save(path, a)

def frame(folder, i, **more):
    path = folder/f"training/episode_{i:07d}.npz"
    z = dict(np.load(path)) | more
    np.savez(path, **{k: v for k, v in z.items() if v is not None})

def attribute(folder, **kw): in_file(folder/KITCHEN, lambda f: f["data"].attrs.update(kw))

def at(f, k, x): del f[k]; f[k] = x

LEFT_OUT = {
    "calvin, a number": ("calvin", lambda d: frame(d, 5, rel_actions=np.r_[0, np.nan, np.zeros(4), 1]), "Annotation 0 of",
                         "action of frame 2", [1, 2]),
    "calvin, no sentence": ("calvin", lambda d: annotate(d, lambda a: a["language"]["ann"].__setitem__(1, None)), "1 of 3 episodes",
                            "number 1", [0, 2]),
    "calvin, the word nan": ("calvin", lambda d: annotate(d, lambda a: a["language"]["ann"].__setitem__(1, float("nan"))),
                             "1 of 3 episodes", "number 1", [0, 2]),
    "calvin, half a frame": ("calvin", lambda d: annotate(d, lambda a: a["info"]["indx"].__setitem__(1, (11.5, 15))), "1 of 3 stretches",
                             "11.5", [0, 2]),
    "calvin, backwards": ("calvin", lambda d: annotate(d, lambda a: a["info"]["indx"].__setitem__(1, (15, 11))), "1 of 3 stretches",
                          "(15, 11)", [0, 2]),
    "calvin, two recordings": ("calvin", lambda d: np.save(d/"training/ep_start_end_ids.npy", [(3, 6), (7, 26)]),
                               "do not lie in one recording", "[3, 9]", [1, 2]),
    "libero, a number": ("libero", lambda d: in_file(d/KITCHEN, lambda f: f["data/demo_1/actions"].__setitem__((4, 2), np.nan)),
                         "demo_1 of", "action of frame 4", [0, 2]),
    "libero, no sentence": ("libero", lambda d: attribute(d, problem_info='{"language_instruction": null}'), "2 of 3 episodes", "number 0",
                            [2]),
}

@pytest.mark.parametrize("name", LEFT_OUT)
def test_what_lacks_something_is_left_out_and_named(spoilt, name):
    kind, change, says, which, left = LEFT_OUT[name]; folder = spoilt(kind); change(folder)
    assert which in both(folder, says, stops=False)
    with pytest.warns(UserWarning): assert list(dict.fromkeys(Samples(folder, 8, 2).episode_ids)) == left

def test_instructions_in_bytes_are_words(spoilt):
    folder = spoilt("calvin")
    annotate(folder, lambda a: a["language"]["ann"].__setitem__(1, "schieb den Würfel".encode()))
    assert "schieb den Würfel" in open_data(folder).instructions
    folder = spoilt("libero")
    attribute(folder, problem_info=np.bytes_('{"language_instruction": ["open", "the", "drawer"]}'))
    assert check_data(folder).faults == []

def test_demonstrations_come_in_the_order_of_their_numbers(made, spoilt):
    folder = spoilt("libero")
    in_file(folder/KITCHEN,
            lambda f: [f.move("data/demo_1", "data/demo_10"), f.copy("data/demo_0", "data/demo_2"),
                       f["data"].attrs.update(num_demos=3, total=23)])
    assert list(open_data(folder).lengths[:3]) == [7, 7, 9]

# a remedy stands beside a recognised cause

POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 9\n"
def elsewhere(d):
    (d/"training/lang_annotations").rename(d/"training/lang_clip_resnet50")
    shutil.copytree(d/"training/lang_clip_resnet50", d/"training/lang_paraphrase")
def flip(path, member):
    import zipfile
    np.savez(path, **dict(np.load(path)))
    data = bytearray(path.read_bytes())
    data[zipfile.ZipFile(path).getinfo(member).header_offset + 160] ^= 1
    path.write_bytes(data)

CAUSES = {
    "calvin, annotations elsewhere": ("calvin", elsewhere, "annotations lie in lang_clip_resnet50, lang_paraphrase: link or rename"),
    "calvin, of another split": ("calvin", lambda d: annotate(d, lambda a: a["info"]["indx"].__setitem__(1, (900, 905))),
                                 "go from 3 to 26: annotations and frames are not of the same split"),
    "calvin, one sentence more": ("calvin", lambda d: annotate(d, lambda a: a["language"]["ann"].append("x")),
                                  "3 stretches of frames for 4 sentences"),
    "calvin, another camera": (
        "calvin", lambda d: [frame(d, i, rgb_static=None, rgb_front=np.zeros((24, 24, 3), np.uint8)) for i in range(3, 27)],
        "has no rgb_static; it holds rgb_front, rgb_gripper"),
    "calvin, a pickle": ("calvin", lambda d: frame(d, 5, rel_actions=np.array([None]*7, object)), "pickled objects"),
    "calvin, a pointer": ("calvin", lambda d: (d/"training/episode_0000005.npz").write_bytes(POINTER), "git lfs pull"),
    "calvin, annotations a pointer": ("calvin", lambda d: (d/"training/lang_annotations/auto_lang_ann.npy").write_bytes(POINTER),
                                      "git lfs pull"),
    "calvin, a frame": ("calvin", lambda d: d/"training/episode_0000005.npz", "is a file, and no HDF5 file"),
    "libero, a pointer": ("libero", lambda d: (d/KITCHEN).write_bytes(POINTER), "git lfs pull"),
    "libero, a web page": ("libero", lambda d: (d/KITCHEN).write_bytes(b"<!DOCTYPE html>"), "is a web page"),
    "libero, a link to nothing": ("libero", lambda d: ((d/KITCHEN).unlink(), (d/KITCHEN).symlink_to("/nowhere")), "is a link to /nowhere"),
    "libero, a folder": ("libero", lambda d: ((d/KITCHEN).unlink(), (d/KITCHEN).mkdir()), "it is a folder"),
    "libero, a derived file": ("libero", lambda d: h5py.File(d/"a_processed.hdf5", "w").create_dataset("poses", data=[0.]).file.close(),
                               "no demonstrations in a group `data` (it holds poses)"),
    "libero, another camera": (
        "libero", lambda d: in_file(d/KITCHEN, lambda f: f.move("data/demo_0/obs/agentview_rgb", "data/demo_0/obs/agentview_image")),
        "its images are obs/agentview_image, obs/eye_in_hand_rgb"),
    "libero, no images": ("libero", lambda d: in_file(d/KITCHEN, lambda f: f["data/demo_0"].__delitem__("obs")),
                            "derived from the one with images"),
    "libero, other lengths": (
        "libero", lambda d: in_file(d/KITCHEN, lambda f: at(f, "data/demo_0/obs/agentview_rgb", np.zeros((6, 24, 24, 3), np.uint8))),
        "7 actions for images of shape (6, 24, 24, 3)"),
    "libero, half a text": ("libero", lambda d: attribute(d, problem_info="{language"), "problem_info of"),
    "libero, no text": ("libero", lambda d: attribute(d, problem_info="{}"), "no entry 'language_instruction'"),
    "libero, another convention": ("libero", lambda d: attribute(d, macros_image_convention="directx"), "it may be opengl or opencv"),
    "libero, gripper of another format": (
        "libero", lambda d: in_file(d/KITCHEN, lambda f: f["data/demo_0/actions"].__setitem__((slice(None), 6), [0, 0, 0, 0, 1, 1, 1])),
        "3 states, 0 among them"),
    "an archive": ("libero", lambda d: (d/"x.zip").write_bytes(b"PK") and d/"x.zip", "unpack the archive"),
    "the folder above": ("calvin", lambda d: shutil.copytree(d, d.parent/"up/sets") and d.parent/"up",
                         "give one of the folders in it that do (sets)"),
}

@pytest.mark.parametrize("name", CAUSES)
def test_a_cause_that_is_recognised_has_its_own_words(spoilt, name):
    kind, change, says = CAUSES[name]; folder = spoilt(kind); new = change(folder)
    both(new if isinstance(new, Path) else folder, says)

def test_damage_is_told_by_sizes_and_check_sums(spoilt):
    folder = spoilt("calvin")
    flip(folder/"training/episode_0000005.npz", "rel_actions.npy")
    assert "check sum of 'rel_actions.npy' does not fit" in check_data(folder).faults[0]
    folder = spoilt("libero")
    size = (folder/KITCHEN).stat().st_size
    os.truncate(folder/KITCHEN, size - 100)
    assert f"{size - 100} of its {size} bytes" in check_data(folder).faults[0]

def test_a_file_that_another_process_writes_is_locked_and_nothing_else(spoilt):
    folder = spoilt("libero")
    with open(folder/KITCHEN) as f:
        fcntl.flock(f, fcntl.LOCK_EX)
        both(folder, "is locked, because another process has it open for writing")
    assert check_data(folder).faults == []

def test_words_of_a_file_that_differ_from_its_name_are_told(spoilt):
    folder = spoilt("libero"); attribute(folder, problem_info='{"language_instruction": "close the drawer"}')
    assert "by its name it shows 'open the drawer'" in both(folder, "says 'close the drawer'", stops=False)

def test_scenes_that_are_of_other_frames_are_told(spoilt):
    folder = spoilt("calvin")
    np.save(folder/"training/scene_info.npy", {"calvin_scene_A": [100, 200]})
    both(folder, "lie in no scene of scene_info.npy", stops=False)

@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_folder_that_may_not_be_read(spoilt):
    folder = spoilt("libero"); folder.chmod(0)
    try: both(folder, "may not be read")
    finally: folder.chmod(0o755)

# kept by contents

def in_place(folder, kind):
    "Change a dataset so that no file has another size or time."
    path = {"lerobot": folder/"data/chunk-000/file-000.parquet", "calvin": folder/"training/episode_0000003.npz",
            "libero": folder/KITCHEN}[kind]
    before = path.stat()
    if kind == "libero":
        in_file(path, lambda f: (f["data/demo_0/actions"].__setitem__((slice(None), 0), f["data/demo_0/actions"][:, 0]/2),
                                 f["data/demo_0/obs/agentview_rgb"].__setitem__(0, 7)))
    elif kind == "calvin":
        z = dict(np.load(path)); z["rel_actions"][0] = 1; z["rgb_static"][:] = 7; np.savez(path, **z)
    else:
        t = pq.read_table(path); a = np.array(t["action"].to_pylist()); a[:, 0] /= 2; b = t[CAMERA].to_pylist(); b[0], b[1] = b[1], b[0]
        t = t.set_column(t.column_names.index("action"), "action", pa.array(a.tolist(), t.schema.field("action").type))
        t = t.set_column(t.column_names.index(CAMERA), CAMERA, pa.array(b, t.schema.field(CAMERA).type))
        pq.write_table(t, path, compression="none", use_dictionary=False, write_statistics=False)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns)); return path.stat().st_size

@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize("kind", MAKE)
def test_data_that_was_corrected_in_place_has_another_name_and_is_read_anew(spoilt, kind, streamed, monkeypatch):
    monkeypatch.setenv("VLM4VLA_IMAGE_CACHE", "0" if streamed else "8"); folder = spoilt(kind)
    if kind == "calvin": frame(folder, 3)                                       # as large as it will be
    if kind == "lerobot":
        column(folder, CAMERA, lambda rows: rows)
        p = folder/"data/chunk-000/file-000.parquet"
        pq.write_table(pq.read_table(p), p, compression="none", use_dictionary=False, write_statistics=False)
    a = Samples(folder, 8, 2)
    ra = dataset_stats(a.reader)
    first = np.array(a.batch([0])["images"])
    size = sum(p.stat().st_size for p in folder.rglob("*") if p.is_file())
    name = a.hash; del a; gc.collect(); in_place(folder, kind)                  # nobody holds the files any more
    b = Samples(folder, 8, 2); rb = dataset_stats(b.reader); assert size == sum(p.stat().st_size for p in folder.rglob("*") if p.is_file())
    assert name != b.hash and ra != rb and (b.batch([0])["images"] != first).any()
    # the same contents at another place have the same name
    moved = Path(shutil.copytree(folder, folder.parent/"elsewhere")); assert Samples(moved, 8, 2).hash == b.hash

@pytest.mark.parametrize("kind", MAKE)
@pytest.mark.parametrize("hurt",
                         [lambda p: os.truncate(p, p.stat().st_size//2), lambda p: p.write_bytes(bytes(p.stat().st_size)),
                          lambda p: p.write_bytes(p.read_bytes()[:-1] + b"x")])
def test_a_cache_that_is_damaged_is_made_again(made, kind, hurt, monkeypatch, tmp_path):
    for streamed in ("0", "8"):
        monkeypatch.setenv("VLM4VLA_IMAGE_CACHE", streamed)
        a = Samples(made[kind].folder, 8, 2)
        want = {k: np.array(v) for k, v in a.batch(range(len(a))).items()}, dataset_stats(a.reader)
        del a
        for p in (tmp_path/"cache").rglob("*"):
            if p.is_file(): hurt(p)
        b = Samples(made[kind].folder, 8, 2)
        for k, v in b.batch(range(len(b))).items(): np.testing.assert_array_equal(v, want[0][k])
        assert dataset_stats(b.reader) == want[1]

def test_a_file_is_hashed_once_as_long_as_it_is_not_touched(made, monkeypatch):
    import vlm4vla.data.readers as m
    real, read = m.file_hash, []
    monkeypatch.setattr(m, "file_hash", lambda p: read.append(p) or real(p))
    monkeypatch.setattr(m, "settled", lambda s: True)
    a = open_data(made["libero"].folder).hash
    n = len(read)
    assert n == 2 and open_data(made["libero"].folder).hash == a and len(read) == n
    next(made["libero"].folder.glob("*.hdf5")).touch(); assert open_data(made["libero"].folder).hash == a and len(read) == n + 1
