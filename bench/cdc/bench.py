#!/usr/bin/env python3
"""cdc-relay beside real Debezium, pg_recvlogical and bare Kafka: same Postgres, Kafka, registry and rows, in one run.

`make bench-cdc` builds what is needed and calls this. It prints a table and, as its last line, one JSON object. Settings
(environment): BENCH_ROWS (1000000) of each streamed backlog, BENCH_ROWS_PER_TRANSACTION (1000), BENCH_SNAPSHOT_ROWS
(5000000), BENCH_SECONDS (30) of each latency measurement, BENCH_PARTS (stream,snapshot,latency), BENCH_PEER (1; 0 leaves
Debezium out), BENCH_DIR (a folder that stays; else a temporary one), HAUS_BIN (the built binaries).

How: a relay and a Connect worker have streamed once and are stopped. A backlog is written, then drained three times, one
after the other: by pg_recvlogical to /dev/null, by the relay, by Debezium. A row of another table ends the backlog; when
its record can be read, everything before it is written. Ours counts from its log line that it streams, Debezium from its
first record (its start-up, some 10 s, is left out), pg_recvlogical from its start. CPU seconds are those of the process in
that window, from /proc.
"""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from datetime import datetime

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
PEERS = f"{ROOT}/bench/peers"
CACHE = os.environ.get("HAUS_CACHE", os.path.expanduser("~/.cache/haus-am-see"))
BIN = os.environ.setdefault("HAUS_BIN", os.path.join(os.environ.get("CARGO_TARGET_DIR", f"{CACHE}/target"), "release"))
ROWS = int(os.environ.get("BENCH_ROWS", 1_000_000))
ROWS_PER_TRANSACTION = int(os.environ.get("BENCH_ROWS_PER_TRANSACTION", 1000))
SNAPSHOT_ROWS = int(os.environ.get("BENCH_SNAPSHOT_ROWS", 5_000_000))
SECONDS = int(os.environ.get("BENCH_SECONDS", 30))
PARTS = os.environ.get("BENCH_PARTS", "stream,snapshot,latency").split(",")
PEER = os.environ.get("BENCH_PEER", "1") == "1"
TICKS = os.sysconf("SC_CLK_TCK")
RELAY, DEBEZIUM = "relay", "debezium"
# Single transactions far enough apart that none waits for the end of the one before, and at the commits' own rate.
BARE_RATES = (40, 200)
COMMIT_RATES = (200, 2000)


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def say(text):
    print(f"[{time.strftime('%H:%M:%S')}] {text}", flush=True)


def cpu_seconds(pid):
    with open(f"/proc/{pid}/stat", encoding="utf-8") as file:
        fields = file.read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def peak_mb(pid):
    with open(f"/proc/{pid}/status", encoding="utf-8") as file:
        return int(re.search(r"VmHWM:\s+(\d+)", file.read())[1]) / 1024


def busy_seconds():
    """CPU seconds of the whole machine since its start."""
    with open("/proc/stat", encoding="utf-8") as file:
        fields = [int(field) for field in file.readline().split()[1:9]]
    return (sum(fields) - fields[3] - fields[4]) / TICKS


def request(method, url, body=None):
    data = None if body is None else json.dumps(body).encode()
    call = urllib.request.Request(url, data, {"Content-Type": "application/json"}, method=method)
    with urllib.request.urlopen(call, timeout=120) as answer:
        text = answer.read()
    return json.loads(text) if text else None


def wait_until(what, check, seconds=300, every=0.1):
    end = time.time() + seconds
    while time.time() < end:
        try:
            found = check()
        except OSError:
            found = None
        if found:
            return found
        time.sleep(every)
    sys.exit(f"bench: {what}: not within {seconds} s")


class Stack:
    """The servers of one run, in one folder."""

    def __init__(self, folder):
        self.folder = folder
        self.kafka, self.postgres, self.registry = free_port(), free_port(), free_port()
        self.bootstrap = f"127.0.0.1:{self.kafka}"
        self.registry_url = f"http://127.0.0.1:{self.registry}"
        self.ports = {RELAY: free_port(), DEBEZIUM: free_port()}
        self.relay = None

    def peer(self, script, *arguments):
        subprocess.run([f"{PEERS}/{script}.sh", *map(str, arguments)], check=True)

    def start(self):
        self.peer("kafka", "start", self.folder, self.kafka, free_port())
        self.peer("postgres", "start", self.folder, self.postgres)
        self.peer("registry", "start", self.folder, self.registry, self.bootstrap)

    def stop(self):
        self.stop_worker(RELAY)
        for script in ("connect", "registry", "postgres", "kafka"):
            self.peer(script, "stop", self.folder)

    def start_worker(self, engine):
        if engine == DEBEZIUM:
            self.peer("connect", "start", self.folder, self.bootstrap, self.registry_url, self.ports[engine])
            return
        env = {
            "CDC_RELAY_PORT": str(self.ports[RELAY]),
            "KAFKA_BOOTSTRAP_SERVERS": self.bootstrap,
            "SCHEMA_REGISTRY_URL": self.registry_url,
            **{f"CONNECT_{kind.upper()}_TOPIC": f"relay_{kind}s" for kind in ("config", "offset")},
            "CONNECT_STATUS_TOPIC": "relay_statuses",
        }
        log = open(f"{self.folder}/cdc-relay.log", "a", encoding="utf-8")
        self.relay = subprocess.Popen([f"{BIN}/cdc-relay"], env={**os.environ, **env}, stdout=log, stderr=log)
        self.wait_worker(RELAY)

    def wait_worker(self, engine):
        url = f"http://127.0.0.1:{self.ports[engine]}/connectors"
        wait_until(f"{engine} answers", lambda: request("GET", url) is not None)

    def stop_worker(self, engine):
        if engine == DEBEZIUM:
            self.peer("connect", "stop", self.folder)
        elif self.relay:
            self.relay.send_signal(signal.SIGTERM)
            self.relay.wait()
            self.relay = None

    def pid(self, engine):
        if engine == RELAY:
            return self.relay.pid
        with open(f"{self.folder}/connect.pid", encoding="utf-8") as file:
            return int(file.read())

    def connector(self, engine, name, **changes):
        """Registers a connector, or changes it, and waits for its task."""
        config = {
            "connector.class": "io.debezium.connector.postgresql.PostgresConnector",
            "tasks.max": "1",
            "database.hostname": "127.0.0.1",
            "database.port": str(self.postgres),
            "database.user": "postgres",
            "database.password": "postgres",
            "database.dbname": "bench",
            "plugin.name": "pgoutput",
            "topic.prefix": name,
            "slot.name": f"{name}_slot",
            "publication.name": f"{name}_pub",
            "publication.autocreate.mode": "filtered",
            "tombstones.on.delete": "false",
            **{key.replace("_", "."): value for key, value in changes.items()},
        }
        for side in ("key", "value"):
            config[f"{side}.converter"] = "io.confluent.connect.avro.AvroConverter"
            config[f"{side}.converter.schema.registry.url"] = self.registry_url
        url = f"http://127.0.0.1:{self.ports[engine]}/connectors/{name}"
        request("PUT", f"{url}/config", config)

        def running():
            tasks = request("GET", f"{url}/status")["tasks"]
            if tasks and tasks[0]["state"] == "FAILED":
                sys.exit(f"bench: {name} failed: {tasks[0].get('trace')}")
            return tasks and tasks[0]["state"] == "RUNNING"

        wait_until(f"{name} runs", running)

    def delete_connector(self, engine, name):
        request("DELETE", f"http://127.0.0.1:{self.ports[engine]}/connectors/{name}")

    def sql(self, text, database="bench"):
        command = ["psql", "-X", "-q", "-At", "-v", "ON_ERROR_STOP=1", "-d", f"{self.url(database)}"]
        return subprocess.run(command, input=text, check=True, text=True, capture_output=True).stdout.strip()

    def url(self, database="bench"):
        return f"postgresql://postgres:postgres@127.0.0.1:{self.postgres}/{database}"

    def probe(self, *arguments):
        command = [f"{BIN}/examples/cdc_probe", "--bootstrap", self.bootstrap, *map(str, arguments)]
        return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)

    def ask(self, *arguments):
        """The answers of a probe that ends by itself, by their `what`."""
        answers = [json.loads(line) for line in self.probe(*arguments).stdout]
        return {answer.get("what", "facts"): answer for answer in answers}

    def streaming_since(self, offset):
        """When the relay's log, read from `offset`, says that it streams."""
        with open(f"{self.folder}/cdc-relay.log", encoding="utf-8") as file:
            file.seek(offset)
            text = re.sub(r"\x1b\[[0-9;]*m", "", file.read())
        found = re.search(r"^(\S+Z)\s.*\bstreaming slot=", text, re.M)
        return datetime.fromisoformat(found[1].replace("Z", "+00:00")).timestamp() if found else None


class Arrival:
    """Waits for the first and the last record."""

    def __init__(self, stack, *arguments):
        self.lines = stack.probe("arrival", *arguments).stdout
        self.next("ready")

    def next(self, name):
        line = self.lines.readline()
        if not line:
            sys.exit("bench: the probe ended early")
        return json.loads(line)[name]


def kicked(stack, engine, name, table):
    """Returns when the connector streams: when rows written now arrive."""
    topics = (f"{name}.public.{table}", f"{name}.public.done")
    arrival = Arrival(stack, *topics)
    arrived = threading.Event()

    def kick():
        while not arrived.wait(1):
            row = f"INSERT INTO {table} (order_id, product_id, quantity, unit_price) VALUES (1, 1, 1, 1)"
            stack.sql(f"{row}; INSERT INTO done DEFAULT VALUES")

    slot = f"SELECT 1 FROM pg_replication_slots WHERE slot_name = '{name}_slot' AND active"
    wait_until(f"{name} takes its slot", lambda: stack.sql(slot))
    thread = threading.Thread(target=kick)
    thread.start()
    arrival.next("first"), arrival.next("last")
    arrived.set()
    thread.join()
    # None is under way that would be taken for the end of what comes next.
    written = int(stack.sql("SELECT count(*) FROM done"))
    wait_until(f"{name} has everything", lambda: stack.ask("count", topics[1])["facts"]["records"] >= written)


def drained(stack, engine, table):
    """Starts a worker on its backlog; rows per second, CPU seconds per million rows, peak MB."""
    name, log = engine, f"{stack.folder}/cdc-relay.log"
    offset = os.path.getsize(log) if engine == RELAY else 0
    arrival = Arrival(stack, f"{name}.public.{table}", f"{name}.public.done")
    stack.start_worker(engine)
    # Our start is so cheap that it is counted in; that of a JVM is not.
    cpu = cpu_seconds(stack.pid(engine)) if engine == RELAY else None
    first = arrival.next("first")
    if engine == DEBEZIUM:
        cpu, begin = cpu_seconds(stack.pid(engine)), first
    last = arrival.next("last")
    cpu = cpu_seconds(stack.pid(engine)) - cpu
    if engine == RELAY:
        begin = wait_until("the relay says that it streams", lambda: stack.streaming_since(offset))
    facts = {"rows_s": ROWS / (last - begin), "cpu": cpu * 1e6 / ROWS, "mb": peak_mb(stack.pid(engine))}
    stack.stop_worker(engine)
    return facts


def received(stack):
    """pg_recvlogical to /dev/null, from its slot to here."""
    end = stack.sql("SELECT pg_current_wal_insert_lsn()")
    command = ["pg_recvlogical", "-d", stack.url(), "--slot=ceiling", "--start", "-o", "proto_version=1"]
    command += ["-o", "publication_names=relay_pub", f"--endpos={end}", "-F", "0", "-f", "/dev/null"]
    begin = time.time()
    subprocess.run(command, check=True)
    return {"rows_s": ROWS / (time.time() - begin)}


TABLES = """
CREATE TABLE items (id serial PRIMARY KEY, order_id int NOT NULL, product_id int NOT NULL, quantity int NOT NULL,
    unit_price numeric(10,2) NOT NULL);
CREATE TABLE done (id serial PRIMARY KEY);
"""
# Rows as a shop's order lines: four integers and an amount.
INSERTED = "1 + (i * 1000 + g) % 100000, 1 + g, 1 + g % 5, (g % 10000) / 100.0"


def backlog(stack, kind):
    per, count = ROWS_PER_TRANSACTION, ROWS // ROWS_PER_TRANSACTION
    one = {
        "insert": f"INSERT INTO items (order_id, product_id, quantity, unit_price) SELECT {INSERTED} "
        f"FROM generate_series(0, {per - 1}) g",
        # Statement by statement, as applications do.
        "update": f"FOR g IN 1..{per} LOOP UPDATE items SET quantity = quantity + 1 WHERE id = first + i * {per} + g; END LOOP",
    }[kind]
    stack.sql(
        f"SET synchronous_commit = off; DO $$ DECLARE first int := (SELECT min(id) - 1 FROM items WHERE id > 1); BEGIN "
        f"FOR i IN 0..{count - 1} LOOP {one}; COMMIT; END LOOP; END $$; INSERT INTO done DEFAULT VALUES; CHECKPOINT"
    )


def stream(stack, table):
    engines = [RELAY, DEBEZIUM] if PEER else [RELAY]
    for engine in engines:
        list(stack.probe("topics", f"{engine}.public.items", f"{engine}.public.done").stdout)
        stack.start_worker(engine)
        stack.connector(engine, engine, snapshot_mode="initial", table_include_list="public.items,public.done")
        kicked(stack, engine, engine, "items")
        stack.stop_worker(engine)
    stack.sql("SELECT pg_create_logical_replication_slot('ceiling', 'pgoutput')")
    facts = {}
    for kind in ("insert", "update"):
        say(f"{kind}s: writing {ROWS}")
        backlog(stack, kind)
        facts[kind] = {"received": received(stack)}
        for engine in engines:
            facts[kind][engine] = drained(stack, engine, "items")
        for who, fact in facts[kind].items():
            say(f"{kind}s, {who}: " + ", ".join(f"{key} {value:.1f}" for key, value in fact.items()))
            table.append((f"streaming {kind}s", who, fact))
    for engine in engines:
        topic, found = f"{engine}.public.items", stack.ask("count", f"{engine}.public.items")["facts"]["records"]
        # Each once, and an insert more for each row that showed that a connector streams: they were all written before.
        expected = ROWS + int(stack.sql("SELECT count(*) FROM items"))
        if found != expected:
            sys.exit(f"bench: {topic} holds {found} records, expected {expected}")
    stack.sql("SELECT pg_drop_replication_slot('ceiling')")
    return facts


def snapshot(stack, table):
    stack.sql("CREATE TABLE bulk (LIKE items INCLUDING ALL)")
    say(f"snapshot: writing {SNAPSHOT_ROWS} rows")
    stack.sql(
        f"INSERT INTO bulk SELECT g, g % 100000, 1 + g % 1000, 1 + g % 5, (g % 10000) / 100.0 "
        f"FROM generate_series(1, {SNAPSHOT_ROWS}) g; VACUUM ANALYZE bulk; CHECKPOINT"
    )
    facts = {}
    for engine in [RELAY, DEBEZIUM] if PEER else [RELAY]:
        name = f"{engine}_bulk"
        # A table of its own for the end: those of the shared one would come with the snapshot.
        stack.sql(f"CREATE TABLE done_{engine} (id serial PRIMARY KEY)")
        topic, done = f"{name}.public.bulk", f"{name}.public.done_{engine}"
        list(stack.probe("topics", topic, done).stdout)
        stack.start_worker(engine)
        arguments = [topic, done] + ([SNAPSHOT_ROWS] if engine == DEBEZIUM else [])
        arrival = Arrival(stack, *arguments)
        cpu = cpu_seconds(stack.pid(engine))
        stack.connector(engine, name, snapshot_mode="initial", table_include_list=f"public.bulk,public.done_{engine}")
        first = arrival.next("first")
        # Comes by the stream, hence after the snapshot's last row.
        stack.sql(f"INSERT INTO done_{engine} DEFAULT VALUES")
        seconds = arrival.next("last") - first
        cpu = (cpu_seconds(stack.pid(engine)) - cpu) * 1e6 / SNAPSHOT_ROWS
        facts[engine] = {"rows_s": SNAPSHOT_ROWS / seconds, "cpu": cpu, "mb": peak_mb(stack.pid(engine))}
        stack.delete_connector(engine, name)
        stack.stop_worker(engine)
        found = stack.ask("count", topic)["facts"]["records"]
        if found != SNAPSHOT_ROWS:
            sys.exit(f"bench: {topic} holds {found} records, expected {SNAPSHOT_ROWS}")
        say(f"snapshot, {engine}: " + ", ".join(f"{key} {value:.1f}" for key, value in facts[engine].items()))
        table.append(("snapshot", engine, facts[engine]))
    facts["copied"] = copied(stack)
    table.append(("snapshot", "COPY alone", facts["copied"]))
    # By our producer, and by librdkafka, which other programs than the JVM's are made with.
    for name, options in ("bare producer", []), ("bare librdkafka", ["--librdkafka"]):
        topic = name.replace(" ", "_")
        list(stack.probe("topics", topic).stdout)
        took = stack.ask("produce", f"{RELAY}_bulk.public.bulk", topic, SNAPSHOT_ROWS, *options)["facts"]
        facts[name] = {"rows_s": SNAPSHOT_ROWS / took["seconds"]}
        table.append(("snapshot", name, facts[name]))
    return facts


def copied(stack):
    """The table's rows from Postgres to /dev/null, by two readers as the relay has them: without it there is no snapshot."""
    middle = int(stack.sql("SELECT relpages / 2 FROM pg_class WHERE relname = 'bulk'"))
    halves = [f"COPY (SELECT * FROM bulk WHERE ctid {side} '({middle},0)'::tid) TO STDOUT" for side in ("<", ">=")]
    begin = time.time()
    with open(os.devnull, "w", encoding="utf-8") as nowhere:
        readers = [subprocess.Popen(["psql", "-qX", stack.url(), "-c", half], stdout=nowhere) for half in halves]
        if any([reader.wait() for reader in readers]):
            sys.exit("bench: COPY failed")
    return {"rows_s": SNAPSHOT_ROWS / (time.time() - begin)}


def latency(stack, table):
    facts = {}

    def add(name, answer):
        facts[name] = {key: answer[key] for key in ("p50", "p90", "p99", "p999", "max")}
        say(f"latency, {name}: {facts[name]}")
        table.append(("latency, ms", name, facts[name]))

    def bare(moment):
        for rate in BARE_RATES:
            answers = stack.ask("transactions", "bare_latency", rate, min(SECONDS, 15))
            add(f"bare transaction, {rate}/s, {moment}", answers["latency"])

    def measure(engine, name, label):
        for rate in COMMIT_RATES:
            insert = "INSERT INTO ticks (order_id, product_id, quantity, unit_price) VALUES (1, 1, 1, 9.99) RETURNING id"
            options = ["--postgres", stack.url(), "--topic", f"{name}.public.ticks", "--insert", insert]
            cpu, busy, begin = cpu_seconds(stack.pid(engine)), busy_seconds(), time.time()
            answers = stack.ask("latency", *options, "--rate", rate, "--seconds", SECONDS)
            cpu = (cpu_seconds(stack.pid(engine)) - cpu) / (time.time() - begin)
            busy = (busy_seconds() - busy) / (time.time() - begin)
            commit, facts_ = answers["commit"], answers["facts"]
            say(f"{label} at {rate}/s: {facts_}, COMMIT itself p50 {commit['p50']} p99 {commit['p99']}, "
                f"{cpu:.2f} CPUs, machine {busy:.2f}")
            add(f"{label}, {rate}/s", answers["latency"])

    stack.sql("CREATE TABLE ticks (LIKE items INCLUDING ALL)")
    list(stack.probe("topics", "bare_latency").stdout)
    # A broker that has just started answers several times more slowly, for minutes: Debezium's part warms it up.
    stack.ask("transactions", "bare_latency", BARE_RATES[-1], SECONDS)
    for engine in [DEBEZIUM, RELAY] if PEER else [RELAY]:
        name = f"{engine}_ticks"
        if engine == RELAY:
            bare("before")
        topic, done = f"{name}.public.ticks", f"{name}.public.done"
        list(stack.probe("topics", topic, done).stdout)
        stack.start_worker(engine)
        for label, changes in [("", {})] + ([(", 10 ms poll", {"poll_interval_ms": "10"})] if engine == DEBEZIUM else []):
            stack.connector(engine, name, snapshot_mode="initial", table_include_list="public.ticks,public.done", **changes)
            kicked(stack, engine, name, "ticks")
            measure(engine, name, f"{engine}{label}")
        stack.delete_connector(engine, name)
        stack.stop_worker(engine)
    bare("after")
    return facts


def result(facts):
    """The figures under the names they are kept by."""
    number = lambda *path: round(value, 2) if (value := dig(facts, *path)) is not None else None
    best = lambda name, key: min(
        (fact[key] for label, fact in facts.get("latency", {}).items() if label.startswith(name)), default=None
    )
    inserts, updates = ("stream", "insert"), ("stream", "update")
    return {
        "stream_rows_s": number(*inserts, RELAY, "rows_s"),
        "debezium_stream_rows_s": number(*inserts, DEBEZIUM, "rows_s"),
        "recvlogical_rows_s": number(*inserts, "received", "rows_s"),
        "update_rows_s": number(*updates, RELAY, "rows_s"),
        "debezium_update_rows_s": number(*updates, DEBEZIUM, "rows_s"),
        "recvlogical_update_rows_s": number(*updates, "received", "rows_s"),
        "cpu_s_per_m": number(*inserts, RELAY, "cpu"),
        "debezium_cpu_s_per_m": number(*inserts, DEBEZIUM, "cpu"),
        "update_cpu_s_per_m": number(*updates, RELAY, "cpu"),
        "debezium_update_cpu_s_per_m": number(*updates, DEBEZIUM, "cpu"),
        "rss_mb": number(*inserts, RELAY, "mb"),
        "debezium_rss_mb": number(*inserts, DEBEZIUM, "mb"),
        "snapshot_rows_s": number("snapshot", RELAY, "rows_s"),
        "debezium_snapshot_rows_s": number("snapshot", DEBEZIUM, "rows_s"),
        "bare_producer_rows_s": number("snapshot", "bare producer", "rows_s"),
        "bare_librdkafka_rows_s": number("snapshot", "bare librdkafka", "rows_s"),
        "copy_rows_s": number("snapshot", "copied", "rows_s"),
        "snapshot_rss_mb": number("snapshot", RELAY, "mb"),
        "latency_p50_ms": number("latency", f"{RELAY}, 200/s", "p50"),
        "latency_p99_ms": number("latency", f"{RELAY}, 200/s", "p99"),
        "debezium_latency_p50_ms": number("latency", f"{DEBEZIUM}, 200/s", "p50"),
        "debezium_latency_p99_ms": number("latency", f"{DEBEZIUM}, 200/s", "p99"),
        "bare_txn_p50_ms": best(f"bare transaction, {BARE_RATES[0]}/s", "p50"),
        "bare_txn_p99_ms": best(f"bare transaction, {BARE_RATES[0]}/s", "p99"),
    }


def dig(tree, *path):
    for step in path:
        tree = tree.get(step) if isinstance(tree, dict) else None
    return tree


def main():
    with tempfile.TemporaryDirectory(prefix="bench-cdc-") as temporary:
        folder = os.path.abspath(os.environ.get("BENCH_DIR", temporary))
        os.makedirs(folder, exist_ok=True)
        os.chmod(folder, 0o755)
        stack, table, facts = Stack(folder), [], {}
        try:
            stack.start()
            stack.sql("CREATE DATABASE bench", "postgres")
            stack.sql(TABLES)
            for part in PARTS:
                facts[part] = {"stream": stream, "snapshot": snapshot, "latency": latency}[part](stack, table)
        finally:
            stack.stop()
    print()
    for what, who, fact in table:
        print(f"{what:<18} {who:<38} " + "  ".join(f"{key} {value:,.2f}" for key, value in fact.items()))
    print(json.dumps(result(facts)))


main()
