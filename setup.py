"Hands `settings.ini` to setuptools; every fact lives there."
from configparser import ConfigParser
from pathlib import Path
from setuptools import find_packages, setup
from setuptools.command.build_py import build_py

ROOT = Path(__file__).resolve().parent
settings = ConfigParser(delimiters=["="])
settings.read(ROOT/"settings.ini", encoding="utf-8")
facts, lines = settings["DEFAULT"], lambda s: [l.strip() for l in s.strip().splitlines() if l.strip()]
own = lambda section: {k: v for k, v in settings[section].items() if k not in facts}

class Build(build_py):
    "Adds what commands need of the workbook where there is no checkout: run notebooks, pages of the analysis, counts and timings."
    def run(self):
        super().run()
        if self.editable_mode: return
        for pattern in lines(facts["workbook"]):
            for p in sorted(ROOT.glob(pattern)):
                to = Path(self.build_lib)/"vlm4vla"/"workbook"/p.relative_to(ROOT)
                self.mkpath(str(to.parent)); self.copy_file(str(p), str(to))

setup(
    name=facts["lib_name"], version=facts["version"], description=facts["description"],
    author=facts["author"], license=facts["license"], keywords=facts["keywords"].split(", "),
    classifiers=lines(facts["classifiers"]),
    long_description=(ROOT/"README.md").read_text(encoding="utf-8"), long_description_content_type="text/markdown",
    packages=find_packages(include=["vlm4vla", "vlm4vla.*"]), package_data={"vlm4vla": ["py.typed", "assets/**/*"]}, include_package_data=False,
    install_requires=lines(facts["requirements"]),
    extras_require={k: lines(v) for k, v in own("extras").items()},
    entry_points={"console_scripts": [f"{k} = {v}" for k, v in own("scripts").items()]},
    cmdclass={"build_py": Build},
)
