"""The full load beside the log: chunks read by processes, their rows let in when they are right.

- `state`: how far a table's load is. `cuts`: what it was cut into.
- `worker`: a loader process. `process`: the same as the service sees it. `chunk_reader`: what engines' readers share.
- `loader` hands chunks out and collects rows: `reading` says what comes next, `in_flight` what has not gone out,
  `retries` what an error means for the next try.
- `loading` lets rows out: by a `window` of changed keys; in a table without a key, before the changes `held_back`.
  `limits` says how many in one step, and what is not loaded again. `rests` are between loads that statements lead to.
"""
