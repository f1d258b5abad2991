"""Does to tables of the lake what another engine may do, by PyIceberg, to see how the lake takes it.

    disturb_lake.py rollback <table>    back to the snapshot before the last one that changed rows
    disturb_lake.py drop <table>
    disturb_lake.py tag <table> <name>  tags the current snapshot
    disturb_lake.py count <table> <tag> prints the rows of a tagged snapshot

Settings as in read_lake.py.
"""

import sys

from read_lake import catalog


def rollback(name: str) -> None:
    table = catalog().load_table(name)
    snapshot = table.current_snapshot()
    while snapshot.summary.operation.value == "replace":
        snapshot = table.snapshot_by_id(snapshot.parent_snapshot_id)
    table.manage_snapshots().rollback_to_snapshot(snapshot.parent_snapshot_id).commit()


def drop(name: str) -> None:
    catalog().drop_table(name)


def tag(name: str, label: str) -> None:
    table = catalog().load_table(name)
    table.manage_snapshots().create_tag(table.current_snapshot().snapshot_id, label).commit()


def count(name: str, label: str) -> None:
    table = catalog().load_table(name)
    print(table.scan(snapshot_id=table.refs()[label].snapshot_id).count())


if __name__ == "__main__":
    {"rollback": rollback, "drop": drop, "tag": tag, "count": count}[sys.argv[1]](*sys.argv[2:])
