"""The named queries of ``archiver query``, a ``.sql`` file each, and how they are found and read."""
