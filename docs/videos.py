"""The videos of the site, made again into docs/static/videos/ with what each shows: `python docs/videos.py [NAME …]`.

Policies are those that come with the package, each rolled out on the same episodes; the first that succeeds and the first that fails
are kept. Where no trained policy comes with the package, the scripted expert acts, and the caption says so. A simulator that is
not installed is left out, and its videos stay as they are."""
import io, json, sys
from dataclasses import dataclass, replace
from pathlib import Path
from PIL import Image

FOLDER = Path(__file__).resolve().parent/"static"/"videos"
LARGEST, SIDE = 100_000, 224   # bytes of a video, pixels of its side
sys.path.insert(0, str(FOLDER.parents[2]))

@dataclass(frozen=True, kw_only=True)
class Scene:
    "Episodes of which one success and one failure are kept, as far as they come."
    name:str # The videos' names begin with it
    benchmark:str # Entry of `benchmarks`
    split:str # Whose episodes
    tasks:tuple=() # By default all
    episodes:tuple=tuple(range(6))
    policy:str="" # A policy that comes with the package; empty: the scripted expert acts
    what:str # Who acts, as the card says
    env:dict=None # More for the simulator
    module:str="" # The simulator's, where it is another than the benchmark's
    note:str="" # What a viewer should know

EXPERT = "scripted expert, which knows where everything is; no policy"
PRETRAINED, SCRATCH = "policy from a pretrained small VLM", "policy from the same VLM with random weights"
SCENES = [
    Scene(name="tabletop-pretrained-seen", benchmark="grinningface", split="id", policy="grinningface-pretrained", what=PRETRAINED),
    Scene(name="tabletop-scratch-seen", benchmark="grinningface", split="id", policy="grinningface-scratch", what=SCRATCH,
          episodes=(0, 1, 2)),
    Scene(name="tabletop-pretrained-unseen", benchmark="grinningface", split="val", policy="grinningface-pretrained", what=PRETRAINED),
    Scene(name="tabletop-scratch-unseen", benchmark="grinningface", split="val", policy="grinningface-scratch", what=SCRATCH,
          episodes=(0, 1, 2)),
    Scene(name="bridge-carrot", benchmark="simpler-bridge", split="train", tasks=("carrot",), episodes=(0, 1, 2, 3), what=EXPERT,
          env=dict(pilot="expert", stop_after=3), note="A layout of the training split."),
    Scene(name="bridge-spoon", benchmark="simpler-bridge", split="train", tasks=("spoon",), episodes=(0, 1, 2), what=EXPERT,
          env=dict(pilot="expert", stop_after=3), note="A layout of the training split."),
    Scene(name="bridge-noise", benchmark="simpler-bridge", split="train", tasks=("carrot",), episodes=(0, 1, 2, 3),
          what="the same expert with a trembling hand, 4 cm of noise on each move", env=dict(pilot="expert", stop_after=3, shaky=.04)),
    Scene(name="libero-basket", benchmark="libero-10", split="libero_10", episodes=(0,), what=EXPERT,
          tasks=("LIVING_ROOM_SCENE2_put_both_the_alphabet_soup_and_the_tomato_sauce_in_the_basket",),
          module="vlm4vla.tasks.libero.expert", note="The room around the table is a plain stand-in.")]

def rolled_out(s):
    "The first episode that succeeds and the first that does not, as images, instruction and row; only these two are filmed."
    from vlm4vla.catalog.benchmarks import benchmarks
    from vlm4vla.policy.policy import Policy
    from vlm4vla.policy.shipped import shipped
    from vlm4vla.sim.rollout import pick_examples, rollout
    from vlm4vla.tasks.bridge.demonstrations import NoOpPolicy
    b, films = benchmarks[s.benchmark], {}
    b = replace(b, module=s.module or b.module, splits=(*b.splits, s.split))
    n = b.n_action_steps if s.policy else 10
    policy = Policy.load(shipped()[s.policy]) if s.policy else NoOpPolicy(n)
    keep = lambda job: films.update({(job.task, job.episode): (list(job.frames), job.obs[1])})
    go = lambda episodes, **kw: rollout(policy, b, s.split, list(episodes), workers=1, n_action_steps=n, tasks=s.tasks or None,
                                        run_id=s.policy, env=s.env, time_limit=600., start_limit=600., **kw)
    wanted = {r["episode"] for r in pick_examples(go(s.episodes)).values()} if len(s.episodes) > 1 else s.episodes
    return [(*films[r["task"], r["episode"]], r) for r in go(wanted, on_film=keep)]

def webp(images, path):
    "A video that begins again, no larger than is allowed: fewer images first, then less of each."
    least = max(1, len(images)//60)
    for every, quality in ((1, 75), (1, 60), (2, 60), (2, 45), (3, 45), (3, 30), (4, 30), (5, 25), (6, 20), (9, 20), (12, 15)):
        if every < least: continue
        few = images[:-1:every] + images[-1:]
        pages, file = [Image.fromarray(i).resize((SIDE, SIDE), Image.Resampling.LANCZOS) for i in few], io.BytesIO()
        pages[0].save(file, "WEBP", save_all=True, append_images=pages[1:], loop=0, quality=quality, method=4, minimize_size=True,
                      duration=[70*every]*(len(pages) - 1) + [2000])
        if file.tell() <= LARGEST: break
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(file.getvalue())

def card(s, said, row, path):
    "What a card says of a video."
    from vlm4vla.catalog.benchmarks import benchmarks
    from vlm4vla.sim.rollout import outcome
    b, split = benchmarks[s.benchmark], s.split
    label = b.split_label(split) if split in b.splits else split
    task = row["task"] if len(row["task"]) < 20 else ""   # a long one says what the instruction says
    return dict(file=path.name, benchmark=b.label, experiment=s.policy, who=s.what, split=label, task=task, episode=row["episode"],
                instruction=said, success=bool(row["success"]), outcome=outcome(row), note=s.note)

def make(s):
    "The videos of a scene, and their cards."
    found = {}
    for images, said, row in rolled_out(s): found.setdefault(bool(row["success"]), (images, said, row))
    for success, (images, said, row) in sorted(found.items(), reverse=True):
        path = FOLDER/f"{s.name}-{'success' if success else 'failure'}.webp"
        webp(images, path)
        print(f"{path.name}: {path.stat().st_size/1000:.0f} kB, {len(images)} images, {row['task']} {row['episode']}", flush=True)
        yield card(s, said, row, path)

HEAD = """# Videos

Policies and scripted experts at work: success beside failure. Made by `python docs/videos.py`; the site shows them as cards.

| video | what it shows |
|---|---|
"""

def line(c):
    "A video and its card as a row of a table."
    facts = [c["benchmark"], c["split"], c["task"], f"episode {c['episode']}", c["experiment"] and f"`{c['experiment']}`"]
    return (f"| ![{c['outcome']}]({c['file']}) | **{'Success' if c['success'] else 'Failure'}**: {c['who']}. “{c['instruction']}” "
            f"{c['outcome']}. {', '.join(filter(None, facts))}. {c['note']} |")

def main(names):
    "Make the videos of some scenes, or of all, and the list of what they show."
    from vlm4vla.core import UserError, write_json, write_text
    listed = FOLDER/"videos.json"
    cards = {c["file"]: c for c in json.loads(listed.read_text(encoding="utf-8"))} if listed.is_file() else {}
    for s in SCENES:
        if names and not s.name.startswith(names): continue
        try: new = list(make(s))
        except UserError as e: print(f"{s.name} stays as it is: {e}"); continue
        cards = {f: c for f, c in cards.items() if not f.startswith(s.name)} | {c["file"]: c for c in new}
    order = {s.name: i for i, s in enumerate(SCENES)}
    cards = sorted(cards.values(), key=lambda c: (order.get(c["file"].rpartition("-")[0], 99), not c["success"]))
    write_json(listed, cards)
    write_text(FOLDER/"README.md", HEAD + "\n".join(map(line, cards)) + "\n")

if __name__ == "__main__": main(tuple(sys.argv[1:]))
