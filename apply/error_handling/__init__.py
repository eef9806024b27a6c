"""What a target refuses or cannot take yet: keys that wait, partitions held, tables suspended.

- `policies`: what is done about a refused row; `succession`: which other versions of the row it concerns.
- `waiting`: rows that only violate a key for now; `survey`: whether what they wait for has come.
- `parking`: rows that wait for an operator, on the topic of `dead_letters`, until their `release`.
- `holds`: partitions that stand still, as those of a suspended table; `superseded` tables that are passed over.
- `conflicts`: changes that the target's rows contradict.
"""
