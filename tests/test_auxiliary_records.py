"The published sets of auxiliary tasks: one small file each, written by its description, read, scored and checked; and broken ones."
import base64, io, json
import numpy as np, pyarrow as pa, pyarrow.parquet as pq, pytest
from PIL import Image
from vlm4vla.auxiliary.answers import answer_kinds
from vlm4vla.auxiliary.checks import check_folder, check_records
from vlm4vla.auxiliary.metrics import score_answer
from vlm4vla.auxiliary.records import Record, Turn, is_records, read_records, write_records
from vlm4vla.auxiliary.rows import Cell, JsonRows
from vlm4vla.catalog.auxiliary import auxiliary_tasks
from vlm4vla.core import UserError

W, H = 64, 48

def picture(k=0): return np.full((H, W, 3), 40 + 15*k, np.uint8)

def encoded(a, form="PNG"):
    out = io.BytesIO(); Image.fromarray(a).save(out, form)
    return out.getvalue()

def put(path, a):
    path.parent.mkdir(parents=True, exist_ok=True); path.write_bytes(encoded(a, "JPEG" if path.suffix == ".jpg" else "PNG"))

def dump(path, rows):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(map(json.dumps, rows)) if path.suffix == ".jsonl" else json.dumps(rows))

def said(*texts): return [{"from": ("human", "gpt")[k % 2], "value": t} for k, t in enumerate(texts)]

def scored(rs, i, answer):
    "The score of an answer, by the metric that the set's task has for its kind."
    r = rs[i]; t = r.turns[0]; m = auxiliary_tasks[r.about["task"]].metrics
    about = {k: r.about[k] for k in ("coordinates", "size") if k in r.about}
    return score_answer(m.get(t.topic, m.get(t.kind)), answer, t.answer, mask=rs.mask(i), **about)

def sentences(folder, *contain):
    "The faults of a set, each a sentence that contains what it should, and no other."
    faults = check_folder(folder).faults
    assert len(faults) == len(contain) and all(f.endswith(".") for f in faults), faults
    for f, c in zip(faults, contain): assert c in f, f
    return faults

# the published sets

@pytest.fixture
def robopoint(tmp_path):
    ask = ("<image>\nIn the image, an item is bordered in red. Locate several points on an item situated beneath it. Your answer should be "
           "formatted as a list of tuples, i.e. [(x1, y1), (x2, y2), ...].")
    dump(tmp_path/"robopoint_1432k.json", [
        dict(id="region_ref_0", image="region_ref/0.png",
             conversations=said(ask, "[(0.56, 0.69), (0.53, 0.76), (0.45, 0.72), (0.43, 0.67)]")),
        dict(id="lvis_1", image="coco/1.jpg", conversations=said("<image>\nFind all cups.", "[(0.1, 0.2, 0.3, 0.4)]")),
        dict(id="llava_2", image="coco/1.jpg", conversations=said("<image>\nIs it red?", "No", "What is it?", "A cup on a table.")),
        dict(id="text_3", conversations=said("Say hello.", "Hello!"))])
    put(tmp_path/"images"/"region_ref"/"0.png", picture()); put(tmp_path/"images"/"coco"/"1.jpg", picture(1))
    return tmp_path

def test_robopoint(robopoint):
    rs = read_records(robopoint); a, b, c, d = rs
    assert (rs.task, a.about["coordinates"], a.turns[0].kind, a.turns[0].topic) == ("robopoint", "fractions", "points", "region_ref")
    assert not a.turns[0].question.startswith("<image>") and rs.image(0).shape == (H, W, 3) and rs.image(1, 32).shape == (32, 32, 3)
    assert [t.kind for t in c.turns] == ["text", "text"] and b.turns[0].kind == "box" and d.images == ()
    assert answer_kinds["points"].parse(a.turns[0].answer).tolist()[0] == [.56, .69]
    assert scored(rs, 1, "(0.1, 0.2, 0.2, 0.4)") == pytest.approx(.5)
    report = check_folder(robopoint)
    assert report.faults == [] and report.facts["questions"].startswith("5: ") and "Apache-2.0" in report.facts["licence"]
    (robopoint/"LICENSE").write_text("\nApache License\nVersion 2.0")
    assert check_folder(robopoint).facts["licence"] == "Apache License (LICENSE)"
    assert "COCO" in report.facts["missing"] and report.facts["places"] == "fractions of the image"

def test_where2place(tmp_path):
    asked = "Locate points in the vacant space left of the cup."
    dump(tmp_path/"point_questions.jsonl", [dict(question_id=k, image=f"{k:02d}.jpg", text=asked, category="free space") for k in range(2)])
    for k in range(2):
        mask = np.zeros((H, W), np.uint8); mask[:, 32*k:32*k + 32] = 255
        put(tmp_path/"images"/f"{k:02d}.jpg", picture(k)); put(tmp_path/"masks"/f"{k:02d}.jpg", mask)
    rs = read_records(tmp_path)
    assert rs[0].turns[0] == Turn(asked, "", "points", "free space")
    assert scored(rs, 0, "[(0.25, 0.5), (0.75, 0.5)]") == pytest.approx(.5, abs=.02) # the mask is a JPEG
    assert scored(rs, 1, "[(50, 10)]") == pytest.approx(1, abs=.02) and scored(rs, 1, "there") == 0
    assert check_folder(tmp_path).faults == []

def test_vica(tmp_path):
    dump(tmp_path/"scannet_3.json", [
        dict(id="scene0000_00", video="scannet/scene0000_00.mp4", conversations=said("<video>\nHow large is this room?", "18.33")),
        dict(id="scene0001_00", video="scannet/scene0001_00.mp4", conversations=said("<video>\nWhich is closer? A. bed B. desk", "B"))])
    rs = read_records(tmp_path)
    assert rs.task == "vica332k" and [r.turns[0].kind for r in rs] == ["number", "letter"] and rs[0].turns[0].topic == "scannet_3"
    assert scored(rs, 0, "20") == pytest.approx(.9) and scored(rs, 1, "b.") == 1
    sentences(tmp_path, "not passed on with the questions")
    with pytest.raises(UserError, match="video scannet/scene0000_00.mp4, which is not there"): rs.image(0)

def test_a_video_is_shown_as_a_sheet(tmp_path):
    import av
    with av.open(str(tmp_path/"room.mp4"), "w") as film:
        s = film.add_stream("mpeg4", rate=10); s.width, s.height, s.pix_fmt = W, H, "yuv420p"
        for k in range(12): film.mux(s.encode(av.VideoFrame.from_ndarray(picture(k), format="rgb24")))
        film.mux(s.encode())
    for k in range(5): put(tmp_path/"frames"/f"{k:03d}.png", picture(k))
    dump(tmp_path/"some.json", [dict(video=v, conversations=said("<video>\nHow many?", "2")) for v in ("room.mp4", "frames")])
    rs = read_records(tmp_path)
    frames = rs.frames(0, 4); assert [round((f.mean() - 40)/15) for f in frames] == [0, 4, 7, 11] # evenly, from first to last
    assert rs.image(0, most=4).shape == (2*H, 2*W, 3) and rs.image(0, 60).shape == (60, 60, 3)
    sheet = rs.image(1); assert sheet.shape == (2*H, 3*W, 3) and (sheet[H:, 2*W:] == 0).all() and (sheet[:H, W:2*W] == picture(1)).all()
    assert check_folder(tmp_path).faults == []

def test_vqasynth(tmp_path):
    piece = lambda t: dict(index=None, text=t, type="text")
    mark = dict(index=0, text=None, type="image")
    messages = [dict(role="user", content=[mark, piece("Who is positioned more to the left, the red spoon or the arm?")]),
                dict(role="assistant", content=[piece("Red spoon is more to the left.")]),
                dict(role="user", content=[piece("How wide is the red spoon?")]),
                dict(role="assistant", content=[piece("The width of the red spoon is 3.5 centimeters.")]),
                dict(role="user", content=[piece("Is the red spoon above the arm?")]), dict(role="assistant", content=[piece("No.")])]
    (tmp_path/"data").mkdir()
    pq.write_table(pa.table(dict(image=[dict(bytes=encoded(picture()), path="0.png")], messages=[messages])),
                   tmp_path/"data"/"train-00000-of-00001.parquet")
    rs = read_records(tmp_path); r = rs[0]
    assert rs.task == "bridgevqa" and [t.kind for t in r.turns] == ["text", "length", "yes-no"] and r.about["split"] == "train"
    assert score_answer("within-25", "It is 4 cm wide.", r.turns[1].answer) == 1 and score_answer("yes-no", "no", r.turns[2].answer) == 1
    assert (rs.image(0) == picture()).all() and check_folder(tmp_path).faults == []

CHOICES = ["Yellow", "Blue", "None of the above"]
ENCODINGS = {"list, number": (CHOICES, 2), "list, letter": (CHOICES, "C"),
             "text, number": (str(CHOICES), 2), "text, letter": (str(CHOICES), "C")}

def robo2vlm(path, *encodings, **change):
    rows = [dict(id=f"q{k}", question="Which colored arrow shows the direction?", choices=c, correct_answer=a,
                 image=dict(bytes=encoded(picture()), path="q.png")) | change for k, (c, a) in enumerate(encodings)]
    path.parent.mkdir(parents=True, exist_ok=True); pq.write_table(pa.Table.from_pylist(rows), path)

@pytest.mark.parametrize("name", ENCODINGS)
def test_robo2vlm(tmp_path, name):
    robo2vlm(tmp_path/"data"/"test-00000-of-00001.parquet", ENCODINGS[name])
    rs = read_records(tmp_path); r = rs[0]
    assert r.turns[0] == Turn("Which colored arrow shows the direction? Choices: A. Yellow. B. Blue. C. None of the above.", "C", "letter")
    assert r.about["asked"] == "Which colored arrow shows the direction?" and r.about["split"] == "test" and isinstance(r.images[0], Cell)
    assert scored(rs, 0, "C.") == 1 and scored(rs, 0, "A") == 0 and check_folder(tmp_path).faults == []

def test_embspatial(tmp_path):
    row = dict(question="Where is the chair?", answer_options=["under", "left", "right", "close"], answer=1, relation="left")
    (tmp_path/"mirror").mkdir(); (tmp_path/"first").mkdir()
    pq.write_table(pa.Table.from_pylist([row | dict(image=dict(bytes=encoded(picture()), path=None))]), tmp_path/"mirror"/"test-0.parquet")
    noise = np.random.default_rng(0).integers(0, 255, (H, W, 3), np.uint8)
    dump(tmp_path/"first"/"embspatial_bench.json", [row | dict(image=base64.b64encode(encoded(noise)).decode())])
    for folder, im in (("mirror", picture()), ("first", noise)):
        rs = read_records(tmp_path/folder)
        assert rs.task == "vqa-mix" and rs[0].turns[0].answer == "B" and rs[0].turns[0].topic == "left" and (rs.image(0) == im).all()
        assert check_folder(tmp_path/folder).faults == []

def test_refspatial(tmp_path):
    dump(tmp_path/"train"/"choice_qa.json", [dict(id="0", image=["image/0.png"], depth=["depth/0.png"],
                                                  conversations=said("<image>\nPoint at the vacant area.", "[(0.25, 0.5)]"))])
    put(tmp_path/"train"/"image"/"0.png", picture()); put(tmp_path/"train"/"depth"/"0.png", picture()[..., 0])
    mask = np.zeros((H, W), np.uint8); mask[:24] = 255; (tmp_path/"bench").mkdir()
    row = dict(id=0, scene="indoor", object="free area", prompt="Point out the free area.", suffix="Answer as tuples.", step=2,
               image=dict(bytes=encoded(picture()), path=None), mask=dict(bytes=encoded(mask), path=None))
    pq.write_table(pa.Table.from_pylist([row]), tmp_path/"bench"/"location-0.parquet")
    rs = read_records(tmp_path/"train")
    assert rs.task == "vqa-mix" and rs[0].about["depth"] == "depth/0.png" and rs[0].turns[0].kind == "points"
    rs = read_records(tmp_path/"bench")
    assert rs[0].turns[0].question == "Point out the free area. Answer as tuples." and rs[0].about["step"] == 2
    assert scored(rs, 0, "[(0.5, 0.25), (0.5, 0.75)]") == .5
    assert check_folder(tmp_path/"train").faults == check_folder(tmp_path/"bench").faults == []
    both = read_records(tmp_path); assert both.task == "vqa-mix" and len(both) == 2 # a mixture is a folder of sets

@pytest.fixture
def sharerobot(tmp_path):
    meta = dict(original_dataset="bridge", original_width=W, original_height=H)
    dump(tmp_path/"planning"/"jsons"/"planning_task.json", [dict(
        id="/data/x/rt_frames/62_robo_set#episode_1", task="Future_Prediction_Task",
        selected_step=3, conversations=said("<image 0-1> After <move the banana>, what's most probable next?", "<place it into the mug>"),
        image=["/data/x/rt_frames/a/0.png", "/data/x/rt_frames/a/1.png"])])
    dump(tmp_path/"affordance"/"affordance.json", [dict(id=2486, meta_data=meta, instruction="place the red fork to the left",
                                                        affordance=dict(x=32., y=12., width=16., height=24.))])
    dump(tmp_path/"trajectory"/"trajectory.json", [dict(id="t/456.png", meta_data=meta, instruction="reach for the carrot",
                                                        points=[[16.4, 12.], [32., 24.], [48., 36.]])])
    for k in (0, 1): put(tmp_path/"planning"/"images"/"a"/f"{k}.png", picture(k))
    put(tmp_path/"affordance"/"images"/"2486.png", picture()); put(tmp_path/"trajectory"/"images"/"t"/"456.png", picture())
    return tmp_path

def test_sharerobot(sharerobot):
    rs = read_records(sharerobot); kinds = {r.turns[0].kind: k for k, r in enumerate(rs)}
    assert rs.task == "robobrain2" and set(kinds) == {"text", "box", "trajectory"}
    plan, box, path = (rs[kinds[k]] for k in ("text", "box", "trajectory"))
    assert plan.turns[0].topic == "Future_Prediction_Task" and rs.image(kinds["text"]).shape == (H, 2*W, 3) # found by the end of its path
    assert box.turns[0].answer == "[32, 12, 48, 36]" and box.about["size"] == (W, H)
    assert path.turns[0].answer == "[[16, 12], [32, 24], [48, 36]]"
    assert scored(rs, kinds["box"], "[32, 12, 40, 36]") == pytest.approx(.5)
    assert scored(rs, kinds["trajectory"], "[[16, 0], [32, 12], [48, 24]]") == pytest.approx(.25) # a quarter of the height beside it
    assert check_folder(sharerobot).faults == []
    assert "no licence tag seen" in check_folder(sharerobot).facts["licence"]

def test_one_file_of_a_set_is_a_set(robopoint):
    rs = read_records(robopoint/"robopoint_1432k.json")
    assert len(rs) == 4 and (rs.image(0) == picture()).all() and check_folder(robopoint/"robopoint_1432k.json").faults == []
    assert is_records(robopoint) and rs.hash == read_records(robopoint/"robopoint_1432k.json").hash

# what is written is what was meant

def turns(*args): return (Turn(*args),)

WRITTEN = {
    "robopoint": [Record("a", ("a.png",), turns("Point at it.", "[(0.250, 0.500)]", "points", "object"), dict(mask="m.png"))],
    "vica332k": [Record("a", (), turns("How many cards?", "4", "number", "count"), dict(video="clip"))],
    "bridgevqa": [Record("a", ("a.png",), (*turns("Is it wide?", "Yes.", "yes-no", "wide"), *turns("How far?", "12 cm", "length", "far")))],
    "robo2vlm": [Record("a", ("a.png",), turns("Is the gripper open?", "B", "letter", "state"), dict(choices=["Yes", "No"]))],
    "robobrain2": [Record("a", ("a.png",), turns("grasp it", "[10, 12, 20, 22]", "box", "affordance"), dict(size=(W, H))),
                   Record("b", ("a.png",), turns("reach", "[[1, 2], [20, 22], [30, 32]]", "trajectory", "trajectory"), dict(size=(W, H))),
                   Record("c", ("a.png",), turns("Where is it?", "[(10, 12)]", "points", "pointing"), dict(size=(W, H)))],
    "omni-generation": [Record("a", ("a.png",), (), dict(depth="d.png", segmentation="s.png", labels={1: "card"}))],
    "fast": [Record("a", ("a.png",), turns("What next?", "<robot_action_3><robot_action_300>", "tokens", "actions"))]}

@pytest.mark.parametrize("task", WRITTEN)
def test_a_set_is_written_in_its_own_form(tmp_path, task):
    mask = np.zeros((H, W), bool); mask[5:9] = True; depth = np.linspace(.5, 2, H*W).reshape(H, W)
    things = (np.arange(H*W).reshape(H, W) % 7).astype(np.uint8)
    images = {"a.png": picture(3), "m.png": mask, "clip": [picture(k) for k in range(3)], "d.png": depth, "s.png": things}
    folder = write_records(tmp_path/"set", task, WRITTEN[task], images, "test", "MIT")
    rs = read_records(folder, split="test"); back = sorted((rs[k] for k in range(len(rs))), key=lambda r: r.turns[0].kind)
    assert rs.task == task and rs[0].about["split"] == "test" and check_folder(folder).facts["licence"].startswith("MIT")
    assert check_folder(folder).faults == []
    for r, w in zip(back, sorted(WRITTEN[task], key=lambda r: r.turns[0].kind if r.turns else "")):
        if task == "omni-generation": continue
        assert [(t.answer, t.kind, t.topic) for t in r.turns] == [(t.answer, t.kind, t.topic) for t in w.turns], task
        assert [t.question.startswith(v.question) for t, v in zip(r.turns, w.turns)] == [True]*len(w.turns)
    if task == "robopoint": assert (rs.mask(0) == mask).all()
    if task == "vica332k": assert (rs.image(0) == np.concatenate([np.concatenate([picture(0), picture(1)], 1),
                                                                  np.concatenate([picture(2), 0*picture()], 1)])).all()
    else: assert (rs.image(0) == picture(3)).all()
    if task == "omni-generation":
        t = rs.target(0); assert abs(t["depth"] - depth).max() <= .0005 + 1e-9 and (t["segmentation"] == things).all()
        assert [t.topic for t in rs[0].turns] == ["depth", "segmentation"] and rs[0].about["labels"] == {1: "card"}

def test_splits_lie_in_one_folder(tmp_path):
    for split, n in (("train", 3), ("test", 2)):
        write_records(tmp_path, "fast", WRITTEN["fast"]*n, {"a.png": picture()}, split)
    assert len(read_records(tmp_path)) == 5 and len(read_records(tmp_path, split="test")) == 2
    with pytest.raises(UserError, match="did you mean 'train'"): read_records(tmp_path, split="trian")

def test_a_large_list_is_not_loaded(tmp_path, monkeypatch):
    from vlm4vla.auxiliary import rows
    monkeypatch.setattr(rows, "_STEP", 1000) # pieces that end in the middle of entries, words and letters
    texts = [f"{'é' * (k % 50)} \\\" {{[ {k}" for k in range(300)]
    (tmp_path/"a.json").write_text(json.dumps([dict(id=k, t=t) for k, t in enumerate(texts)], ensure_ascii=False))
    (tmp_path/"b.jsonl").write_text("\n".join(json.dumps(dict(id=k, t=t)) for k, t in enumerate(texts)))
    for name in ("a.json", "b.jsonl"): assert [r["t"] for r in JsonRows(tmp_path/name)] == texts

# broken ones

def change(path, edit):
    rows = json.loads(path.read_text()); edit(rows); path.write_text(json.dumps(rows))

def test_broken_json(robopoint):
    path = robopoint/"robopoint_1432k.json"; path.write_text(path.read_text()[:-40])
    sentences(robopoint, "no sound JSON behind its entry 3")

def test_broken_from_the_start(tmp_path):
    (tmp_path/"questions.json").write_text("[{'id': 0}]"); sentences(tmp_path, "no sound JSON behind its entry 0")

def test_a_pointer_instead_of_a_file(tmp_path):
    (tmp_path/"train-0.parquet").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 12\n")
    sentences(tmp_path, "Git-LFS pointer")

def test_images_that_are_not_there(robopoint):
    (robopoint/"images"/"coco"/"1.jpg").unlink(); assert "1 more like it" in sentences(robopoint, "image coco/1.jpg, which is not there")[0]

def test_an_image_that_is_none(robopoint):
    (robopoint/"images"/"region_ref"/"0.png").write_text("not found"); sentences(robopoint, "is no image that Pillow knows")

def test_wrong_columns(tmp_path):
    pq.write_table(pa.table(dict(prompt=["a"], reply=["b"])), tmp_path/"train-0.parquet")
    sentences(tmp_path, "no container that we know: its first entry has prompt, reply")

def test_an_answer_outside_the_choices(tmp_path):
    robo2vlm(tmp_path/"test-0.parquet", (["Yellow", "Blue"], 2))
    sentences(tmp_path, "says that 2 is right, and its choices are Yellow, Blue")

def test_choices_that_are_none(tmp_path):
    robo2vlm(tmp_path/"test-0.parquet", ("Yellow", 0)); sentences(tmp_path, "has no list of choices")

def test_two_encodings_in_one_set(tmp_path):
    robo2vlm(tmp_path/"train-0.parquet", ENCODINGS["list, number"]); robo2vlm(tmp_path/"train-1.parquet", ENCODINGS["text, letter"])
    sentences(tmp_path, "choices as a list and the answer as a number, entry 0 of")

def test_a_mask_of_another_size(tmp_path):
    dump(tmp_path/"point_questions.jsonl", [dict(question_id=0, image="00.jpg", text="Locate it.")])
    put(tmp_path/"images"/"00.jpg", picture()); put(tmp_path/"masks"/"00.jpg", np.full((W, H), 255, np.uint8))
    sentences(tmp_path, "is 64 × 48, and its image 48 × 64")
    put(tmp_path/"masks"/"00.jpg", np.zeros((H, W), np.uint8)); sentences(tmp_path, "is empty, so no point is right")
    (tmp_path/"masks"/"00.jpg").unlink(); sentences(tmp_path, "names the mask masks/00.jpg, which is not there")

def test_pixels_among_fractions(robopoint):
    change(robopoint/"robopoint_1432k.json", lambda rows: rows[0]["conversations"][1].update(value="[(320, 240), (0.5, 0.5)]"))
    sentences(robopoint, "says 320, and places are declared as fractions of the image")

def test_a_place_outside_its_image(sharerobot):
    change(sharerobot/"affordance"/"affordance.json", lambda rows: rows[0]["affordance"].update(x=60.))
    sentences(sharerobot, "a place outside its image of 64 × 48 pixels")

def test_an_image_of_another_size(sharerobot):
    put(sharerobot/"affordance"/"images"/"2486.png", np.zeros((H, 2*W, 3), np.uint8))
    sentences(sharerobot, "gives its places in an image of 64 × 48")

def test_a_path_without_a_way(sharerobot):
    change(sharerobot/"trajectory"/"trajectory.json", lambda rows: rows[0].update(points=[[1, 2], [3, 4]]))
    sentences(sharerobot, "has a path of 2 points, and three are the least")

def test_nobody_says_how_large(sharerobot):
    change(sharerobot/"affordance"/"affordance.json", lambda rows: rows[0].pop("meta_data"))
    sentences(sharerobot, "how large its image is")

def test_a_cut_conversation(robopoint):
    change(robopoint/"robopoint_1432k.json", lambda rows: rows[2]["conversations"].pop())
    sentences(robopoint, "does not alternate between question and answer (question, answer, question)")

def test_no_answer_and_too_many_marks(robopoint):
    change(robopoint/"robopoint_1432k.json", lambda rows: (rows[2]["conversations"][1].update(value=" "),
                                                           rows[1]["conversations"][0].update(value="<image>\n<image>\nFind all cups.")))
    sentences(robopoint, "has 2 marks <image> and 1 images", "a question without an answer")

def test_something_else_where_a_text_belongs(robopoint):
    change(robopoint/"robopoint_1432k.json", lambda rows: (rows[0]["conversations"][1].update(value=None), rows.append("strange")))
    sentences(robopoint, "says None where a text belongs", "is not as its container has it")

def test_nothing_there(tmp_path):
    (tmp_path/"empty.json").write_text("[]"); sentences(tmp_path, "has no entries; bring it anew")
    (tmp_path/"empty.json").write_text('{"info": 1}'); sentences(tmp_path, "of no container that we know: its first entry has info")
    with pytest.raises(UserError, match="did you mean 'robopoint'"): read_records(tmp_path, "robopiont")
    with pytest.raises(UserError, match="There is nothing at"): read_records(tmp_path/"gone")
    assert check_records(tmp_path/"gone").faults[0].startswith("There is nothing at")

def test_demonstrations_are_still_checked(tmp_path):
    assert "holds no dataset" in check_folder(tmp_path).faults[0] and "There is nothing" in check_folder(tmp_path/"gone").faults[0]

def test_the_command_line(robopoint, capsys):
    from vlm4vla.cli import main
    assert main(["data", "check", str(robopoint)]) == 0
    out = capsys.readouterr().out; assert "RoboPoint" in out and "Nothing is wrong with it." in out
    (robopoint/"images"/"coco"/"1.jpg").unlink(); assert main(["data", "check", str(robopoint)]) == 1
    assert "which is not there" in capsys.readouterr().out
