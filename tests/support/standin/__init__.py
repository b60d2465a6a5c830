"""The stand-in as tests use it: with faults in its answers, and with edits of its world.

::

    with FaultyStandIn(EditableWorld.seed()) as upstream:
        upstream.faults.add(actions.truncated(100), listener="cdn", role="video")
        ...  # the program runs against upstream.base_url with upstream.key
        assert upstream.units == 3
"""
