"What can go wrong, on purpose: for `nbs/bench`."
import os, signal, subprocess, time
from pathlib import Path
import psutil

def processes():
    "Everything that runs and may be looked at: number, environment, command, number of the parent."
    for p in psutil.process_iter():
        try: yield p.pid, p.environ(), p.cmdline(), p.ppid()
        except (psutil.Error, OSError): continue # gone, or somebody else's

def marked(text:str)->dict:
    "Processes with a text in their environment, by kind."
    kinds, found = dict(papermill="-m papermill", kernel="ipykernel_launcher", simulator="vlm4vla.sim.worker"), {}
    for pid, env, cmd, _ in processes():
        for kind in (k for k, v in kinds.items() if v in " ".join(cmd) and any(text in f"{name}={value}" for name, value in env.items())):
            found.setdefault(kind, []).append(pid)
    return found

def hit(pid:int, what=signal.SIGKILL)->bool:
    try: os.kill(pid, what); return True
    except ProcessLookupError: return False

class Disk:
    "A small disk of its own, where that is allowed (root); elsewhere an ordinary folder that nothing happens to."
    def __init__(self, folder, mb:int=400):
        self.folder = Path(folder); self.folder.mkdir(parents=True)
        self.own = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={mb}m", "tmpfs", str(folder)], capture_output=True).returncode == 0

    def full(self, seconds:float):
        try:
            with open(self.folder/"filler", "wb", buffering=0) as f:
                while True: f.write(bytes(2**20))
        except OSError: pass
        time.sleep(seconds); (self.folder/"filler").unlink(missing_ok=True)

    def read_only(self, seconds:float)->bool:
        "Lay the folder over itself, read-only: who has a file open may write on, whoever opens one may not."
        mount = lambda *how: subprocess.run(["mount", *how, str(self.folder)], capture_output=True).returncode == 0
        if not mount("--bind", str(self.folder)): return False
        done = mount("-o", "remount,bind,ro"); time.sleep(seconds)
        subprocess.run(["umount", "-l", str(self.folder)], capture_output=True); return done

    def close(self):
        if self.own: subprocess.run(["umount", "-l", str(self.folder)], capture_output=True)
