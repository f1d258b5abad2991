"""Downloads with checksums, for the image builds that put files of Maven Central into an image.

    fetch.py FOLDER URL SHA256 [URL SHA256 …]     each into FOLDER under its own name
"""

import hashlib
import os
import sys
import urllib.request


def fetch(url: str, sha256: str) -> bytes:
    with urllib.request.urlopen(url, timeout=120) as answer:
        data = answer.read()
    found = hashlib.sha256(data).hexdigest()
    if found != sha256:
        sys.exit(f"{url}: SHA-256 is {found}, expected {sha256}")
    return data


def main() -> None:
    folder, *pairs = sys.argv[1:]
    os.makedirs(folder, exist_ok=True)
    for url, sha256 in zip(pairs[::2], pairs[1::2], strict=True):
        with open(os.path.join(folder, url.rsplit("/", 1)[1]), "wb") as file:
            file.write(fetch(url, sha256))


if __name__ == "__main__":
    main()
