#!/usr/bin/env python
"""Look up the installed packages in the advisory database of PyPI; run by `make audit`.

Exit codes: 0, no known vulnerability; 1, one was found; 2, a package could not be looked up.
pip-audit itself ends with 0 where the database is not reachable.
"""

import json
import subprocess
import sys
import tempfile
from importlib.metadata import distributions

# Not on the index, so that nothing is known there: this project, and what it installs itself.
OURS = {"avsf-det", "avsf_det", "detectron2"}
# Advisories that do not apply, with the reason.
IGNORED: dict[str, str] = {}


def main() -> int:
    """Return the exit code."""
    # "2.11.0+cpu" is a build of the release "2.11.0", which the advisories name.
    found = {d.metadata["Name"]: d.version.partition("+")[0] for d in distributions()}
    pins = [f"{name}=={version}" for name, version in found.items() if name not in OURS]
    with tempfile.NamedTemporaryFile("w", suffix=".txt", encoding="utf-8") as file:
        file.write("\n".join(pins))
        file.flush()
        options = ["--no-deps", "--disable-pip", "--progress-spinner=off", "--format=json"]
        done = subprocess.run(
            [sys.argv[1], "-r", file.name, *options], capture_output=True, text=True, check=False
        )
    try:
        packages = json.loads(done.stdout)["dependencies"]
    except ValueError:
        reason = (done.stderr.strip().splitlines() or ["no output"])[-1]
        print(f"error: pip-audit failed: {reason[:200]}", file=sys.stderr)
        return 2
    wrong = {
        f"{package['name']} {package['version']}: {advisory['id']}"
        for package in packages
        for advisory in package.get("vulns", ())
        if advisory["id"] not in IGNORED
    }
    print(*sorted(wrong), sep="\n", end="\n" if wrong else "")
    unknown = [package["name"] for package in packages if "skip_reason" in package]
    if unknown:
        print(
            f"error: {len(unknown)} of {len(packages)} packages could not be looked up, such as "
            f"{unknown[0]}; is its advisory service reachable?",
            file=sys.stderr,
        )
    else:
        print(f"{len(packages)} packages, {len(wrong)} known vulnerabilities")
    return 1 if wrong else 2 if unknown else 0


if __name__ == "__main__":
    sys.exit(main())
