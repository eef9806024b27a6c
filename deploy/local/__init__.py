"""Real servers on this machine, for tests, the demo, benchmarks and `tailrace dev`.

Each server listens on 127.0.0.1 only, on a port that was free, keeps its data in a directory of its own, and is
stopped by the process id that was started. Downloads are kept in a cache outside the tree.
"""
