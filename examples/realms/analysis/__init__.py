"""The analysis itself: values to values, the same result for the same input, and no word of the runtime.

Only `listing`, `reading` and `shelf` touch the disk. Everything is sorted where it is made, so that no result depends
on the order of a set or of a folder. No result holds an absolute path.
"""
