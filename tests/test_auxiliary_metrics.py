"Metrics of auxiliary tasks, against numbers worked by hand, and texts that are read as published scorers read them."
import math
import numpy as np, pytest
from vlm4vla.auxiliary.answers import answer_kinds, coordinate_systems, guess_kind
from vlm4vla.auxiliary.metrics import (box_iou, decoded_rmse, depth_delta, depth_l1, frechet, hausdorff, mean_iou, metrics, path_rmse,
                                       points_in_mask, relative_accuracy, score_answer, token_cross_entropy)
from vlm4vla.catalog.auxiliary import auxiliary_tasks
from vlm4vla.core import UserError

MASK = np.zeros((4, 8)); MASK[1:3, 2:6] = 1 # four rows, eight columns: rows 1 and 2, columns 2 to 5 are right
points = lambda text, c="fractions", size=(8, 4): answer_kinds["points"].parse(text, c, size)

@pytest.mark.parametrize("text, score", [
    ("[(0.25, 0.25)]", 1), # column 2, row 1: the region's first pixel
    ("[(0.749, 0.749)]", 1), # column 5, row 2: its last
    ("[(0.75, 0.5)]", 0), # column 6
    ("[(0.25, 0.25), (0.0, 0.0)]", .5),
    ("[(0.25, 0.25), (1.0, 0.5), (0.5, 1.5), (-0.1, 0.5)]", .25), # three outside the image
    ("(2, 1) and (6, 1)", .5), # integers are pixels
    ("(2, 0.25)", 0), # one of them a fraction: both are, and 2 lies outside
    ("(0.25, 0.25, 0.75, 0.75)", 1), # the region itself, as a box
    ("[(0.0, 0.0, 1.0, 1.0)]", 8/32), # all 32 pixels, of which 8 are right
    ("(0, 0, 4, 4)", 4/16), # the left half in pixels
    ("no idea", 0), ("", 0)])
def test_points_in_a_mask(text, score):
    assert points_in_mask(points(text), MASK) == pytest.approx(score)
    assert score_answer("points-in-mask", text, "", mask=MASK, coordinates="fractions") == pytest.approx(score)

def test_a_soft_mask_gives_a_part():
    assert points_in_mask([[.5, .5]], np.full((4, 4), 102/255)) == pytest.approx(.4)
    assert points_in_mask([[.5, .5], [.5, 2]], np.full((4, 4), 102/255)) == pytest.approx(.2)

def test_every_pixel_is_found_again():
    for w, h in ((640, 480), (333, 77), (1000, 3)): # a fraction that is a little too small must not fall into the pixel before
        x = np.arange(w); said = answer_kinds["points"].text(np.stack([x/w, x % h/h], 1), "pixels", (w, h))
        back = points(said, "pixels", (w, h))*[w, h]
        assert np.abs(back - np.stack([x, x % h], 1)).max() < 1e-9
        mask = np.zeros((h, w)); mask[x[:h] % h, x[:h]] = 1
        assert points_in_mask(np.stack([x[:h]/w, x[:h] % h/h], 1), mask) == 1

def test_mean_relative_accuracy():
    # |said − truth|/truth: 0 → all ten; 4 % → all with 1 − θ ≥ .05; 10 % → all but .95; 12 % → all but .95 and .90; 50 % → θ = .5 alone
    for said, share in ((100, 1.), (104, 1.), (90, .9), (112, .8), (75, .6), (80, .7), (150, .1), (150.1, 0.), (0, 0.), (-100, 0.)):
        assert relative_accuracy(said, 100) == pytest.approx(share), said
    assert relative_accuracy(None, 3) == 0 and relative_accuracy(0, 0) == 1 and relative_accuracy(1, 0) == 0
    assert score_answer("mra", "18.", "18.33") == 1 and score_answer("mra", "18 metres", "18.33") == 1 # the first word
    assert score_answer("mra", "about 18", "18.33") == 0 # whose first word is no number

def test_letters_words_and_yes():
    for said, right in (("C", 1), ("c.", 1), ("C. Purple", 1), ("The answer is C", 0), ("", 0), ("D", 0)):
        assert score_answer("letter", said, "C") == right, said
    assert [score_answer("yes-no", s, "No, it is not.") for s in ("no", "No.", "Yes", "it is not")] == [1, 1, 0, 0]
    assert [score_answer("exact", s, "Red spoon.") for s in ("red  spoon", "the red spoon")] == [1, 0]
    assert score_answer("words", "a red cup", "the red cup") == pytest.approx(2*2/6) # two of three words in common, both ways
    assert score_answer("words", "yes", "no") == 0

def test_lengths_within_a_quarter():
    texts = ("The cup is 9.4 cm wide.", 1), ("0.0937 m", 0), ("156 mm", 1), ("15.7 centimeters", 0), ("4 inches", 1), ("12.5", 0)
    for said, right in texts:
        assert score_answer("within-25", said, "It is 12.5 centimeters.") == right, said
    assert [score_answer("within-25", s, "8") for s in ("6", "10", "5.9")] == [1, 1, 0] # without units on either side
    assert answer_kinds["length"].parse("1.5 feet") == pytest.approx(.4572) and answer_kinds["length"].parse("2 cups") is None

def test_boxes():
    assert box_iou([0, 0, 2, 2], [1, 1, 3, 3]) == pytest.approx(1/7) # 1 in common of 4 + 4 − 1
    assert box_iou([0, 0, 1, 1], [1, 0, 2, 1]) == 0 and box_iou([0, 0, 1, 1], [0, 0, 1, 1]) == 1
    assert box_iou([0, 0, 4, 2], [0, 0, 2, 2]) == pytest.approx(.5) and box_iou([1, 1, 0, 0], [0, 0, 1, 1]) == 0 # turned inside out: empty
    assert score_answer("box-iou", "[10, 10, 30, 30]", "[10, 10, 30, 50]", coordinates="pixels", size=(100, 100)) == pytest.approx(.5)

def test_paths():
    a, b = [[0, 0], [1, 0], [2, 0]], [[0, 1], [2, 1]]
    assert path_rmse(b, a) == pytest.approx(1) # walked in three steps it lies 1 above each point
    assert path_rmse([[0, 0]], a) == pytest.approx(math.sqrt((0 + 1 + 4)/3)) # a point stays where it is
    assert frechet(a, b) == pytest.approx(math.sqrt(2)) # the middle point is 1 to the side and 1 below either end
    assert hausdorff(a, b) == pytest.approx(math.sqrt(2))
    assert frechet(a, a[::-1]) == 2 and hausdorff(a, a[::-1]) == 0 # backwards
    assert frechet([[0, 0], [2, 0]], [[0, 0], [3, 0], [2, 0]]) == 1 # the detour is one away from the end
    assert score_answer("frechet", "nothing", "[[0, 0], [1, 1], [2, 2]]", coordinates="pixels", size=(9, 9)) == pytest.approx(math.sqrt(2))

def test_depth_and_things():
    truth, said = np.array([[1., 2.], [0., 4.]]), np.array([[1.2, 2.5], [9., 3.]])
    assert depth_l1(said, truth) == pytest.approx((.2 + .5 + 1)/3) # the pixel without truth does not count
    assert depth_delta(said, truth) == pytest.approx(1/3) # 1.2 is near enough; 2.5/2 is not below 1.25, nor is 4/3
    s, t = np.array([[0, 0, 1], [0, 1, 1]]), np.array([[0, 0, 0], [1, 1, 1]])
    assert mean_iou(s, t) == pytest.approx((2/4 + 2/4)/2) # each number: two pixels in common of four
    assert mean_iou(np.array([[2, 0]]), np.array([[0, 0]])) == pytest.approx((1/2 + 0)/2) # a thing that is not there counts
    assert mean_iou(np.array([[2, 1]]), np.array([[0, 1]]), ignore=(0,)) == pytest.approx((1 + 0)/2)

def test_tokens_and_actions():
    assert token_cross_entropy([[0., 0., 0., 0.]], [2]) == pytest.approx(math.log(4))
    assert token_cross_entropy([[math.log(3), 0.], [0., math.log(9)]], [0, 1]) == pytest.approx(-(math.log(.75) + math.log(.9))/2)
    assert token_cross_entropy([[1e4, 0.]], [1]) == pytest.approx(1e4)
    assert decoded_rmse([[0, 0], [0, 0]], [[3, 0], [0, 4]]) == pytest.approx(2.5) # √(25/4)
    with pytest.raises(UserError, match="shape"): decoded_rmse(np.zeros((4, 7)), np.zeros((3, 7)))
    words = lambda *ids: "".join(f"<robot_action_{i}>" for i in ids)
    assert score_answer("token-match", words(1, 2), words(1, 3, 4)) == pytest.approx(1/3)

@pytest.mark.parametrize("name", coordinate_systems)
def test_places_come_back(name):
    c, size = coordinate_systems[name], (321, 240); v = np.random.default_rng(0).random((200, 2))
    unit = np.array([1e-3, 1e-3]) if c.full else 1/np.array(size)
    for kind, values in (("points", v), ("trajectory", v), ("box", np.r_[v[0]/2, .5 + v[1]/2])):
        text = answer_kinds[kind].text(values, name, size); back = answer_kinds[kind].parse(text, name, size)
        assert (np.abs(back - values) <= (1 if c.cell else .5)*np.resize(unit, np.shape(values)) + 1e-9).all(), kind
        assert answer_kinds[kind].text(back, name, size) == text # what was rounded once is not rounded again
    corner = {"fractions": "[(1.000, 1.000)]", "thousandths": "[[1000, 1000]]", "thousandths-999": "[(999, 999)]", "pixels": "[(320, 239)]"}
    assert answer_kinds["points"].text([[1., 1.]], name, size) == corner[name] # as a cell the last one

def test_json_of_qwen_is_read():
    text = 'Here:\n```json\n[{"point_2d": [250, 500], "label": "cup"}, {"point_2d": [ 300, 20 ], "label": "cup 2"}]\n```'
    assert points(text, "thousandths").tolist() == [[.25, .5], [.3, .02]]
    assert guess_kind(text) == "text" and guess_kind(text[6:]) == "points"
    assert answer_kinds["box"].parse('{"bbox_2d": [100, 200, 300, 400]}', "thousandths").tolist() == [.1, .2, .3, .4]
    assert points("[250, 500]", "fractions") is None # RoboPoint's scorer knows tuples alone

def test_every_task_has_its_metrics():
    for t in auxiliary_tasks.values():
        assert set(t.metrics.values()) <= set(metrics) and set(t.answers) <= set(answer_kinds), t.name
        assert t.coordinates in ("", *coordinate_systems) and all(m in t.answers for m in t.metrics if t.answers != ("image",)), t.name
