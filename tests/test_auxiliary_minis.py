"Miniatures of the auxiliary tasks: the renderer against geometry, answers against their own metrics, sets that are whole or not there."
import os, subprocess, sys
from collections import Counter
from pathlib import Path
import numpy as np
import pytest
pytest.importorskip("pybullet")
from vlm4vla.auxiliary.metrics import metrics, score_answer
from vlm4vla.auxiliary.records import read_records
from vlm4vla.catalog.auxiliary import aux_data, auxiliary_tasks
from vlm4vla.core import UserError
from vlm4vla.tasks.tabletop import auxiliary, views
from vlm4vla.tasks.tabletop.acts import ask_affordance, ask_brain, ask_motion
from vlm4vla.tasks.tabletop.spatial import ask_clip, ask_pointing, ask_templates, named_things
from vlm4vla.tasks.tabletop.views import LABELS, Camera, clips, corners, motions, stills

MINIS = [*auxiliary._MADE] # all but the one of actions

@pytest.fixture(scope="module")
def seen(): return stills("train", 0, 12, 96)

@pytest.fixture(scope="module")
def moved(): return motions("train", 0, 6, 96)

@pytest.fixture(scope="module")
def passed(): return clips("train", 0, 12, 96)

@pytest.fixture
def cache(tmp_path_factory, monkeypatch):
    folder = tmp_path_factory.getbasetemp()/"minis"; monkeypatch.setenv("VLM4VLA_CACHE", str(folder))
    return folder

def test_the_table_is_as_deep_as_its_rays_say():
    _, depth, labels, _ = stills("test", 0, 3, 224) # at the renderer's own size: a pixel is one ray
    cam = Camera(); truth = cam.depth(cam.place(cam.samples(224), 0.))
    assert all(np.abs(d - truth)[l == 1].max() < 1e-4 for d, l in zip(depth, labels))
    assert all((d[l == k] < truth[l == k]).all() for d, l in zip(depth, labels) for k in np.unique(l) if k > 1)

def test_cards_and_blocks_are_where_they_are(seen):
    images, depth, labels, states = seen; cam = Camera()
    for d, l, s in zip(depth, labels, states):
        for t in named_things(s):
            inside = np.argwhere(l == t["label"])[:, ::-1]; box = 96*cam.pixel(corners(t))
            assert (inside >= box.min(0) - 1.5).all() and (inside <= box.max(0) + 1.5).all()
            if t["kind"] == "card":
                x, y = (96*cam.pixel(t["xyz"])).astype(int)
                if l[y, x] == t["label"]: assert abs(d[y, x] - cam.depth(t["xyz"])) < .01
                else: assert l[y, x] in (LABELS.index("arm"), LABELS.index("gripper")) or l[y, x] >= LABELS.index("block")

def test_scenes_are_the_same_for_the_same_number_and_emoji_keep_to_their_split(seen):
    again = stills("train", 7, 2, 96)
    assert all((a == b[7:9]).all() for a, b in zip(again[:3], seen[:3])) and again[3] == seen[3][7:9]
    emoji = {s: {c for i in range(40) for c in views.picture_layout(s, i).cards} for s in views.PICTURE_SPLITS}
    assert emoji["train"] & emoji["test"] and not (emoji["train"] | emoji["test"]) & emoji["unseen"]
    with pytest.raises(UserError, match="no split of images"): views.picture_layout("val", 0)

def test_points_are_in_their_masks_and_free_space_is_bare(seen):
    images, depth, labels, states = seen
    for seed in range(10):
        for l, s in zip(labels, states):
            for a in ask_pointing(s, l, np.random.default_rng(seed)):
                if a.mask is None: continue
                x, y = (np.asarray(a.value)*96).astype(int).T
                assert a.mask[y, x].all() and (a.topic != "free space" or (l[a.mask] == LABELS.index("table")).all())

def test_comparisons_are_balanced_and_true(seen):
    asked = [a for k in range(30) for s in seen[3] for a in ask_templates(s, np.random.default_rng(k))]
    yes = [a.value for a in asked if a.kind == "yes-no"]
    assert len(yes) > 200 and .42 < np.mean(yes) < .58
    x = {t["name"]: t["xyz"][1] for t in named_things(seen[3][0])}
    for a in (a for k in range(60) for a in ask_templates(seen[3][0], np.random.default_rng(k))):
        if a.topic != "left, yes or no" or "gripper" in a.question: continue
        way = "left" if "farther left" in a.question else "right"
        one, other = a.question[len("Is the "):-1].split(f" farther {way} than the ")
        assert a.value == (x[one] < x[other] if way == "left" else x[one] > x[other])

def test_letters_name_the_right_choice(moved, passed):
    letters, frames, states = Counter(), *moved
    for k in range(6):
        for f, s in zip(frames, states):
            for image, a in ask_motion(s, f, np.random.default_rng(k), 12):
                letters[a.value] += len(a.choices) == 2; right = a.choices[ord(a.value) - 65]
                assert len(set(a.choices)) == len(a.choices) <= 5 and image.shape[0] == image.shape[1]
                if a.topic == "success": assert (right == "Yes") == s["success"]
                if a.topic == "goal": assert right.split()[0] == ("left", "middle", "right")[s["named"]]
    assert min(letters["A"], letters["B"]) > .3*letters.total()
    for s in passed[1]:
        for a in (a for k in range(4) for a in ask_clip(s, np.random.default_rng(k), 6)):
            if a.topic == "area": assert a.value == round(4*s["half"][0]*s["half"][1], 2)
            if a.question == "How many blocks are on the table?": assert a.value == len(s["blocks"])

def test_paths_end_on_the_named_card(moved):
    for f, s in zip(*moved):
        for _, asked in ask_brain(s, f, np.random.default_rng(0)):
            if asked[0].kind != "trajectory": continue
            end = Camera().place(asked[0].value[-1], .02); card = s["cards"][s["named"]]["xyz"]
            assert 3 <= len(asked[0].value) <= 10 and np.linalg.norm(end[:2] - card[:2]) < .03

@pytest.mark.parametrize("task", MINIS)
def test_every_answer_is_right_by_its_own_metric(task, cache):
    folder = aux_data[f"tabletop-{task}"].make(None, 12, "test", 0)
    assert folder.is_relative_to(cache)
    records, rules = read_records(folder, task), auxiliary_tasks[task].metrics
    assert len(records) == 12 and {p.split for p in records.parts} == {"test"}
    for i, r in enumerate(records):
        assert records.image(i, 96).shape == (96, 96, 3)
        for t in r.turns:
            if t.kind == "image":
                truth = records.target(i)[t.topic]
                assert truth.shape == (96, 96) and score_answer(rules[t.topic], truth, truth) == 1; continue
            rule = rules.get(t.topic) or rules[t.kind]; places = auxiliary_tasks[task].coordinates
            score = score_answer(rule, t.answer, t.answer, coordinates=places, size=r.about.get("size"), mask=records.mask(i))
            assert score == (1 if metrics[rule].better == "higher" else 0), (t, rule, score)

def test_actions_come_back_from_their_words(tmp_path):
    from vlm4vla.auxiliary.answers import answer_kinds
    from vlm4vla.heads.tokens import FastTokens
    folder = auxiliary.make_set("fast", tmp_path/"fast", 10, "train", demos="grinningface-smoke")
    fast = FastTokens.load(folder/"tokenizer")
    s, _, chunks, whole, held = auxiliary._demo_chunks("grinningface-smoke")
    for r in read_records(folder):
        back, ok = fast.decode([answer_kinds["tokens"].parse(r.turns[0].answer).tolist()], 10)
        assert ok[0] and np.sqrt(((back[0] - chunks[int(r.id.split("-")[-1])])**2).mean()) < .1
    with pytest.raises(UserError, match="no split 'unseen'"): auxiliary.make_set("fast", tmp_path/"x", 4, "unseen")

KILLED = """
import os, sys
from vlm4vla.tasks.tabletop import auxiliary
def half(*a): folder = a[-1]; (folder/"images").mkdir(); (folder/"images"/"a.png").write_bytes(b"x"); os._exit(9)
auxiliary._fill = half
auxiliary.make_set("robopoint", sys.argv[1], 3)
"""
def test_a_set_is_whole_or_not_there(cache, tmp_path):
    folder = tmp_path/"set"
    done = subprocess.run([sys.executable, "-c", KILLED, str(folder)], env=os.environ | dict(VLM4VLA_CACHE=str(cache)))
    assert done.returncode == 9 and not folder.exists() and len(list(tmp_path.iterdir())) == 1
    auxiliary.make_set("robopoint", folder, 3); first = read_records(folder).hash
    assert [p.name for p in tmp_path.iterdir()] == ["set"] # what the kill left is gone
    stamp = folder.stat().st_mtime_ns; auxiliary.make_set("robopoint", folder, 3)
    assert folder.stat().st_mtime_ns == stamp and read_records(folder).hash == first
    auxiliary.make_set("robopoint", folder, 4); assert len(read_records(folder)) == 4
    other = tmp_path/"mine"; other.mkdir(); (other/"letter.txt").write_text("do not touch")
    with pytest.raises(UserError, match="no miniature of ours"): auxiliary.make_set("robopoint", other, 3)

def test_affordances_are_boxes_around_their_masks(seen):
    for l, s in zip(seen[2], seen[3]):
        for a in ask_affordance(s, l, np.random.default_rng(0)):
            if a.kind != "box": mask = a.mask; continue
            box = np.rint(np.asarray(a.value)*96).astype(int)
        x0, y0, x1, y1 = box; y, x = np.nonzero(mask)
        assert (x.min(), y.min(), x.max()+1, y.max()+1) == (x0, y0, x1, y1)

def story(task="carrot"):
    "An episode of Bridge by its commands alone: to the thing, down, close, up and over to the target, open."
    from vlm4vla.tasks.bridge.questions import _story
    way = [(.01, .005, -.005, 1)]*8 + [(0, 0, -.01, 1)]*4 + [(0, 0, 0, 0)]*2 + [(0, 0, .015, 0)]*4 + [(0, .015, 0, 0)]*8 + [(0, 0, 0, 1)]*3
    return _story([[x, y, z, 0, 0, 0, g] for x, y, z, g in way], task, "put carrot on plate")

def test_bridge_asks_what_its_commands_know():
    from vlm4vla.tasks.bridge import auxiliary as b
    told = story(); r = np.random.default_rng(0); release = b._release(told)
    assert not told[release+1]["held"] and b._plan(told, 0)[1].value == "move to the carrot" and b._plan(told, release+1) == []
    assert b._plan(told, 20)[0].value == "move to the plate, release it" and not b._affordance(told, 20)
    path = b._path(told, 0)[0].value
    assert len(path) == 6 and np.allclose(path[0], told[0]["marks"]["gripper"]) and np.allclose(path[-1], told[release]["marks"]["gripper"])
    pointed = [a for i in range(len(told)) for a in [b._pointed(r, told, i, 96)] if a]
    assert pointed and all(a.mask[tuple((96*a.value[0]).astype(int)[::-1])] for a in pointed)
    for a in filter(None, (b._apart(r, told, i, 96) for i in range(len(told)))): assert .03 < a.value < .5
    for k in range(40):
        a = b._yes_no(np.random.default_rng(k), told, 0, 96); at = b._places(told[0])
        if a is None or "higher" not in a.question: continue
        one, other = a.question[len("Is the "):-1].split(" higher than the ")
        assert a.value == (at[one][0][2] > at[other][0][2])
    with pytest.raises(UserError, match="no miniature of 'robopint' about Bridge; did you mean 'robopoint'"): b.make_bridge_set("robopint")
