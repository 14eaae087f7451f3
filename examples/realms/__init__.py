"""Four realms that read a folder and say what to do about it: the project's main example.

`content` profiles each file, `insights` judges and relates them, `journey` orders what should be done,
`outcomes` writes it down. Read `content.py` first, then `worker.py`, which submits the work, and `demo.py`, which
kills the worker half way. What is worked out, without the runtime, lies in `analysis/` as plain functions.
"""
