"""Fetches files of Maven Central with checksums, by Maven, for the image builds that put them into an image.

    fetch.py FOLDER COORDINATES SHA256 [COORDINATES SHA256 …]     each into FOLDER under its own name

Coordinates are group:artifact:version:extension[:classifier], as `mvn dependency:copy` takes them.
"""

import hashlib
import os
import subprocess
import sys

PLUGIN = "org.apache.maven.plugins:maven-dependency-plugin:3.8.1"


def fetch(coordinates: str, sha256: str, folder: str) -> str:
    """The path of the file in the folder."""
    _, artifact, version, extension, *classifier = coordinates.split(":")
    copy = [f"{PLUGIN}:copy", f"-Dartifact={coordinates}", f"-DoutputDirectory={os.path.abspath(folder)}"]
    subprocess.run(["mvn", "-q", "-B", *copy], check=True)
    path = os.path.join(folder, "-".join([artifact, version, *classifier]) + f".{extension}")
    with open(path, "rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != sha256:
        sys.exit(f"{coordinates}: SHA-256 is {found}, expected {sha256}")
    return path


def main() -> None:
    folder, *pairs = sys.argv[1:]
    os.makedirs(folder, exist_ok=True)
    for coordinates, sha256 in zip(pairs[::2], pairs[1::2], strict=True):
        fetch(coordinates, sha256, folder)


if __name__ == "__main__":
    main()
