"""What measurements of the lake stand on: its servers, its programs timed, and the whole stack under traffic.

Settings of all of them: HAUS_BIN (the built binaries), BENCH_DIR (a folder that stays).
"""

import contextlib
import json
import os
import random
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
CACHE = os.environ.get("HAUS_CACHE", os.path.expanduser("~/.cache/haus-am-see"))
BIN = os.environ.get("HAUS_BIN", os.path.join(os.environ.get("CARGO_TARGET_DIR", f"{CACHE}/target"), "release"))
PYTHON = f"{CACHE}/py-bench-lake/bin/python"
JARS = f"{CACHE}/bench-lake-jars"
PORTS_GIVEN = set()


def number(name, default):
    return int(os.environ.get(name, default))


def listed(name, default):
    return [part for part in os.environ.get(name, default).split(",") if part]


def say(text):
    print(f"[{time.strftime('%H:%M:%S')}] {text}", flush=True)


def free_port():
    """A port nobody listens at, each once, and none of those that outgoing connections take."""
    while True:
        port = random.randrange(15000, 32000)
        with socket.socket() as listener, contextlib.suppress(OSError):
            listener.bind(("127.0.0.1", port))
            if port not in PORTS_GIVEN:
                PORTS_GIVEN.add(port)
                return port


def get(url):
    with urllib.request.urlopen(url, timeout=120) as answer:
        return json.load(answer)


def healthy(url, process, seconds=60):
    end = time.time() + seconds
    while time.time() < end:
        if process.poll() is not None:
            sys.exit(f"bench: {process.args[0]} ended")
        with contextlib.suppress(OSError):
            return get(url)
        time.sleep(0.05)
    sys.exit(f"bench: {url}: not within {seconds} s")


def timed(command, env, log):
    """Runs a program to its end: its output, seconds from start to exit, CPU seconds and the most memory of its own."""
    with open(log, "a", encoding="utf-8") as errors, tempfile.TemporaryFile() as output:
        begin = time.time()
        process = subprocess.Popen(command, env={**os.environ, **env}, stdout=output, stderr=errors)
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.time() - begin
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode != 0:
            sys.exit(f"bench: {' '.join(command[:3])} failed, see {log}")
        output.seek(0)
        text = output.read().decode()
    return text, {"s": seconds, "cpu": usage.ru_utime + usage.ru_stime, "mb": usage.ru_maxrss / 1024}


class Lake:
    """An object server and a catalog of one part, with what `lake` needs to reach them."""

    def __init__(self, folder):
        self.folder = folder
        self.s3, self.catalog, self.postgres = free_port(), free_port(), free_port()
        self.endpoint = f"http://127.0.0.1:{self.s3}"
        self.env = {
            "S3_PORT": str(self.s3), "S3_ENDPOINT": self.endpoint, "OBJECT_SERVER_DIR": f"{folder}/objects",
            "AWS_ACCESS_KEY_ID": "minio", "AWS_SECRET_ACCESS_KEY": "minio123", "HAUS_BIND": "127.0.0.1",
            "POSTGRES_HOST": "127.0.0.1", "POSTGRES_PORT": str(self.postgres), "POSTGRES_USER": "postgres",
            "POSTGRES_PASSWORD": "postgres", "CATALOG_DB": "catalog", "CATALOG_PORT": str(self.catalog),
            "CATALOG_URL": f"http://127.0.0.1:{self.catalog}", "SCHEMA_REGISTRY_URL": "",
            "LAKE_MODELS_DIR": f"{ROOT}/models", "LAKE_PORT": str(free_port()),
            "LAKE_SQL_PORT": "0",
        }  # fmt: skip
        self.processes = []

    def __enter__(self):
        os.makedirs(self.folder)
        os.chmod(self.folder, 0o755)
        subprocess.run([f"{ROOT}/bench/peers/postgres.sh", "start", self.folder, str(self.postgres)], check=True)
        for program, url in (("object-server", f"{self.endpoint}/-/health"), ("catalog", f"{self.env['CATALOG_URL']}/health")):
            with open(f"{self.folder}/{program}.log", "a", encoding="utf-8") as log:
                process = subprocess.Popen([f"{BIN}/{program}"], env={**os.environ, **self.env}, stdout=log, stderr=log)
            self.processes.append(process)
            healthy(url, process)
        return self

    def __exit__(self, *_):
        for process in reversed(self.processes):
            process.terminate()
            process.wait()
        subprocess.run([f"{ROOT}/bench/peers/postgres.sh", "stop", self.folder], check=True)
        if "BENCH_DIR" not in os.environ:
            shutil.rmtree(self.folder)

    def upload(self, raw):
        subprocess.run([f"{BIN}/examples/bench-lake-raw", "upload", raw, self.endpoint], check=True, stdout=subprocess.DEVNULL)

    def run(self, *command, **settings):
        return timed([f"{BIN}/lake", *command], {**self.env, **settings}, f"{self.folder}/lake.log")

    def rows(self, query):
        return [line.split(",") for line in self.run("sql", query, "--format", "csv")[0].splitlines()[1:]]

    def snapshots(self, table):
        return get(f"{self.env['CATALOG_URL']}/v1/namespaces/shape/tables/{table}")["metadata"].get("snapshots", [])


def under_traffic(folder, settings, customers, rate, seconds):
    """The whole embedded stack at ports and in a folder of its own, under traffic: its lake's status at the end of it."""
    ports = {name: free_port() for name in (
        "POSTGRES_PORT", "SEEDER_PORT", "KAFKA_PORT", "KAFKA_CONTROLLER_PORT", "REGISTRY_PORT", "CDC_RELAY_PORT", "S3_SINK_PORT",
        "S3_PORT", "CATALOG_PORT", "LAKE_PORT", "LAKE_SQL_PORT")}  # fmt: skip
    at = {name: f"127.0.0.1:{port}" for name, port in ports.items()}
    env = {
        **os.environ, **{name: str(port) for name, port in ports.items()},
        "HAUS_DIR": folder, "HAUS_HOME": ROOT, "KAFKA_BOOTSTRAP_SERVERS": at["KAFKA_PORT"],
        "SCHEMA_REGISTRY_URL": f"http://{at['REGISTRY_PORT']}", "S3_ENDPOINT": f"http://{at['S3_PORT']}",
        "CATALOG_URL": f"http://{at['CATALOG_PORT']}", "LAKE_URL": f"http://{at['LAKE_PORT']}",
        "LAKE_MODELS_DIR": f"{ROOT}/models", **settings,
    }  # fmt: skip

    def haus(*arguments):
        text = subprocess.run([f"{BIN}/haus", "--json", *arguments], env=env, check=True, cwd=ROOT, stdout=subprocess.PIPE).stdout
        return json.loads(text) if text.strip() else None

    try:
        haus("up")
        haus("seed", "--count", str(customers))
        haus("verify")
        haus("traffic", "start", "--rate", str(rate))
        time.sleep(seconds)
        status = get(f"http://{at['LAKE_PORT']}/status?freshness_seconds={min(seconds, 600)}")
        haus("traffic", "stop")
        verified = haus("verify")["ok"]
    finally:
        haus("down")
    if not verified:
        sys.exit("bench: the lake does not hold what Postgres does")
    return status
