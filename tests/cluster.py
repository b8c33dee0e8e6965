"""A real Slurm of a few nodes on one machine, for tests and for `nbs/bench`: started in a folder, gone with it, no root needed.

    with cluster(folder) as env: subprocess.run(["sinfo"], env=env)
"""
import getpass, os, shutil, signal, socket, subprocess, sysconfig, time
from contextlib import contextmanager
from pathlib import Path
from faults import processes

PACKAGES = ["slurmctld", "slurmd", "slurm-client", "munge"]
TOOLS = ["slurmctld", "slurmd", "sbatch", "squeue", "munged"]

def tools()->dict:
    "Environment variables with which Slurm's programs are found; fetched first where the machine has none."
    from vlm4vla.core import UserError, cache_dir
    from vlm4vla.sim.debian import unpack_package
    if all(shutil.which(t) for t in TOOLS): return {}
    folder = cache_dir()/"slurm"; usr = folder/"usr"; lib = usr/"lib"/(sysconfig.get_config_var("MULTIARCH") or "")
    if not (folder/"whole").exists():
        shutil.rmtree(folder, ignore_errors=True); unpack_package(PACKAGES, folder)
        # Debian does so when it installs them
        for p in (usr/"sbin").glob("slurm*-wlm"): p.with_name(p.name.removesuffix("-wlm")).symlink_to(p.name)
        if not (usr/"bin"/"sbatch").exists(): raise UserError("The Debian packages of Slurm hold no sbatch.")
        (folder/"whole").touch()
    return dict(PATH=os.pathsep.join(map(str, (usr/"bin", usr/"sbin", os.environ["PATH"]))),
                LD_LIBRARY_PATH=os.pathsep.join(map(str, (lib, lib/"slurm-wlm"))), SLURM_PLUGINS=str(lib/"slurm-wlm"))

def free_port()->int:
    with socket.socket() as s: s.bind(("127.0.0.1", 0)); return s.getsockname()[1]

def devices(folder:Path, n:int)->list:
    "Files that pass for GPUs: device files where that is allowed (Slurm then numbers them), plain ones elsewhere."
    found = [folder/f"gpu{i}" for i in range(n)]
    for i, p in enumerate(found):
        try: os.mknod(p, 0o20666, os.makedev(195, i))
        except OSError: p.touch()
    return found

def settings(d:Path, nodes:int, gpus:int, cpus:int, env:dict)->str:
    host, user = socket.gethostname().split(".")[0], getpass.getuser()
    plugins = [f"PluginDir={env['SLURM_PLUGINS']}"] if "SLURM_PLUGINS" in env else []
    (d/"gres.conf").write_text("".join(f"NodeName=n{i} Name=gpu File={p}\n" for i in range(nodes) for p in devices(d, gpus)))
    return "\n".join([*plugins, "ClusterName=test", f"SlurmctldHost={host}(127.0.0.1)", f"SlurmctldPort={free_port()}",
                      f"SlurmUser={user}", f"SlurmdUser={user}",
        "AuthType=auth/munge", f"AuthInfo=socket={d}/munge.socket", "CredType=cred/munge", f"StateSaveLocation={d}/state",
        f"SlurmdSpoolDir={d}/spool/%n",
        f"SlurmctldPidFile={d}/slurmctld.pid", f"SlurmdPidFile={d}/slurmd.%n.pid", f"SlurmctldLogFile={d}/log/slurmctld",
        f"SlurmdLogFile={d}/log/slurmd.%n",
        "ProctrackType=proctrack/linuxproc", "TaskPlugin=task/none", "SwitchType=switch/none", "SelectType=select/cons_tres",
        "SelectTypeParameters=CR_Core", "GresTypes=gpu", "MpiDefault=none",
        "JobAcctGatherType=jobacct_gather/none", "AccountingStorageType=accounting_storage/none", "ReturnToService=2",
        "SchedulerParameters=sched_interval=1,bf_interval=1",
        "MinJobAge=60", "KillWait=5", "OverTimeLimit=0", "SlurmdParameters=config_overrides", "MaxArraySize=2000", "MaxJobCount=5000",
        *(f"NodeName=n{i} NodeHostname={host} NodeAddr=127.0.0.1 Port={free_port()} CPUs={cpus} RealMemory=4000 Gres=gpu:{gpus} "
          f"State=UNKNOWN" for i in range(nodes)),
        "PartitionName=main Nodes=ALL Default=YES MaxTime=INFINITE State=UP"]) + "\n"

@contextmanager
def cluster(folder, nodes:int=2, gpus:int=1, cpus:int=2, more:str=""):
    "The environment of a running cluster's user; `more` is added to its settings."
    d, found = Path(folder), tools()
    for sub in ("spool", "state", "log"): (d/sub).mkdir(parents=True, exist_ok=True)
    d.chmod(0o755)
    (d/"munge.key").write_bytes(os.urandom(128)); (d/"munge.key").chmod(0o400)
    (d/"slurm.conf").write_text(settings(d, nodes, gpus, cpus, found) + more)
    env = {**os.environ, **found, "SLURM_CONF": str(d/"slurm.conf")}
    step = shutil.which("slurmstepd", path=env["PATH"])
    run = lambda *cmd: subprocess.Popen(cmd, env=env, stdin=subprocess.DEVNULL, stdout=open(d/"log"/"said", "a"), stderr=subprocess.STDOUT)
    here = [run("munged", "--foreground", "--force", f"--key-file={d}/munge.key", f"--socket={d}/munge.socket",
                f"--pid-file={d}/munged.pid", f"--log-file={d}/log/munged", f"--seed-file={d}/munge.seed")]
    try:
        wait_for(lambda: (d/"munge.socket").exists(), "munged")
        here += [run("slurmctld", "-D", "-c"), *(run("slurmd", "-D", "-N", f"n{i}", *(["-d", step] if step else [])) for i in range(nodes))]
        idle = lambda: subprocess.run(["sinfo", "-h", "-N", "-t", "idle", "-o", "%N"], env=env, capture_output=True,
                                      text=True).stdout.split()
        wait_for(lambda: len(idle()) == nodes, f"{nodes} nodes; {d}/log says why")
        yield env
    finally:
        subprocess.run(["scancel", "--me"], env=env, capture_output=True)
        for p in reversed(here): p.terminate()
        for p in here:
            try: p.wait(10)
            except subprocess.TimeoutExpired: p.kill(); p.wait()

def lose(folder, node:str)->int:
    "Kill everything that runs on a node at once, as if its power had failed; how many processes that were."
    there = {pid: (env, cmd, above) for pid, env, cmd, above in processes()}
    of_ours = [i for i, (env, *_) in there.items() if env.get("SLURM_CONF") == f"{folder}/slurm.conf"]
    jobs = [i for i in of_ours if there[i][0].get("SLURMD_NODENAME") == node]
    daemon = [i for i in of_ours if there[i][1][:4] == ["slurmd", "-D", "-N", node]]
    # their title covers their environment
    steps = {a for i in jobs if (a := there[i][2]) in there and there[a][1][0].startswith("slurmstepd")}
    for what in (signal.SIGSTOP, signal.SIGKILL): # Slurm's own first, so that none tells the controller how a job has ended
        for i in (*daemon, *steps, *jobs): os.kill(i, what)
    return len(daemon) + len(steps) + len(jobs)

def wait_for(there, what:str, seconds:float=60.):
    until = time.time() + seconds
    while not there():
        if time.time() > until: raise RuntimeError(f"Slurm did not start within {seconds:.0f} s: waited for {what}")
        time.sleep(.2)
