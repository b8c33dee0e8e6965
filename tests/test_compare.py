"Two runs side by side: the numbers of the analysis pages, everything that is not the same, and one sentence where nothing can be said."
import re
import pandas as pd, pytest
from vlm4vla.catalog.experiments import experiments
from vlm4vla.core import UserError, write_json
from vlm4vla.results.compare import compare_runs, draw_curves, write_curves
from vlm4vla.results.tables import append

BASE, SCRATCH = "mini-qwen3-vl__grinningface__base", "mini-qwen3-vl__grinningface__scratch"
A, B = f"{BASE}__s0", f"{SCRATCH}__s0"

def rolled(out, run_id, right=range(8), placed=range(10), episodes=range(10), mode="5 of 10", splits=("id", "val")):
    "Made-up episodes: those of `right` end on the right card, those of `placed` on any."
    b = experiments[run_id].benchmark
    rows = [dict(run_id=run_id, benchmark=b, split=s, task="place-on-emoji", episode=i, chunk_mode=mode, success=i in right, n_steps=30,
                 seconds=1., detail=dict(execution=i in placed, recognition=i in right if i in placed else None))
            for s in splits for i in episodes]
    append("episodes", rows, out)

def trained(out, run_id, end=.1, account=None):
    "A training log, and perhaps an account."
    e = experiments[run_id]
    append("train_log", [dict(run_id=run_id, name=n, step=s, value=end + .01*(100 - s)) for n in ("arm", "loss", "grad_norm")
                         for s in range(0, 100, 5)], out)
    append("runs", [dict(run_id=run_id, kind="train", backbone=e.backbone, benchmark=e.benchmark, variant=e.variant, seed=e.seed, step=100,
                         checkpoint="", status="done", git_sha="abc", started="", seconds=1234.)], out)
    if account:
        write_json(out/"provenance"/f"{run_id}.json", dict(run_id=run_id, train=dict(
            resolved=dict(backbone=dict(name=e.backbone), recipe=account), inputs=dict(data="d"*64), versions=dict(torch="2"),
            hardware=dict(gpus=["H100"]))))

@pytest.fixture
def two(tmp_path):
    rolled(tmp_path, A); rolled(tmp_path, B, right=range(2))
    return tmp_path

# --- numbers ---

def test_the_numbers_are_those_of_the_analysis_page(root):
    c = compare_runs(BASE, SCRATCH, root/"results")
    page = pd.read_csv(root/"results"/"tables"/"mini_study_paired.csv")
    assert (c.a, c.b) == ("base", "scratch") and len(c.runs) == 6
    pd.testing.assert_frame_equal(c.paired.drop(columns=["a", "b"]), page.drop(columns=["a", "b"]), check_dtype=False, rtol=1e-5)
    whole = pd.read_csv(root/"results"/"tables"/"mini_study.csv").query("seed == 'all' and triple == 'any'")
    assert c.rates.rate.fillna(-1).round(6).tolist() == whole.rate.fillna(-1).round(6).tolist()

def test_the_answer_comes_first_and_follows_from_the_test(two):
    c = compare_runs(A, B, two)
    assert c.text()[0] == c.answer and c.answer.startswith("Is base better than scratch? Yes: on unseen emoji, success rate: base 80% [")
    assert "+60 points" in c.answer and "on 10 shared episodes, McNemar p = 0.031" in c.answer
    assert compare_runs(B, A, two).answer.startswith("Is scratch better than base? No, base is better: ")

def test_too_little_is_too_early(tmp_path):
    rolled(tmp_path, A, episodes=range(3)); rolled(tmp_path, B, right=(0,), episodes=range(3))
    assert "? Too early to say: " in compare_runs(A, B, tmp_path).answer

def test_runs_that_share_no_episode_have_rates_and_no_difference(tmp_path):
    rolled(tmp_path, A, episodes=range(5)); rolled(tmp_path, B, episodes=range(5, 10))
    c = compare_runs(A, B, tmp_path)
    assert c.answer.endswith("but they share no episode.") and "Too early to say" in c.answer
    assert "Rates" in c.tables and "The same episodes" not in c.tables

def test_a_rate_that_holds_given_another_is_compared_where_it_holds_of_both(tmp_path):
    rolled(tmp_path, A, right=range(4), placed=range(6)); rolled(tmp_path, B, right=(3, 4, 5), placed=range(3, 9))
    p = compare_runs(A, B, tmp_path).paired.query("metric == 'recognition' and split == 'id'").iloc[0]
    assert (p.n, p.dropped, p.only_a, p.only_b) == (3, 6, 0, 2)

def test_failed_episodes_are_said_and_are_no_rate(two):
    append("failures", [dict(run_id=B, benchmark="grinningface", split="val", task="place-on-emoji", episode=10, chunk_mode="5 of 10",
                             failure="worker died")], two)
    c = compare_runs(A, B, two)
    assert "scratch 20% [6%, 51%] n=10, 1 failed" in c.answer and any("1 episode failed outside" in r for r in c.remarks)

# --- names ---

def test_a_name_without_its_seed_is_every_seed_that_both_have(tmp_path):
    for s in (0, 1, 2): rolled(tmp_path, f"{BASE}__s{s}")
    for s in (1, 2, 3): rolled(tmp_path, f"{SCRATCH}__s{s}")
    assert sorted({s for _, s in compare_runs(BASE, SCRATCH, tmp_path).runs.values()}) == [1, 2]
    assert list(compare_runs(BASE, f"{SCRATCH}__s1", tmp_path).runs) == [f"{BASE}__s1", f"{SCRATCH}__s1"]
    with pytest.raises(UserError, match="none in common"): compare_runs(BASE, f"{SCRATCH}__s3", tmp_path)

def test_two_seeds_of_one_recipe_are_paired_scene_by_scene(tmp_path):
    rolled(tmp_path, A); rolled(tmp_path, f"{BASE}__s1", right=range(7))
    c = compare_runs(A, f"{BASE}__s1", tmp_path)
    assert (c.a, c.b) == ("s0", "s1") and set(c.paired.n) == {10} and "The recipes are the same." in c.remarks

BAD = [(A, A, "are the same run"), (BASE, A, "are the same run"), (A, f"{BASE}__s7", "did you mean"), (A, BASE[:-1], "did you mean"),
       (A, "mini-qwen3-vl__simpler-bridge__base__s0", "which share no episode"), (A, f"{BASE}__s4", "evaluate one"),
       (A, "mini-paligemma__grinningface__base__s0", "`vlm4vla evaluate mini-paligemma__grinningface__base__s0"),
       (A, "mini-kosmos-2__grinningface__base", "`vlm4vla sweep mini-kosmos-2__grinningface__base__s0")]

@pytest.mark.parametrize("a,b,words", BAD)
def test_what_cannot_be_compared_is_one_sentence(two, a, b, words):
    rolled(two, "mini-qwen3-vl__simpler-bridge__base__s0", splits=("visual-matching",), mode="4 of 4")
    rolled(two, f"{BASE}__s4", mode="10 of 10")
    trained(two, "mini-paligemma__grinningface__base__s0") # and never rolled out
    with pytest.raises(UserError) as e: compare_runs(a, b, two)
    assert words in str(e.value) and "\n" not in str(e.value)

def test_a_chunk_mode_is_chosen_where_there_are_several(two):
    for r, right in ((A, range(3)), (B, range(5))): rolled(two, r, right=right, mode="10 of 10")
    assert compare_runs(A, B, two).chunk_mode == "5 of 10", "what the recipe executes"
    full = compare_runs(A, B, two, "full")
    assert full.chunk_mode == "10 of 10" and set(full.paired.n) <= {10} and "base 30%" in full.answer
    with pytest.raises(UserError, match="not both rolled out in chunk mode 'single'"): compare_runs(A, B, two, "single")

# --- recipes, curves, cost, videos ---

def test_recipes_are_read_from_accounts_and_from_entries_where_there_are_none(two):
    trained(two, A, account=dict(steps=100, lr=.5, freeze=["vision"])); trained(two, B)
    c = compare_runs(A, B, two); t = c.tables["What was different"].set_index("setting")
    assert t.loc["lr"].tolist() == ["0.5", "0.0003"] and t.loc["freeze"].tolist() == ["vision", "none"]
    assert t.loc["init"].tolist() == ["pretrained", "scratch"], "a field that an old account does not have is what the recipe begins with"
    assert "data" not in t.index and [r for r in c.remarks if "has no account" in r] == [
        f"{B} has no account, so its recipe is that of its entry today."]
    assert c.tables["What it took"].values.tolist()[0] == ["base", "training", 1, "1,234", "H100", "abc"]

def test_a_training_ends_with_the_mean_of_its_last_tenth(two):
    trained(two, A); trained(two, B, end=.5)
    t = compare_runs(A, B, two).tables["What training ended with"]
    assert list(t) == ["policy", "trainings", "steps", "loss", "arm", "grad_norm"]
    assert t.loss.tolist() == ["0.175", "0.575"] # of steps 90 and 95

def test_curves_are_drawn_for_what_was_logged(two, tmp_path):
    with pytest.raises(UserError, match="no training log"): draw_curves(compare_runs(A, B, two))
    assert "What training ended with" not in compare_runs(A, B, two).tables
    trained(two, A); trained(two, B)
    c = compare_runs(A, B, two); fig = draw_curves(c)
    assert [ax.get_ylabel() for ax in fig.axes] == ["loss", "loss: arm"] and all(len(ax.lines) == 4 for ax in fig.axes)
    assert write_curves(c, tmp_path/"new"/"curves.png").read_bytes()[:4] == b"\x89PNG"
    with pytest.raises(UserError, match="end its name in"): write_curves(c, tmp_path/"curves.txt")
    assert c._repr_html_().count("<img") == 1

def test_videos_of_both_lie_side_by_side(two):
    (two/"videos").mkdir()
    for r, s, what in ((A, "id", "success"), (B, "id", "success"), (A, "val", "failure")): (two/"videos"/f"{r}.{s}.{what}.mp4").touch()
    c = compare_runs(A, B, two); rows = c.tables["Videos"].values.tolist()
    assert c._repr_html_().count("<video") == 3
    assert [r[:2] for r in rows] == [["seen emoji", "first success"], ["unseen emoji", "first failure"]]
    assert rows[0][2].endswith(f"{A}.id.success.mp4") and rows[0][3].endswith(f"{B}.id.success.mp4") and rows[1][3] == "–"

# --- the command ---

def said(capsys, *args):
    from vlm4vla.cli import main
    return main([*map(str, args)]), capsys.readouterr()

@pytest.mark.parametrize("format,first", [("text", "Is base"), ("md", r"\*\*Is base"), ("html", "<p><strong>Is base"),
                                          ("latex", r"\\textbf\{Is base"), ("csv", "arm,split,metric")])
def test_the_command_prints_every_format(two, capsys, format, first):
    status, found = said(capsys, "compare", A, B, "--out", two, "--format", format, *(["--figure", two/"x.svg"] if format == "md" else []))
    assert status == 2 and "no training log" in found.err if format == "md" else status == 0 and re.match(first, found.out)
    if format == "csv": assert found.err.startswith("Is base better than scratch? Yes")

def test_the_command_writes_the_curves_and_needs_no_torch(two, without):
    trained(two, A); trained(two, B)
    done = without(["torch"], f"from vlm4vla.cli import main; main(['compare', {A!r}, {B!r}, '--out', {str(two)!r}, "
                              f"'--figure', {str(two/'x.svg')!r}])")
    assert done.returncode == 0 and "The curves are in " in done.stdout and (two/"x.svg").read_text().startswith("<?xml"), done.stderr
