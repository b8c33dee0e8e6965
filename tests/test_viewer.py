"An episode, step by step: what cannot be shown is said in a sentence, and what can is drawn with and without a person at the page."
import base64, importlib.util, io
from pathlib import Path
from types import SimpleNamespace
import IPython, numpy as np, pytest
from PIL import Image
from vlm4vla.core import UserError
from vlm4vla.data.readers import Reader
from vlm4vla.sim import viewer
from vlm4vla.sim.rollout import EpisodeJob, show_video
from vlm4vla.sim.video import animation
from vlm4vla.sim.viewer import EpisodeRecord, view

INSTRUCTION = "把方块放到笑脸上, 50 % of {x_1} & $y_2$ <b>"

def frame(i=0): return np.full((32, 32, 3), (20*i % 255, 90, 160), np.uint8)

def dataset(lengths=(5, 7)):
    n = sum(lengths)
    return Reader(folder=Path("toy"), format="toy", actions=np.arange(7*n, dtype=np.float32).reshape(n, 7), lengths=np.array(lengths, int),
                  texts=np.arange(len(lengths)), instructions=("go right", INSTRUCTION)[:len(lengths)], rows=np.arange(n), on_disk=n,
                  image=frame, hash="toy")

def job(done=7, sent=10, **more):
    frames = [frame(i) for i in range(done + 1)]
    return EpisodeJob("place-it", 3, 0, obs=(frames[-1], INSTRUCTION), frames=frames, marks=list(range(done + 1)),
                      chunks=[np.full((5, 7), i, np.float32) for i in range(sent//5)], **more)

class Policy:
    def __init__(self): self.asked = []
    def look(self, images): return images[:, ::2, ::2]
    def act(self, images, instructions): self.asked += instructions; return np.zeros((len(images), 4, 7), np.float32)

@pytest.mark.parametrize("source, number, said", [
    (lambda: EpisodeJob("place-it", 3, 0), 0, "Episode 3 of place-it kept no images; give `rollout` an `on_film`"),
    (lambda: dataset(()), 0, "toy has no episode to look at"),
    (dataset, 2, "toy has episodes 0 to 1, and 2 is none of them."),
    (dataset, -1, "toy has episodes 0 to 1, and -1 is none of them."),
    (dataset, .5, "toy has episodes 0 to 1, and 0.5 is none of them."),
    (lambda: "not/a/folder", 0, "There is nothing at not/a/folder; give the folder of a dataset."),
    (lambda: 7, 0, "A int is no episode to look at; give an episode of a rollout, or the folder of a dataset."),
    (lambda: EpisodeRecord(name="Mine", image=frame, steps=0, actions=np.zeros((0, 7)), instruction="go"), 0, "Mine has no image")])
def test_what_is_no_episode(source, number, said):
    with pytest.raises(UserError) as e: view(source(), number)
    assert str(e.value).startswith(said)

@pytest.mark.parametrize("step", [7, -1, 2.5])
def test_a_step_that_is_not_there(step):
    for show in (lambda v: v.figure(step), lambda v: v.overview([0, step])):
        with pytest.raises(UserError, match=f"Episode 1 of toy has steps 0 to 6, and {step} is none of them."): show(view(dataset(), 1))

def test_an_image_that_is_gone():
    "The reader's own sentence comes through."
    def gone(row): raise UserError("Image 3 of toy cannot be read; bring it back.")
    with pytest.raises(UserError, match="Image 3 of toy cannot be read"):
        view(EpisodeRecord(name="Mine", image=gone, steps=5, actions=np.zeros((5, 7)), instruction="go")).figure(3)

def test_no_frame_makes_no_video():
    with pytest.raises(UserError, match="There is no frame to show"): animation([], [])

def test_a_rollout_has_the_actions_that_were_done_and_one_more_image():
    shown = view(job())
    assert shown.episode.steps == 8 and shown.episode.actions[:, 0].tolist() == [0]*5 + [1]*2
    assert repr(shown) == f"Episode 3 of place-it: “{INSTRUCTION}”, 8 steps"
    assert view(job(0, 0)).episode.actions.shape == (0, 7), "it ended at once"
    view(job(0, 0)).overview()

def test_a_dataset_has_its_own_rows():
    e = view(dataset(), 1).episode
    assert (e.at(2) == frame(7)).all() and e.actions[0, 0] == 35 and e.instruction == INSTRUCTION

@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("policy", [None, Policy()])
def test_it_is_drawn(policy):
    shown = view(job(), policy=policy)
    found = shown._repr_mimebundle_()
    assert set(found) == {"text/plain", "image/png"}, "nobody is at this page, so there is no slider"
    data = base64.b64decode(found["image/png"])
    assert Image.open(io.BytesIO(data)).width > 900 and len(data) < 200_000
    assert policy is None or policy.asked == [INSTRUCTION]*6
    images = [ax for ax in shown.figure(7).findobj(lambda a: hasattr(a, "get_images") and len(a.get_images()))]
    assert len(images) == 1 + (policy is not None)

def test_where_a_person_is_there_is_a_slider(monkeypatch):
    if not importlib.util.find_spec("ipywidgets"): pytest.skip("needs ipywidgets; `make setup` brings it")
    def front_end(answers):
        monkeypatch.setattr(IPython, "get_ipython", lambda: SimpleNamespace(kernel=SimpleNamespace(_allow_stdin=answers)))
    front_end(False); assert not viewer._somebody_is_there()
    front_end(True); assert viewer._somebody_is_there()
    monkeypatch.undo()
    words, (play, at), shown = (lambda b: (b.children[0], b.children[1].children, b.children[2]))(view(dataset(), 1).slider())
    assert at.max == play.max == 6 and "&lt;b&gt;" in words.value
    before = bytes(shown.value); at.value = 4
    assert bytes(shown.value) != before and bytes(shown.value).startswith(b"\x89PNG")

def test_a_video_inside_a_page_is_small_and_moves():
    row = dict(failure="", detail="{}", success=True, n_steps=7)
    with Image.open(io.BytesIO(show_video(job(), row).data)) as f: assert f.n_frames == 8 and f.width == 224
