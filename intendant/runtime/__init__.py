"""The runtime: `runtime` is the facade, `tree` the supervision tree, `partition` puts one partition's actors together.

It is the only layer that knows both actors and adapters.
"""
