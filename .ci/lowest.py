"""Prints the lowest release line of each package that setup.cfg admits, as pip constraints.

python .ci/lowest.py setup.cfg
"""

import configparser
import re
import sys

config = configparser.ConfigParser()
config.read(sys.argv[1], encoding="utf-8")
extras = config["options.extras_require"]
lines = [config["options"]["install_requires"], *extras.values()]
for line in sorted({line.strip() for text in lines for line in text.splitlines()}):
    found = re.match(r"([A-Za-z0-9_.-]+)(?:\[\w+\])?\s*>=\s*([0-9.]+)", line)
    if found:
        print(f"{found[1]}=={found[2]}.*")
