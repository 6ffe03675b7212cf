"""The positive control: a plain algorithm, which every tier must let work."""

import tempfile
import threading
import time


def greet(tables, parameters):
    return {"hello": parameters["name"], "tables": sorted(tables)}


def add(tables, parameters):
    """Needs pyarrow, numpy and a table."""
    import numpy

    column = tables["lung"]["age"].to_numpy()
    return {"sum": int(column.sum()), "solved": numpy.linalg.solve(numpy.eye(2), [1, 2]).tolist()}


def use_threads(tables, parameters):
    counted = []
    threads = [threading.Thread(target=counted.append, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return {"counted": sorted(counted)}


def use_tmp(tables, parameters):
    with tempfile.TemporaryFile() as file:
        file.write(b"x" * 1000)
        return {"written": file.tell()}


def print_much(tables, parameters):
    print("secret " * 100_000)
    return {"printed": True}


def return_nan(tables, parameters):
    return {"value": float("nan")}


def return_list(tables, parameters):
    return [1]


def leave(tables, parameters):
    raise SystemExit(0)


def sleep(tables, parameters):
    time.sleep(60)
