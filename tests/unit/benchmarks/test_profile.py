"""What profilers tell, as samples by file and function."""

from __future__ import annotations

import pytest

from benchmarks.profile import part_of, perf_samples, spy_samples

PERF = """\
# Samples: 197  of event 'cpu-clock'
#
#      Samples|Shared Object         |Symbol
 35         |/opt/lib/libpython3.11.so.1.0 |0xfd9fc  B [.] _PyEval_EvalFrameDefault
 2          |[kernel.kallsyms]             |0xffff   k [k] copy user
 3          |/opt/lib/libpython3.11.so.1.0 |0xfd9aa  B [.] _PyEval_EvalFrameDefault

""".splitlines()


def test_perfs_addresses_of_one_function_are_summed() -> None:
    assert perf_samples(PERF) == {
        ("/opt/lib/libpython3.11.so.1.0", "_PyEval_EvalFrameDefault"): 38,
        ("[kernel.kallsyms]", "copy user"): 2,
    }


def test_py_spys_stacks_count_for_their_innermost_function() -> None:
    process = 'process 7:"python -m app"'
    stacks = [
        f"{process};main (app.py);run (a b.py) 3",
        "main (app.py);other (x.py);run (a b.py) 4",
        "main (app.py) 1",
        "main (app.py);_load (<frozen importlib._bootstrap>:7);make (x.py) 9",
        f"{process} 5",
    ]
    assert spy_samples(stacks) == {("a b.py", "run"): 7, ("app.py", "main"): 1, ("start", "imports"): 9}


@pytest.mark.parametrize(
    ("file", "name"),
    [
        ("/src/schemas/twin/rows.cpython-311-x86_64-linux-gnu.so", "the compiled twin"),
        ("/v/lib/python3.11/site-packages/confluent_kafka/cimpl.cpython-311-x86_64-linux-gnu.so", "confluent-kafka"),
        ("/v/lib/python3.11/site-packages/confluent_kafka.libs/librdkafka-1234.so.1", "librdkafka"),
        ("/v/lib/python3.11/site-packages/orjson/orjson.cpython-311-x86_64-linux-gnu.so", "orjson"),
        ("/usr/bin/python3.12", "Python's interpreter"),
        ("[kernel.kallsyms]", "the kernel"),
        ("/v/lib/python3.11/site-packages/psycopg_binary.libs/libcrypto-abc.so.3", "libcrypto-abc.so.3"),
    ],
)
def test_a_file_of_machine_code_is_called_by_what_it_is(file: str, name: str) -> None:
    assert part_of(file) == name
