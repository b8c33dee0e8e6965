"The commands answer at once, and bad input gets one sentence and status 2."
import os, re, resource, shutil, subprocess, sys
import pytest

COMMANDS = ("demo", "sweep", "run", "train", "evaluate", "report", "compare", "status", "merge", "data", "simulators", "doctor")
HEAVY = ["torch", "transformers", "numpy", "pandas", "matplotlib", "pybullet", "papermill", "tqdm"]

@pytest.fixture
def cli(python): return lambda *args, **kw: python("-m", "vlm4vla.cli", *args, **kw)

@pytest.mark.parametrize("command", [(), *((c,) for c in COMMANDS)])
def test_help_needs_nothing_and_answers_at_once(without, command):
    used = lambda: sum(resource.getrusage(resource.RUSAGE_CHILDREN)[:2])   # of the processor, so that a busy machine does not fail it
    before = used()
    done = without(HEAVY, f"import sys; sys.argv = ['vlm4vla', *{list(command)!r}, '--help']\nfrom vlm4vla.cli import main; main()")
    assert done.returncode == 0 and done.stdout.startswith("usage: vlm4vla"), done.stderr
    assert used() - before < 1, f"{used() - before:.2f} s"

def test_the_console_command_is_installed(root):
    exe = shutil.which("vlm4vla", path=os.path.dirname(sys.executable))
    assert exe, "run: make setup"
    done = subprocess.run([exe, "--help"], capture_output=True, text=True, cwd=root)
    assert all(c in done.stdout for c in COMMANDS)

BAD = [
    (["demoo"], "did you mean 'demo'?"),
    ([], "required"),
    (["sweep"], "No experiment is named"),
    (["demo", "--workers", "0"], "--workers must be a whole number of at least 1"),
    (["sweep", "demo", "--jobs", "two"], "--jobs must be a whole number of at least 1"),
    (["sweep", "demo", "--retries", "-1"], "--retries"),
    (["sweep", "pretrained-vs-scrach"], "did you mean 'pretrained-vs-scratch'?"),
    (["train", "mini-qwen3-v__grinningface__base__s0"], "did you mean 'mini-qwen3-vl'?"),
    (["train", "mini-qwen3-vl__griningface__base__s0"], "did you mean 'grinningface'?"),
    (["train", "mini-qwen3-vl__grinningface__bass__s0"], "did you mean 'base'?"),
    (["evaluate", "mini-qwen3-vl__grinningface__base__s77"], "There is no seed 's77'"),
    (["evaluate", "mini-qwen3-vl__grinningface"], "is no experiment; write backbone__benchmark__variant__s0"),
    (["simulators", "install"], "Name the simulator to install"),
    (["simulators", "install", "simplr"], "did you mean 'simpler'?"),
    (["simulators", "instal", "simpler"], "did you mean 'install'?"),
    (["sweep", "everything"], "neither a study nor an experiment"),
]

@pytest.mark.parametrize("args,words", BAD, ids=[" ".join(a) or "nothing" for a, _ in BAD])
def test_bad_input_is_one_sentence_and_status_2(cli, args, words, tmp_path):
    done = cli(*args, env={"VLM4VLA_HOME": str(tmp_path)})
    assert done.returncode == 2, done.stderr
    assert words in done.stderr and "Traceback" not in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1 and done.stdout == ""

def test_doctor_says_how_to_get_what_is_missing(cli):
    done = cli("doctor")
    assert done.returncode in (0, 1), done.stderr
    for what in ("Python", "torch", "Jupyter kernel", "GPU", "Slurm", "simulator calvin", "simulator tabletop", "disk"):
        assert re.search(f"^{what} ", done.stdout, re.M), what
    assert ("The demo can run" in done.stdout) == (done.returncode == 0)
    for row in re.findall(r"^(\S.*?) {2,}(?:missing|optional)\b", done.stdout, re.M): assert f"  {row}: " in done.stdout, row

def test_evaluating_what_is_not_trained_names_the_remedy(cli, tmp_path):
    done = cli("evaluate", "tiny-qwen3-vl__grinningface__smoke__s0", "--out", str(tmp_path))
    assert done.returncode == 2 and "vlm4vla train tiny-qwen3-vl__grinningface__smoke__s0" in done.stderr, done.stderr

def test_report_on_an_empty_folder_says_so(cli, tmp_path):
    done = cli("report", "--out", str(tmp_path))
    assert done.returncode == 2 and len(done.stderr.strip().splitlines()) == 1, done.stderr

def options(parser, hidden=False):
    "Every option of a command that is in its help, or is an old name of one."
    import argparse
    return [a for a in parser._actions if a.option_strings and a.dest != "help" and (a.help is argparse.SUPPRESS) == hidden]

def subparsers():
    from vlm4vla.cli import parser
    return parser()._subparsers._group_actions[0].choices

@pytest.mark.parametrize("command", COMMANDS)
def test_every_option_says_what_holds_without_it(command):
    for a in options(subparsers()[command]): assert a.help.endswith(")"), f"{command} {a.option_strings}: {a.help}"

# what it was called, what it is called, where
OLD = [("--follow", "--log-to", "sweep"), ("--follow", "--log-to", "train"), ("--shares", "--num-shards", "sweep"),
       ("--warning", "--signal-lead", "sweep"), ("--page", "--analysis", "sweep"), ("--recompute", "--gradient-checkpointing", "train")]
GONE = "vlm4vla: {} is now {}; the old name goes away with the next release."

def parsed(*argv):
    from vlm4vla.cli import _take_old, parser
    args = parser().parse_args([*argv]); _take_old(args)
    return {k: v for k, v in vars(args).items() if not k.startswith("old_")}

@pytest.mark.parametrize("old,new,command", OLD)
def test_an_old_option_works_and_says_its_new_name_once(old, new, command, capsys):
    flag = old == "--recompute"
    for words in (["{}"],) if flag else (["{}", "7"], ["{}=7"]):
        found = parsed(command, "demo", *(w.format(old) for w in words))
        assert capsys.readouterr().err == GONE.format(old, new) + "\n"
        assert found == parsed(command, "demo", *(w.format(new) for w in words)) and capsys.readouterr().err == ""

@pytest.mark.parametrize("old,new,command", OLD)
def test_an_old_option_is_in_no_help_and_not_given_beside_the_new_one(old, new, command, capsys):
    from vlm4vla.cli import main
    assert old not in subparsers()[command].format_help()
    value = [] if old == "--recompute" else ["7"]
    assert main([command, "demo", old, *value, new, *value]) == 2
    assert capsys.readouterr().err == f"vlm4vla: {old} is now {new}, and both are given; leave {old} out.\n"

@pytest.mark.parametrize("wrong,new", [("--folow", "--log-to"), ("--sharse", "--num-shards"), ("--warnin-time", "--signal-lead"),
                                       ("--recompte", "--gradient-checkpointing"), ("--output-dri", "--output-dir")])
def test_an_option_that_is_nearly_an_old_one_is_told_the_new_one(wrong, new, capsys):
    from vlm4vla.cli import main
    assert main(["sweep", "demo", wrong]) == 2
    assert f"has no option {wrong}; did you mean {new!r}?" in capsys.readouterr().err

def test_commands_have_an_old_name_and_an_alias(tmp_path, capsys):
    from vlm4vla.cli import main
    assert main(["compact", "--out", str(tmp_path)]) == 0
    said = capsys.readouterr()
    assert said.err == GONE.format("compact", "merge") + "\n" and "no parts" in said.out
    assert main(["merge", "--output-dir", str(tmp_path)]) == 0 and capsys.readouterr().err == ""
    for command in ("run", "sweep"): assert main([command, "demo", "--plan", "--out", str(tmp_path)]) == 0
    a, b = capsys.readouterr().out.split("run_id", 2)[1:]
    assert a == b and "to do" in a and "compact" not in subparsers()
    assert main(["merg"]) == 2 and "did you mean 'merge'?" in capsys.readouterr().err

def test_gpus_mean_the_same_in_a_plan_a_training_and_a_sweep(monkeypatch, tmp_path):
    from vlm4vla import cli
    from vlm4vla.launch import sweep as module
    assert {a.help for c in ("train", "run") for a in options(subparsers()[c])
            if "--gpus" in a.option_strings} == {subparsers()["train"]._option_string_actions["--gpus"].help}
    asked = []
    monkeypatch.setattr(module, "sweep", lambda rows, out, **kw: asked.append(kw) or module.pd.DataFrame(columns=module.REPORT))
    for command in ("train", "sweep"):
        assert cli.main([command, "demo", "--out", str(tmp_path), "--gpus", "4", "--mode", "fsdp", "--gradient-checkpointing"]) == 0
        assert asked[-1]["given"] == dict(nproc_per_node=4, mode="fsdp", gradient_checkpointing=True) and asked[-1]["jobs"] == 1
        assert cli.main([command, "demo", "--out", str(tmp_path), "--log-to", "tensorboard"]) == 0
        assert asked[-1]["given"] == {} and asked[-1]["logger"] == "tensorboard"
    assert cli.main(["train", "demo", "--gpus", "two"]) == cli.main(["sweep", "demo", "--mode", "dpp"]) == 2

def make(root, tmp_path, *args, **env):
    return subprocess.run(["make", "-s", f"VENV={tmp_path/'venv'}", *args], cwd=root, capture_output=True, text=True,
                          env={**os.environ, **env}, timeout=60)

@pytest.mark.skipif(not shutil.which("make"), reason="no make")
def test_make_with_a_wrong_python_says_one_sentence(root, tmp_path):
    fake = tmp_path/"python3.9"
    fake.write_text("#!/bin/sh\n[ \"$1\" = --version ] && echo Python 3.9.1 && exit 0\nexit 1\n"); fake.chmod(0o755)
    done = make(root, tmp_path, "setup", f"PYTHON={fake}")
    said = [l for l in done.stderr.splitlines() if not l.startswith("make")]
    assert done.returncode == 2 and len(said) == 1 and "vlm4vla needs Python 3.11" in said[0] and "Python 3.9.1" in said[0], done.stderr

@pytest.mark.skipif(not shutil.which("make"), reason="no make")
def test_make_help_lists_the_targets_and_installs_nothing(root, tmp_path):
    done = make(root, tmp_path)
    assert done.returncode == 0 and not (tmp_path/"venv").exists()
    for target in ("demo", "test", "lab", "analysis", "export", "docs", "bench", "help"):
        assert re.search(f"^  make {target} ", done.stdout, re.M), target

def test_a_plan_says_what_fits_and_refuses_what_does_not(capsys):
    pytest.importorskip("torch"); from vlm4vla.cli import main
    assert main(["train", "qwen3-vl-2b__grinningface__base__s0", "--plan"]) == 0
    assert "on each of 1 H100 SXM" in capsys.readouterr().out
    assert main(["train", "qwen2.5-vl-7b__grinningface__base__s0", "--plan", "--gpu", "a100"]) == 1
    assert "does not fit; the nearest setting that does:" in capsys.readouterr().out

def counted(tmp_path, arms, n_failed=0):
    "A folder with an evaluation of the smoke experiment."
    from vlm4vla.results.provenance import track_run
    from vlm4vla.catalog.experiments import experiments
    from vlm4vla.results.tables import append
    from vlm4vla.results.scores import rebuild_scores
    e = experiments["tiny-qwen3-vl__grinningface__smoke__s0"]
    key = dict(run_id=e.run_id, benchmark=e.benchmark, split="val", task="place-on-emoji", chunk_mode="5 of 10")
    with track_run(e, "eval", tmp_path, "runs/evaluate"):
        if arms:
            append("episodes", [dict(key, episode=i, success=i % 2 == 0, n_steps=9, seconds=1.,
                                     detail=dict(execution=True, recognition=i % 2 == 0)) for i in range(arms)], tmp_path)
        append("failures", [dict(key, episode=100 + i, failure="worker died (signal 9)" if i else "推 _lost_ 10 %")
                            for i in range(n_failed)], tmp_path)
    rebuild_scores(tmp_path)
    return e.run_id

@pytest.mark.parametrize("format", ["text", "md", "html", "latex", "csv"])
def test_a_report_says_what_failed_and_shows_no_rate_without_episodes(tmp_path, capsys, format):
    from vlm4vla.cli import main
    for folder, n, lost in (("some", 10, 3), ("none", 0, 3), ("all", 10, 0)):
        run = counted(tmp_path/folder, n, lost)
        assert main(["report", "--out", str(tmp_path/folder), "--format", format]) == 0
        said = capsys.readouterr()
        assert ("0.500" in said.out) == (n > 0) and ("failed" in said.out) == (lost > 0)
        assert (f"{run}: 3 episodes failed outside the policy" in (said.out if format == "text" else said.err)) == (lost > 0)
        assert format == "text" or "outside the policy" not in said.out # a document holds the table only

def test_a_study_is_reported_as_a_document_too(tmp_path, capsys):
    from vlm4vla.cli import main
    from vlm4vla.results.figures import example_comparison
    from vlm4vla.results.scores import rebuild_scores
    example_comparison("demo", tmp_path, 20); rebuild_scores(tmp_path)
    main(["report", "demo", "--out", str(tmp_path)])
    said = capsys.readouterr().out
    assert "val success: pretrained minus from scratch" in said and "on 20 shared episodes, McNemar p = " in said
    assert "Is it better? " in said and "Wilson" in said
    main(["report", "demo", "--out", str(tmp_path), "--format", "latex"])
    assert capsys.readouterr().out.count("\\toprule") == 2

def test_a_report_on_a_terminal_without_unicode(cli, tmp_path):
    counted(tmp_path, 0, 2)
    for format in ("text", "md", "html", "latex", "csv"):
        done = cli("report", "--out", str(tmp_path), "--format", format, env={"PYTHONIOENCODING": "ascii"})
        assert done.returncode == 0 and "Traceback" not in done.stderr and (done.stdout + done.stderr).isascii(), done.stderr
        assert "\\u63a8" in done.stdout + done.stderr
