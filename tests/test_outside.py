"What is not ours hangs, refuses, lies or is not there; we end in time and say so in its words."
import errno, fcntl, json, os, pickle, shutil, subprocess, sys, time
from pathlib import Path
import pytest
from toys import notebook
from vlm4vla import core
from vlm4vla.core import UserError, run_command, locked, make_folder, setting, try_lock, unwritable, variables
from vlm4vla.launch.needs import check_kernel, check_out, doubled

SMOKE = [f"tiny-{b}__grinningface__smoke__s{s}" for b in ("qwen3-vl", "qwen2-vl") for s in range(4)]

@pytest.fixture
def fake(tmp_path, monkeypatch):
    "Put a command of our own before the machine's."
    folder = tmp_path/"bin"; folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    def make(name, text):
        (folder/name).write_text(text if text.startswith("#!") else f"#!/bin/sh\n{text}\n"); (folder/name).chmod(0o755)
    return make

# commands

def test_a_command_that_hangs_is_ended_with_its_children(fake, tmp_path):
    fake("stuck", f"(sleep 60; touch {tmp_path}/late) & echo half; wait")
    began = time.time()
    assert run_command("stuck", limit=.3).trouble == "stuck does not answer within 0.3 s" and time.time() - began < 5

@pytest.mark.parametrize("script,names,trouble", [
    ("echo NVIDIA H100 80GB HBM3; echo NVIDIA H100 80GB HBM3", ["NVIDIA H100 80GB HBM3"]*2, ""),
    ("echo No devices were found", [], "No devices were found"),
    ("echo 'Failed to initialize NVML: Driver/library version mismatch'; exit 18", [], "version mismatch"),
    ("printf '\\377\\376\\001\\n'", [], "nvidia-smi says"),
    ("exit 9", [], "status 9"),
    ("true", [], "lists no device")])
def test_devices_are_what_nvidia_smi_names_and_nothing_else(fake, script, names, trouble):
    fake("nvidia-smi", script)
    asked = core.nvidia_smi()
    assert core.gpus() == names and trouble in asked.trouble and bool(asked.trouble) == bool(trouble)

def test_a_driver_that_hangs_is_not_asked_twice_by_doctor(fake, monkeypatch):
    from vlm4vla.launch.doctor import check_gpu
    fake("nvidia-smi", "sleep 60")
    monkeypatch.setattr(core.run_command, "__kwdefaults__", {**core.run_command.__kwdefaults__, "limit": .3})
    assert check_gpu()["state"] == "optional" and "does not answer" in check_gpu()["detail"]

# whose commit

def git(folder, *words):
    subprocess.run(["git", "-c", "user.name=a", "-c", "user.email=a@b", *words], cwd=folder, check=True, capture_output=True)

def repository(folder, name="another", commit=True):
    folder.mkdir(parents=True, exist_ok=True)
    (folder/"settings.ini").write_text(f"[DEFAULT]\nlib_name = {name}\n")
    (folder/"nbs").mkdir(exist_ok=True)
    git(folder, "init", "-q")
    if commit: git(folder, "add", "-A"); git(folder, "commit", "-qm", "x")
    return folder

@pytest.fixture
def package(root):
    "The package's own files that say where it is, put somewhere else."
    def put(folder):
        (folder/"vlm4vla"/"assets").mkdir(parents=True)
        for f in ("__init__.py", "core.py", "renamed.py"): shutil.copy(root/"vlm4vla"/f, folder/"vlm4vla"/f)
        return folder
    return put

def told(python, where, cwd, **env):
    done = python("-c", "from vlm4vla.core import commit, home; c = commit(); print(home()); print(c.text); print(c.trouble)", cwd=cwd,
                  env={"PYTHONPATH": str(where), "VLM4VLA_HOME": "", **env})
    assert done.returncode == 0, done.stderr
    return done.stdout.split("\n")[:3]

@pytest.mark.skipif(not shutil.which("git"), reason="no git")
def test_the_commit_is_that_of_the_code_that_runs_or_none(package, python, tmp_path, fake):
    theirs = repository(tmp_path/"theirs")
    inside = package(theirs/".venv"/"lib"/"site-packages") # installed inside somebody else's repository
    assert told(python, inside, theirs)[1] == ""
    copied = package(theirs/"third_party"/"ours"); (copied/"settings.ini").write_text("lib_name = vlm4vla\n") # a copy in it
    home, sha, why = told(python, copied, theirs)
    assert (home, sha) == (str(theirs), "") and "another repository" in why
    ours = package(tmp_path/"ours"); repository(ours, "vlm4vla", commit=False) # a checkout that was made just now
    assert told(python, ours, theirs)[1] == ""
    git(ours, "add", "-A"); git(ours, "commit", "-qm", "x"); sha = told(python, ours, theirs)[1]
    assert len(sha) == 12 and told(python, ours, ours, GIT_DIR=str(theirs/".git"))[:2] == [str(ours), sha]
    (ours/"new").touch(); assert told(python, ours, theirs)[1] == f"{sha}-dirty"
    fake("git", "echo \"fatal: detected dubious ownership in repository at '/x'\" >&2; exit 128")
    assert told(python, ours, theirs)[1:] == ["", "git says: fatal: detected dubious ownership in repository at '/x'"]

# locks and folders

@pytest.mark.parametrize("code", [errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP])
def test_a_folder_that_cannot_be_locked_is_one_sentence(monkeypatch, tmp_path, code):
    def no(*a): raise OSError(code, os.strerror(code))
    monkeypatch.setattr(fcntl, "flock", no); monkeypatch.setattr(core, "_proven", set())
    with pytest.raises(UserError, match="cannot be locked"), locked(tmp_path): pass
    with pytest.raises(UserError, match="cannot be locked"): check_out(tmp_path)

def test_a_lock_that_is_granted_to_everybody_is_none(monkeypatch, tmp_path):
    from vlm4vla.launch.sweep import sweep
    monkeypatch.setattr(fcntl, "flock", lambda *a: None); monkeypatch.setattr(core, "_proven", set())
    with pytest.raises(UserError, match="locks nothing"), locked(tmp_path): pass
    with pytest.raises(UserError, match="locks nothing"): sweep(SMOKE[:1], tmp_path/"out")
    assert not (tmp_path/"out").exists()

def test_who_waits_for_a_lock_does_not_wait_forever(tmp_path):
    fd = try_lock(tmp_path)
    with pytest.raises(UserError, match=f"process {os.getpid()} has held the lock"), locked(tmp_path, limit=.1): pass
    os.close(fd)
    with locked(tmp_path): pass

def test_a_folder_that_cannot_be_written_says_why(tmp_path, monkeypatch):
    (tmp_path/"file").touch()
    for bad in (tmp_path/"file", tmp_path/"file"/"in", "/proc/nowhere", tmp_path/("x"*300)):
        assert unwritable(bad)
        with pytest.raises(UserError, match="let --out name"): check_out(bad)
        with pytest.raises(UserError, match="cannot be made"): make_folder(bad)
    monkeypatch.setenv("VLM4VLA_CACHE", "/proc/nowhere")
    with pytest.raises(UserError, match="let VLM4VLA_CACHE name one"): make_folder("/proc/nowhere/ranges")

def test_papermill_leaves_a_path_as_it_is():
    from papermill.parameterize import parameterize_path
    for name in ("run {1}", "{experiment}", "{{x}}", "a}b{", "50 % für a=b", "it's \"quoted\"", "two\nlines"):
        assert parameterize_path(doubled(name), dict(experiment="e")) == name

# variables

BAD = dict(VLM4VLA_HOME="{file}", VLM4VLA_CACHE="{file}/in", VLM4VLA_SIMULATORS="{file}", VLM4VLA_DATA="{file}/a:/b",
           VLM4VLA_IMAGE_CACHE="nan",
           VLM4VLA_THREADS="auto", VLM4VLA_COMPILE="maybe", VLM4VLA_COMPUTE_ALL="2", VLM4VLA_WARNING="-1", VLM4VLA_PART="../a",
           VLM4VLA_PLUGINS="my module", VLM4VLA_BACKBONES="just-a-name", VLM4VLA_POLICIES="{file}")

@pytest.mark.parametrize("name", sorted(variables))
def test_a_variable_that_makes_no_sense_is_named(name, tmp_path, monkeypatch):
    from vlm4vla.launch.doctor import check_variables
    (tmp_path/"file").touch(); monkeypatch.setenv(name, BAD[name].format(file=tmp_path/"file"))
    with pytest.raises(UserError, match=f"^{name} is .*; set it to .*, or unset it.$"): setting(name)
    assert [r["state"] for r in check_variables() if r["what"] == name] == ["missing"]

def test_a_variable_is_on_off_or_not_set(monkeypatch):
    from vlm4vla.launch.doctor import check_variables
    for text, value in (("1", True), ("0", False), ("off", False), ("", None)):
        monkeypatch.setenv("VLM4VLA_COMPILE", text)
        assert setting("VLM4VLA_COMPILE") is value
    monkeypatch.setenv("VLM4VLA_TREADS", "2")
    assert any("VLM4VLA_THREADS" in r["detail"] for r in check_variables())

# kernels

@pytest.mark.parametrize("argv,words",
                         [(["{d}/gone/python", "-m", "x"], "a Python that is gone"), (["/bin/sh", "-c", "x"], "another Python"),
                          ([], "nothing"), (None, "cannot be read")])
def test_a_kernel_that_is_not_ours_is_told_by_doctor_and_sweep(tmp_path, monkeypatch, argv, words):
    from vlm4vla.launch.doctor import kernel_state as looked
    from vlm4vla.launch.sweep import sweep
    folder = tmp_path/"kernels"/"python3"; folder.mkdir(parents=True); monkeypatch.setenv("JUPYTER_PATH", str(tmp_path))
    spec = dict(display_name="python3", language="python", argv=[a.format(d=tmp_path) for a in argv or []])
    (folder/"kernel.json").write_text("{" if argv is None else json.dumps(spec))
    with pytest.raises(UserError, match=words) as e: sweep(SMOKE[:1], tmp_path/"out")
    assert looked()["state"] == "missing" and looked()["detail"] in str(e.value) and not (tmp_path/"out").exists()

def test_the_kernel_that_jupyter_fills_in_is_ours(tmp_path, monkeypatch):
    folder = tmp_path/"kernels"/"python3"; folder.mkdir(parents=True); monkeypatch.setenv("JUPYTER_PATH", str(tmp_path))
    for exe in ("python", "python3", sys.executable, str(Path(sys.executable).with_name("python3"))):
        (folder/"kernel.json").write_text(json.dumps(dict(display_name="p", language="python", argv=[exe]))); check_kernel()

# a queue and its jobs

LATER = "'squeue: error: slurm_load_jobs: Socket timed out on send/recv operation' >&2; exit 1"

@pytest.fixture
def handed(tmp_path):
    "A folder in which a job was handed over, and how it ended."
    from vlm4vla.launch.slurm import folder_of
    folder = folder_of(tmp_path/"out"); folder.mkdir(parents=True); (folder/"jobs.csv").write_text(f"{SMOKE[0]},train,,17\n")
    return folder

def test_a_queue_that_is_silent_for_a_while_is_asked_again(fake, handed, tmp_path, monkeypatch):
    from vlm4vla.launch import slurm
    monkeypatch.setattr(slurm.queue, "__defaults__", (2, .01)); n = tmp_path/"n"
    fake("squeue", f"echo x >> {n}; n=$(wc -l < {n}); if [ $n -gt 1 ] && [ $n -lt 9 ]; then echo {LATER}; fi; [ $n -gt 10 ] || echo "
                   f"'17|RUNNING|None|n0|{handed}/a.sh'")
    (handed/"17_0_result.pkl").write_bytes(pickle.dumps(("success", "done")))
    assert slurm.wait(tmp_path/"out", SMOKE[:1], every=.02).status.tolist() == ["done"]
    fake("squeue", f"echo {LATER}")
    with pytest.raises(UserError, match="Slurm does not answer .*Socket timed out"): slurm.check_free(SMOKE[:1], tmp_path/"out")
    monkeypatch.setattr(slurm, "PATIENCE", .05)
    with pytest.raises(UserError, match="the same command waits for them again"): slurm.wait(tmp_path/"out", SMOKE[:1], every=.02)

@pytest.mark.parametrize("line,state",
                         [("17|RUNNING|None|n0", "RUNNING"), ("17|RUNNING|None|n0|{handed}/.submission_file_1.sh", "RUNNING"),
                          ("17|RUNNING|None|n0|/elsewhere/other.sh", "COMPLETED"), ("garbage", "COMPLETED")])
def test_a_number_in_the_queue_is_ours_only_with_our_script(fake, handed, tmp_path, line, state):
    from vlm4vla.launch.slurm import jobs
    fake("squeue", f"echo '{line.format(handed=handed)}'"); (handed/"17_0_result.pkl").write_bytes(pickle.dumps(("success", "done")))
    assert jobs(tmp_path/"out").state.tolist() == [state]

def test_a_result_of_an_earlier_job_of_that_number_counts_for_nothing(fake, handed, tmp_path):
    from vlm4vla.launch.slurm import jobs
    fake("squeue", "true"); (handed/"17_0_result.pkl").write_bytes(pickle.dumps(("success", "done"))); (handed/"17_submitted.pkl").touch()
    os.utime(handed/"17_0_result.pkl", (1, 1)); assert jobs(tmp_path/"out").state.tolist() == ["CANCELLED"]
    (handed/"17_submitted.pkl").unlink(); (handed/"17_0_result.pkl").write_bytes(b"half")
    assert jobs(tmp_path/"out")[["state", "reason"]].values.tolist()[0][0] == "FAILED"

def test_a_line_that_names_no_job_costs_itself_alone(handed, tmp_path, fake):
    from vlm4vla.launch.slurm import jobs
    fake("squeue", "echo '17|RUNNING|None|n0'")
    with open(handed/"jobs.csv", "ab") as f: f.write(b"\xff\xfe,train\na,b,c,d,e,f\n" + f"{SMOKE[1]},train,,\n".encode())
    with pytest.warns(UserWarning, match="names no job"):
        assert jobs(tmp_path/"out")[["run_id", "state"]].values.tolist() == [[SMOKE[0], "RUNNING"]]

SBATCH = """#!{python}
import re, sys, pathlib
text = pathlib.Path(sys.argv[-1]).read_text(); name = re.search(r"--job-name=(\\S+)", text)[1]
m = re.search(r"--array=0-(\\d+)", text); n = int(m[1]) + 1 if m else 1; after = re.search(r"--dependency=(\\S+)", text)
if {refuses}: sys.stderr.write("sbatch: error: Batch job submission failed: {words}\\n"); sys.exit(1)
p = pathlib.Path({log!r}); k = len(p.read_text().splitlines()) + 1 if p.exists() else 1
with open(p, "a") as f: f.write(f"{{name}} {{n}} {{after[1] if after else '-'}}\\n")
print(f"Submitted batch job {{100*k}}")
"""

@pytest.fixture
def cluster(fake, tmp_path):
    (tmp_path/"runs").mkdir()
    for n in ("train", "evaluate"): notebook(tmp_path/"runs"/f"{n}.ipynb", 'experiment:str = ""\nout:str = ""\nshard:str = ""', "pass")
    def make(refuses="False", words="Invalid job array specification", largest=""):
        fake("sbatch", SBATCH.format(python=sys.executable, refuses=refuses, words=words, log=str(tmp_path/"log")))
        fake("scontrol", f"echo 'MaxArraySize            = {largest}'" if largest else "exit 1")
        fake("squeue", "true")
        fake("srun", "true")
        fake("scancel", f"echo $@ >> {tmp_path}/taken")
        def hand(names=SMOKE[:7]):
            from vlm4vla.launch.slurm import Request, slurm_sweep
            slurm_sweep(names, tmp_path/"out", Request(), notebooks=tmp_path/"runs", watch=False)
            return [l.split() for l in (tmp_path/"log").read_text().splitlines()]
        return hand
    return make

def test_arrays_are_as_large_as_slurm_takes_them(cluster):
    rows = cluster(refuses="n > 3", largest=3)()
    assert [r[:2] for r in rows] == [["train", "3"], ["train", "3"], ["train", "1"], ["evaluate", "3"], ["evaluate", "3"],
                                     ["evaluate", "1"], ["finish", "1"]]
    assert [r[2] for r in rows[3:6]] == ["aftercorr:100", "aftercorr:200", "afterok:300"]

def test_an_array_that_is_refused_is_tried_in_halves(cluster):
    rows = cluster(refuses="n > 3")()
    assert sum(int(n) for name, n, _ in rows if name == "train") == 7 and sum(int(n) for name, n, _ in rows if name == "evaluate") == 7
    each = cluster(refuses="n > 1 and name == 'evaluate'")()[len(rows):]
    assert [r[1:] for r in each if r[0] == "evaluate"] == [["1", f"afterok:{100*(len(rows) + 1)}_{i}"] for i in range(7)]

def test_what_cannot_be_handed_over_leaves_nothing_behind(cluster, tmp_path):
    with pytest.raises(UserError, match="Slurm does not take the jobs .*QOSMaxSubmitJobPerUserLimit.*nothing is left in the queue"):
        cluster("name == 'evaluate'", "QOSMaxSubmitJobPerUserLimit")()
    assert (tmp_path/"taken").read_text().split() == ["100"]
    shutil.rmtree(tmp_path/"out"); (tmp_path/"log").unlink(); (tmp_path/"taken").unlink()
    with pytest.raises(UserError, match="invalid partition"): cluster("True", "invalid partition specified")()
    assert not (tmp_path/"log").exists() and not (tmp_path/"taken").exists()

def test_slurm_needs_a_plain_name_of_a_folder(cluster, tmp_path):
    from vlm4vla.launch.slurm import Request, slurm_sweep
    cluster()
    for name in ("50 %", "two\nlines"):
        with pytest.raises(UserError, match="let --out name a folder without it"):
            slurm_sweep(SMOKE[:1], tmp_path/name, Request(), notebooks=tmp_path/"runs", watch=False)

# done means that the row is there

def test_a_notebook_that_leaves_no_row_has_failed(tmp_path):
    from vlm4vla.launch.status import JOBS, status
    from vlm4vla.launch.sweep import sweep
    import pandas as pd
    (tmp_path/"runs").mkdir()
    for n in ("train", "evaluate"): notebook(tmp_path/"runs"/f"{n}.ipynb", 'experiment:str = ""\nout:str = ""', "pass")
    report = sweep(SMOKE[:1], tmp_path/"run {1}", notebooks=tmp_path/"runs")
    assert report[["status", "error"]].values.tolist() == [["failed", "it ended without its row in runs.csv"],
                                                           ["skipped", "train did not succeed"]]
    assert status(SMOKE[:1], tmp_path/"run {1}", pd.DataFrame(columns=JOBS))[["state", "error"]].values.tolist()[0] == ["to do",
        "it ended without its rows"]

# whoever listens, and what is said to them

MAIN = "import sys; from vlm4vla.cli import main; sys.exit(main(sys.argv[1:]))"
TALK = """
import sys
from vlm4vla import cli
def doctor(args):
    for _ in range(9999): cli.say("a → ü 中"*99)
cli._doctor = doctor
sys.exit(cli.main(["doctor"]))
"""

def spoken(code, *args, close="", **env):
    "What a command says where one of its streams is closed by its reader."
    p = subprocess.Popen([sys.executable, "-c", code, *map(str, args)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                         env={**os.environ, **env})
    if close == "at once": p.stdout.close()
    if close == "later": p.stdout.readline(); p.stdout.close()
    wrong = p.stderr.read(); p.wait()
    return p.returncode, wrong

@pytest.mark.parametrize("code,args,close",
                         [(MAIN, ["--help"], "at once"), (MAIN, ["status", "--out", "{d}"], "at once"), (TALK, [], "at once"),
                          (TALK, [], "later")])
def test_a_reader_who_has_enough_ends_a_command_quietly(code, args, close, tmp_path):
    status, wrong = spoken(code, *(a.format(d=tmp_path) for a in args), close=close)
    assert wrong == "" and status == 141 or args == ["--help"] and status == 0

@pytest.mark.parametrize("where,status", [(">&-", 0), ("2>&-", 0), (">&- 2>&-", 0), ("> /dev/full", 1)])
def test_streams_that_are_closed_or_full_are_no_traceback(where, status, tmp_path):
    done = subprocess.run(f"{sys.executable} -c '{MAIN}' status --out {tmp_path} {where}", shell=True, capture_output=True, text=True)
    assert done.returncode == status and "Traceback" not in done.stderr and "Exception ignored" not in done.stderr, done.stderr
    assert ("could not be written (No space left on device)" in done.stderr) == bool(status)

def test_a_terminal_that_knows_ascii_only_is_told_everything(tmp_path):
    ascii = dict(PYTHONIOENCODING="ascii", LC_ALL="C", PYTHONUTF8="0", PYTHONCOERCECLOCALE="0")
    for args in (["sweep", "--help"], ["status", "--out", tmp_path/"für → 中"], ["report", "ü"]):
        status, wrong = spoken(MAIN, *args, **ascii)
        assert status in (0, 2) and "Traceback" not in wrong, wrong

def said(capsys, *args):
    from vlm4vla.cli import main
    assert main([str(a) for a in args]) == 2
    return capsys.readouterr().err.strip()

def test_a_hint_goes_on_where_the_reader_works(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path); out = tmp_path/"my results"
    assert said(capsys, "evaluate", SMOKE[0], "--out", out).endswith(f"train it first with `vlm4vla train {SMOKE[0]} --out 'my results'`.")
    for args in ((), ("demo",), (SMOKE[0],)): assert "--out 'my results'`" in said(capsys, "report", *args, "--out", out)
    assert said(capsys, "merge", "--out", "nowhere").endswith("let --output-dir name one that holds tables.")

@pytest.mark.parametrize("args,words", [
    (["sweep", "mini-*__grinningface__bse__s0"], "there is no variant 'bse'; did you mean 'base'?"),
    (["sweep", "mni-*__grinningface__base__s0"], "there is no backbone 'mni-*'"),
    (["sweep", "demo", "--chunkmode", "full"], "vlm4vla sweep has no option --chunkmode; did you mean '--chunk-mode'?"),
    (["status", "--ouput=x"], "vlm4vla status has no option --ouput; did you mean '--out'?"),
    (["report", "--out", "{d}/file"], "which cannot be a folder"), (["status", "--out", "{d}/file/in"], "is a file"),
    (["sweep", "demo", "--out", "/proc/nowhere"], "let --out name a folder"),
    (["status", "--out", "{d}/" + "x"*300], "File name too long")])
def test_a_sentence_names_what_is_meant(capsys, tmp_path, args, words):
    (tmp_path/"file").touch()
    wrong = said(capsys, *(a.format(d=tmp_path) for a in args))
    assert words in wrong and len(wrong.splitlines()) == 1

def test_a_wider_pattern_means_something():
    from vlm4vla.cli import _nearer
    assert _nearer(["a", "e", "c", "s0"], [["a", "b", "c", "s0"], ["d", "e", "c", "s1"]]) == "; try a wider one, such as 'a__*__c__s0'."
