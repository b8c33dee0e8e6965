"Every estimate has the interval and the test of its unit, everywhere; no interval is a point; no failure is a zero."
import itertools, json, math
import numpy as np, pandas as pd, pytest
from vlm4vla.catalog.benchmarks import Metric, benchmarks
from vlm4vla.core import UserError
from vlm4vla.results.tables import append, load
from vlm4vla.results.scores import attempted, facts, rebuild_scores, scores
from vlm4vla.results.stats import (EARLY, NO, YES, compare, metric_values, difference_text, mcnemar_exact, measure, paired_permutation,
                                   rates, separate_samples, round_steady, estimate_text, verdict, wilson)
from vlm4vla.results.stats import test_text as in_words

SUCCESS, TASKS = benchmarks["grinningface"].metric, benchmarks["calvin-abc-d"].metric
TIME = Metric(name="time", column="seconds", label="seconds", unit="s", hi=60., higher_is_better=False)
PROGRESS = Metric(name="progress", column="progress", label="progress")

@pytest.mark.parametrize("metric, lo, hi",
                         [(SUCCESS, 0, 1), (TASKS, 0, 5), (TASKS, 2, 4), (TIME, 7.3, 31.), (TIME, 99., 140.), (PROGRESS, .25, .5)],
                         ids=lambda v: getattr(v, "name", v))
@pytest.mark.parametrize("n", [1, 6, 300])
def test_no_interval_is_a_point_because_everything_is_alike(metric, lo, hi, n):
    for v in (lo, hi):
        one = measure(metric, [v]*n)
        assert one["ci_low"] < one["ci_high"] and one["ci_low"] <= one["value"] <= one["ci_high"], one
    for a, b in itertools.product((lo, hi), repeat=2):
        two = measure(metric, [a]*n, [b]*n, np.arange(n) % 3)
        assert two["ci_low"] < two["ci_high"] and two["ci_low"] <= two["difference"] <= two["ci_high"], two

def test_the_test_is_the_one_of_the_unit():
    a, b = [5, 4, 5, 3, 5, 5, 2], [1, 4, 2, 3, 1, 0, 2]
    assert measure(TASKS, a, b)["p"] == pytest.approx(paired_permutation(a, b), abs=1e-9)
    yes, no = [1, 1, 1, 0, 1, 1, 1], [0, 0, 1, 0, 0, 1, 0]
    found = measure(SUCCESS, yes, no)
    assert (found["test"], found["p"]) == ("McNemar", pytest.approx(mcnemar_exact(yes, no)))
    half = measure(PROGRESS, [.5, 1, .75], [0, .25, .25])
    assert (half["test"], measure(PROGRESS, [.5, 1, .75])["method"]) == ("sign-flip", "bootstrap") # a share, but no yes and no

def test_a_count_declared_as_a_share_is_one_sentence():
    for values in ([5, 1], [-1, 0], [2.]):
        with pytest.raises(UserError, match="success is declared as a share, but an episode has"): measure(SUCCESS, values)
    with pytest.raises(UserError, match="leave that episode out"): measure(TASKS, [1, math.inf])
    with pytest.raises(UserError, match="is made of numbers"): metric_values(pd.DataFrame(dict(n_subtasks=["two", "3"])), TASKS)

def row(arm, episode, **kw):
    return dict(dict(run_id=arm, benchmark="calvin-abc-d", split="D", task="five-in-a-row", episode=episode, chunk_mode="10 of 10",
                     success=True,
                                              n_subtasks=None, n_steps=9, seconds=0., failure="", detail={}), **kw)

def frame(rows, seed=0):
    return facts(pd.DataFrame([dict(r, detail=json.dumps(r["detail"])) for r in rows])).assign(arm=lambda d: d.run_id, seed=seed)

def test_only_shared_episodes_are_compared_and_the_rest_is_counted():
    df = frame([row("a", i, n_subtasks=4) for i in range(12)] + [row("b", i, n_subtasks=1) for i in range(4, 14)])
    c = compare(df, [TASKS], "a", "b").iloc[0]
    assert (c.n, c.dropped, c.difference) == (8, 6,
                                              3.) and "on 8 shared episodes (6 without a partner left out), sign-flip p" in in_words(c)
    assert difference_text(c, TASKS).startswith("+3.00 tasks [")
    assert len(compare(df[df.episode.between(4, 11) | (df.arm == "a")], [TASKS], "a", "b")) == 1 and not len(
        compare(df[df.arm == "a"], [TASKS], "a", "b"))

def test_what_is_absent_is_no_zero():
    df = frame([row("a", i, n_subtasks=None if i < 3 else 4) for i in range(10)])
    r = rates(df, [TASKS], ("arm",)).iloc[0]
    assert (r.n, r.rate, r.failed) == (7, 4., 0) and pd.isna(r.k)
    assert not len(rates(df.drop(columns="n_subtasks"), [TASKS], ("arm",)))

def test_a_failure_is_no_episode_and_all_failed_is_no_rate(tmp_path):
    key = dict(run_id="r", benchmark="grinningface", split="id", task="place", chunk_mode="5 of 10")
    episode = lambda i, hit: dict(key, episode=i, success=hit, n_steps=9, seconds=1., detail=dict(execution=True, recognition=hit))
    append("episodes", [episode(i, True) for i in range(12)], tmp_path)
    # 0 was measured afterwards, 12 tried twice
    append("failures", [dict(key, episode=i, failure="worker died") for i in (0, *range(12, 20), 12)], tmp_path)
    append("failures", [dict(key, split="val", episode=i, failure="worker died") for i in range(5)], tmp_path)
    s = rebuild_scores(tmp_path).set_index(["split", "metric"])
    assert s.loc[("id", "success"), ["value", "n", "failed"]].tolist() == [1., 12, 8]
    assert s.loc[("val", "success"), ["n", "failed"]].tolist() == [0, 5] and pd.isna(s.loc[("val", "success"), "value"])
    pd.testing.assert_frame_equal(load("scores", tmp_path), s.reset_index()[load("scores", tmp_path).columns])
    df = attempted(load("episodes", tmp_path), load("failures", tmp_path)).assign(arm="a")
    says = [estimate_text(r) for r in rates(df, [SUCCESS]).itertuples()]
    assert says == ["100% [76%, 100%] n=12, 8 failed", "– n=0, 5 failed"]

def test_the_same_sentence_of_an_older_version_is_read_as_a_failure(tmp_path):
    old = [row("calvin", i, success=i > 3, n_subtasks=2 if i > 3 else None, failure="" if i > 3 else "lost",
               detail={f"task_{k}": k < 3 for k in range(1, 6)} if i > 3 else {}) for i in range(10)]
    append("episodes", old, tmp_path)
    s = scores(load("episodes", tmp_path), load("failures", tmp_path)).set_index("metric")
    assert s.loc["avg_len", ["value", "n", "failed"]].tolist() == [2., 6, 4] and s.loc["task-2", "value"] == 1.

@pytest.mark.parametrize("a, b, metric, word", [
    ([1]*30, [0]*30, SUCCESS, YES), ([0]*30, [1]*30, SUCCESS, NO), ([1]*4, [0]*4, SUCCESS, EARLY), ([1]*400, [1]*400, SUCCESS, NO),
    ([1, 0]*8, [0, 1]*8, SUCCESS, EARLY),
    ([5]*30, [1]*30, TASKS, YES), ([5]*3, [1]*3, TASKS, EARLY), ([9.]*80, [3.]*80, TIME, NO), ([3.]*80, [9.]*80, TIME, YES)])
def test_words_follow_from_the_test(a, b, metric, word):
    found = measure(metric, a, b)
    assert verdict(found, metric) == word
    assert verdict(pd.Series(found), metric) == verdict(next(pd.DataFrame([found]).itertuples()), metric) == word

def test_seeds_that_disagree_keep_a_word_from_being_said():
    a = np.repeat([1, 1, 0], 40); b = np.repeat([0, 1, 0], 40) # one of three training seeds makes all the difference
    found = measure(SUCCESS, a, b, np.repeat([0, 1, 2], 40))
    assert found["p"] < 1e-9 and found["ci_low"] == 0 and verdict(found, SUCCESS) == EARLY

def test_fewer_is_better():
    found = measure(TIME, [3., 3., 9.], [9., 9., 9.])
    assert (found["only_a"], found["only_b"]) == (2, 0) and found["difference"] < 0

def test_separate_rates_have_newcombes_interval():
    e = lambda k, n: dict(zip(("value", "ci_low", "ci_high"), (k/n, *wilson(k, n))))
    assert [separate_samples(e(56, 70), e(48, 80))[c] for c in ("ci_low", "ci_high")] == pytest.approx([.0524, .3339], abs=5e-5)
    assert separate_samples(e(0, 6), e(0, 6))["ci_high"] > .3

@pytest.mark.parametrize("x", [.125, 1/3, 2.5e-7, 123456.5, .1234565, -.045, 1e-300, 44.25])
def test_the_last_digits_do_not_decide(x):
    for digits in (2, 4, 6, 10): assert {round_steady(x*(1 + e), digits) for e in (-1e-12, -3e-13, 0, 1e-12)} == {round_steady(x, digits)}
