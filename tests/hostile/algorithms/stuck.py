"""Algorithms that never come back, each in another way."""

import os
import signal
import sys
import threading
import time


def sleep(tables, parameters):
    time.sleep(3600)


def deadlock(tables, parameters):
    lock = threading.Lock()
    lock.acquire()
    lock.acquire()


def threads_that_stand_still(tables, parameters):
    held = threading.Event()
    threads = [threading.Thread(target=held.wait) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def exit_that_waits_for_a_thread(tables, parameters):
    threading.Thread(target=time.sleep, args=(3600,)).start()
    sys.exit(0)


def loop(tables, parameters):
    while True:
        pass


def loop_deaf(tables, parameters):
    for number in set(signal.Signals) - {signal.SIGKILL, signal.SIGSTOP}:
        signal.signal(number, signal.SIG_IGN)
    loop(tables, parameters)


def full_pipe(tables, parameters):
    _, writing = os.pipe()
    while True:
        os.write(writing, bytes(65536))


def full_log(tables, parameters):
    while True:
        os.write(1, b"more of the log " * 4096)


def empty_input(tables, parameters):
    reading, _ = os.pipe()
    os.read(reading, 1)


def closed_pipes(tables, parameters):
    os.closerange(0, 64)
    time.sleep(3600)


def trickle(tables, parameters):
    while True:
        os.write(3, b"x")
        time.sleep(0.05)
