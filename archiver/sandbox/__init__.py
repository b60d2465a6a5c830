"""A stand-in for HikerAPI and Instagram's CDN on loopback sockets, for ``archiver demo``, tests and
benchmarks.

It imports nothing else of the program: what it logs is independent evidence of what the program asked.
"""
