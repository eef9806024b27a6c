"""What a target refuses or cannot take yet: keys that wait, partitions held, tables suspended."""
