"Hands `settings.ini` to setuptools; every fact lives there."
from configparser import ConfigParser
from pathlib import Path
from setuptools import find_packages, setup

settings = ConfigParser(delimiters=["="])
settings.read(Path(__file__).parent/"settings.ini", encoding="utf-8")
facts, lines = settings["DEFAULT"], lambda s: [l.strip() for l in s.strip().splitlines() if l.strip()]
own = lambda section: {k: v for k, v in settings[section].items() if k not in facts}

setup(
    name=facts["lib_name"], version=facts["version"], description=facts["description"],
    author=facts["author"], license=facts["license"], keywords=facts["keywords"].split(", "),
    classifiers=lines(facts["classifiers"]),
    long_description=(Path(__file__).parent/"README.md").read_text(encoding="utf-8"), long_description_content_type="text/markdown",
    packages=find_packages(include=["vlm4vla", "vlm4vla.*"]), package_data={"vlm4vla": ["assets/**/*"]},
    install_requires=lines(facts["requirements"]),
    extras_require={k: lines(v) for k, v in own("extras").items()},
    entry_points={"console_scripts": [f"{k} = {v}" for k, v in own("scripts").items()]},
)
